"""What the Standard Model puts in; masses in GeV (Particle Data Group, PTEP 2022, 083C01)."""

import math

MZ = 91.1876
MW = 80.377
SIN2W = 1 - MW**2 / MZ**2  # on shell
VEV = 174.10  # of the Higgs field, G_F^(-1/2) 8^(-1/4)
MTOP = 172.69  # pole
MBOTTOM = 2.83  # running, at MZ
MTAU = 1.77686
ALPHA_S = 0.1179  # at MZ


def strong_coupling(scale: float) -> float:
    """The running coupling at one loop with five flavours, from its value at MZ."""
    slope = (33 - 2 * 5) / (6 * math.pi)
    return ALPHA_S / (1 + slope * ALPHA_S * math.log(scale / MZ))


MTOP_RUNNING = MTOP / (1 + 4 * strong_coupling(MTOP) / (3 * math.pi))
"""Of the top at its own scale, one loop."""
