"""The study ``jets``: the response of a detector to jets, and its correction."""
