"""The posterior of the toy likelihood for any counts: learned once, checked by calibration."""
