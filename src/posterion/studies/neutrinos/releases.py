"""Where the tables of a release are: in the package flavorpy, or in a file that the user names."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from posterion.core.errors import MissingExtraError, TableError
from posterion.studies.neutrinos.tables import Tables, read_tables

ORDERINGS = ("NO", "IO")
CARRIED = ("5.3", "5.2")
"""The releases that flavorpy carries (both with the atmospheric data of Super-Kamiokande)."""

_SUFFIXES = (".txt", ".txt.xz", ".txt.gz")
_TOKEN = re.compile(r"(?<![A-Za-z])(NO|IO)(?![A-Za-z])")


def find_release(release: str | Path, ordering: str) -> Path:
    """The file of one ordering ("NO" or "IO") of a release.

    `release` is "5.3" or "5.2" (carried by flavorpy, which is found but not imported), or a path:
    a file; a file of the other ordering, whose name is then changed; or a directory that holds one
    table whose name contains the ordering. A file whose name contains no ordering is taken as it
    is. Raises TableError, or MissingExtraError if flavorpy is needed and not installed.
    """
    if ordering not in ORDERINGS:
        raise TableError(f"ordering '{ordering}' is unknown; it is NO or IO.")
    if str(release) in CARRIED:
        return _carried(str(release), ordering)
    path = Path(release).expanduser()
    if path.is_dir():
        return _inside(path, ordering)
    named = _TOKEN.findall(path.name)
    if named and named[-1] != ordering:
        return _existing(path.with_name(_swapped(path.name, ordering)))
    return _existing(path)


def load_release(release: str | Path, ordering: str) -> Tables:
    """The tables of one ordering of a release: `read_tables` of `find_release`."""
    return read_tables(find_release(release, ordering), ordering)


def _swapped(name: str, ordering: str) -> str:
    last = list(_TOKEN.finditer(name))[-1]
    return name[: last.start()] + ordering + name[last.end() :]


def _existing(path: Path) -> Path:
    if path.exists():
        return path
    hint = (
        f"releases by number are {', '.join(CARRIED)}; of any other, download the tables from "
        "nu-fit.org and give the path of the file"
    )
    raise TableError(f"{path}: no such file; {hint}.")


def _carried(release: str, ordering: str) -> Path:
    spec = importlib.util.find_spec("flavorpy")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(
            f"The tables of NuFIT {release} come with the package flavorpy, which is not "
            "installed: pip install 'posterion[nufit]', or name a file downloaded from nu-fit.org."
        )
    digits = release.replace(".", "")
    file = f"v{digits}.release-SKyes-{ordering}.txt"
    path = Path(spec.submodule_search_locations[0], "modelfitting", "experimental_data")
    return _existing(path / f"NuFit{digits}" / file)


def _inside(folder: Path, ordering: str) -> Path:
    found = sorted(
        file
        for file in folder.iterdir()
        if file.name.endswith(_SUFFIXES) and _TOKEN.findall(file.name)[-1:] == [ordering]
    )
    if len(found) == 1:
        return found[0]
    if not found:
        raise TableError(
            f"{folder}: no table ({', '.join(_SUFFIXES)}) whose name contains {ordering}; "
            "download it from nu-fit.org into this directory."
        )
    names = ", ".join(file.name for file in found)
    raise TableError(f"{folder}: several tables of ordering {ordering} ({names}); name one file.")
