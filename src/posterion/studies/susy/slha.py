"""Files of the SUSY Les Houches Accord as rows (hep-ph/0311123), by pyslha (1305.4194)."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posterion.core.errors import MissingExtraError, TableError
from posterion.core.progress import progress
from posterion.studies.susy.parameters import NAMES

__all__ = ["read_folder"]

Floats = NDArray[np.float64]

_logger = logging.getLogger("posterion")

# Of each parameter the entry of EXTPAR, then block and entry of what a spectrum code writes.
_PLACES: dict[str, tuple[int, str, int | tuple[int, int]]] = {
    "M1": (1, "MSOFT", 1),
    "M2": (2, "MSOFT", 2),
    "M3": (3, "MSOFT", 3),
    "mu": (23, "HMIX", 1),
    "MA": (26, "MASS", 36),
    "tanb": (25, "HMIX", 2),
    "At": (11, "AU", (3, 3)),
    "Ab": (12, "AD", (3, 3)),
    "Atau": (13, "AE", (3, 3)),
    "mL1": (31, "MSOFT", 31),
    "mE1": (34, "MSOFT", 34),
    "mL3": (33, "MSOFT", 33),
    "mE3": (36, "MSOFT", 36),
    "mQ1": (41, "MSOFT", 41),
    "mU1": (44, "MSOFT", 44),
    "mD1": (47, "MSOFT", 47),
    "mQ3": (43, "MSOFT", 43),
    "mU3": (46, "MSOFT", 46),
    "mD3": (49, "MSOFT", 49),
}
_SUFFIXES = (".slha", ".slha2", ".spc", ".spec", ".lha", ".dat", ".in", ".out", ".txt")
_HIGGS = ("MASS", 25)
_COLOURED = {1000021, *(c * 1_000_000 + f for c in (1, 2) for f in range(1, 7))}


def read_folder(folder: Path) -> dict[str, Floats]:
    """The 19 parameters of each file of a folder, and what of the three columns it tells.

    ``m_h`` is the mass of the light Higgs boson, ``sigma`` the sum of the XSECTION entries of pairs
    of coloured superpartners, and ``viable`` says whether SPINFO or SPhenoINFO holds no error and
    there is a spectrum. Where a file lacks one, it is nan.

    Raises:
        TableError: no such folder, no such file in it, or a file without the parameters.
        MissingExtraError: pyslha is not installed.
    """
    try:
        import pyslha
    except ImportError as error:
        raise MissingExtraError("SLHA files need pyslha: pip install 'posterion[hep]'") from error
    if not folder.is_dir():
        raise TableError(f"{folder} is no folder of SLHA files")
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in _SUFFIXES)
    if not files:
        raise TableError(f"{folder} holds no file {', '.join('*' + s for s in _SUFFIXES)}")
    rows = []
    with progress(f"reading {len(files)} SLHA files", total=len(files)) as bar:
        for file in files:
            try:
                document: Any = pyslha.read(str(file), ignorenomass=True)
            except Exception as error:  # pyslha raises its own and Python's
                raise TableError(f"{file} is no SLHA file: {error}") from error
            rows.append(_row(file, document))
            bar.update(advance=1)
    table = np.array(rows)
    return dict(zip((*NAMES, "sigma", "m_h", "viable"), table.T, strict=True))


def _row(file: Path, document: Any) -> list[float]:
    row = []
    for name, (number, block, entry) in _PLACES.items():
        value = _entry(document, "EXTPAR", number)
        if value is None and name == "tanb":
            value = _entry(document, "MINPAR", 3)
        value = _entry(document, block, entry) if value is None else value
        if value is None:
            raise TableError(
                f"{file} does not give {name}: neither EXTPAR {number} nor {block} {entry}"
            )
        row.append(float(value))
    higgs = _entry(document, *_HIGGS)
    failed = any(_entry(document, block, 4) is not None for block in ("SPINFO", "SPHENOINFO"))
    sigma = list(_sigmas(document))
    return [
        *row,
        float(np.sum(sigma)) if sigma else np.nan,
        np.nan if higgs is None else float(higgs),
        float(higgs is not None and not failed),
    ]


def _entry(document: Any, block: str, entry: int | tuple[int, int]) -> Any:
    found = document.blocks.get(block)
    return None if found is None or entry not in found.entries else found.entries[entry]


def _sigmas(document: Any) -> Iterator[float]:
    """Cross sections in pb of pairs of coloured superpartners.

    Of each pair the one at the highest energy, there the one of the highest order.
    """
    for process in (getattr(document, "xsections", None) or {}).values():
        final = [abs(code) for code in process.pidsfinal]
        if len(final) == 2 and set(final) <= _COLOURED:
            yield max(process.xsecs, key=lambda x: (x.sqrts, x.qcd_order, x.ew_order)).value
