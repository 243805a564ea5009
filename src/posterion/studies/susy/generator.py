"""A stand-in for the chain of theory codes: 19 parameters to masses, viability, cross section.

Masses at tree level but for the Higgs boson's, cross sections at leading order times a factor: good
to some percent, and to some ten percent. It is there for the study of emulators; a table of one's
own, from real codes, takes its place.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numpy.typing import NDArray

from posterion.studies.susy.higgs import higgs_masses
from posterion.studies.susy.parameters import NAMES
from posterion.studies.susy.spectrum import LIGHT_SQUARKS, charginos, neutralinos, sfermions
from posterion.studies.susy.strong import cross_sections

__all__ = ["HIGGS_RANGE", "LEP_CHARGINO", "LEP_SFERMION", "evaluate"]

Floats = NDArray[np.float64]

LEP_CHARGINO = 103.5
"""GeV: lighter charginos were excluded at LEP (LEPSUSYWG/01-03.1)."""

LEP_SFERMION = 100.0
"""GeV: of charged sleptons and squarks, about (LEPSUSYWG/04-01.1, 04-02.1); sneutrinos too."""

HIGGS_RANGE = (120.0, 130.0)
"""GeV: what is viable, given some GeV of uncertainty of the mass that is computed."""

_ROWS = 16_384  # at a time


def evaluate(points: Floats) -> dict[str, Floats]:
    """What the theory says of parameter points.

    Args:
        points: ``(n, 19)`` in the order of `parameters.NAMES`, GeV.

    Returns:
        By name, ``(n,)`` each: masses in GeV (of a tachyon minus the root), ``m_h``, ``sigma`` in
        pb (nan where there is a tachyon); 0 or 1: ``sound`` without tachyons and with a neutral
        lightest superpartner and none that LEP had seen, ``viable`` if sound and ``m_h``
        is in its range.
    """
    with jax.enable_x64(True):
        found: list[dict[str, np.ndarray]] = []
        for start in range(0, len(points), _ROWS):
            chunk = np.asarray(points[start : start + _ROWS], np.float64)
            missing = min(_ROWS, len(points)) - len(chunk)  # one shape compiles once
            padded = np.pad(chunk, ((0, missing), (0, 0)), mode="edge")
            values = _evaluate(jnp.asarray(padded))
            found.append({k: np.asarray(v)[: len(chunk)] for k, v in values.items()})
    return {name: np.concatenate([part[name] for part in found]) for name in found[0]}


@jax.jit
def _evaluate(points: Array) -> dict[str, Array]:
    p = {name: points[:, i] for i, name in enumerate(NAMES)}
    squared: Mapping[str, Array] = sfermions(p)
    masses = {name: jnp.sign(v) * jnp.sqrt(jnp.abs(v)) for name, v in squared.items()}
    gluino = jnp.abs(p["M3"])
    neutral = neutralinos(p["M1"], p["M2"], p["mu"], p["tanb"])
    charged = charginos(p["M2"], p["mu"], p["tanb"])
    h2 = higgs_masses(p)[:, 0]
    higgs = jnp.sign(h2) * jnp.sqrt(jnp.abs(h2))

    lightest = jnp.min(jnp.stack(list(masses.values())), axis=0)
    tachyon = (lightest <= 0) | (higgs <= 0)
    others = jnp.minimum(jnp.minimum(lightest, gluino), charged[:, 0])
    seen = (charged[:, 0] < LEP_CHARGINO) | (lightest < LEP_SFERMION)
    sound = ~tachyon & (neutral[:, 0] <= others) & ~seen
    viable = sound & (higgs > HIGGS_RANGE[0]) & (higgs < HIGGS_RANGE[1])
    safe = {name: jnp.maximum(m, 1.0) for name, m in masses.items()}
    squark = jnp.mean(jnp.stack([safe[name] for name in LIGHT_SQUARKS]), axis=0)
    third = [safe[name] for name in ("t1", "t2", "b1", "b2")]
    total = sum(cross_sections(squark, gluino, third).values(), jnp.zeros_like(gluino))
    columns = {"gluino": gluino}
    columns |= {f"neutralino{i + 1}": neutral[:, i] for i in range(4)}
    columns |= {f"chargino{i + 1}": charged[:, i] for i in range(2)}
    return columns | masses | {
        "m_h": higgs,
        "sigma": jnp.where(tachyon, jnp.nan, total),
        "sound": sound.astype(points.dtype),
        "viable": viable.astype(points.dtype),
    }  # fmt: skip
