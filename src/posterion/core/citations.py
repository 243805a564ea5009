"""What to cite for the methods, data and programs behind a result, as BibTeX."""

import difflib
import re
from collections.abc import Iterable
from functools import cache
from importlib import resources
from typing import Any

from posterion.core.errors import SettingError

__all__ = ["cite", "known"]


def cite(what: Any) -> str:
    """BibTeX entries for a result, or for keys of ``citations.bib`` beside this module.

    Args:
        what: a result (anything with ``citations``), one key, or several.

    Returns:
        The entries in the order of the keys, each once.

    Raises:
        SettingError: an unknown key; the message names the nearest known ones.

    >>> print(cite("dinh2017"))
    @inproceedings{dinh2017,
      author = {Dinh, Laurent and Sohl-Dickstein, Jascha and Bengio, Samy},
      title = {Density estimation using {Real NVP}},
      booktitle = {International Conference on Learning Representations},
      year = {2017},
      eprint = {1605.08803},
      archivePrefix = {arXiv}
    }
    """
    keys = getattr(what, "citations", what)
    if isinstance(keys, str):
        keys = [keys]
    if not isinstance(keys, Iterable):
        raise SettingError(f"cannot cite {type(what).__name__}: give a result or keys")
    return "\n\n".join(_entry(key) for key in dict.fromkeys(keys))


def known() -> tuple[str, ...]:
    """All keys, in the order of the file."""
    return tuple(_entries())


def _entry(key: Any) -> str:
    entries = _entries()
    if key not in entries:
        near = difflib.get_close_matches(str(key), entries, n=3) or list(entries)
        raise SettingError(f"there is no citation {key!r}; near: {', '.join(near)}")
    return entries[key]


@cache
def _entries() -> dict[str, str]:
    text = resources.files("posterion.core").joinpath("citations.bib").read_text("utf-8")
    entries = re.split(r"\n\n(?=@)", text.strip())
    return {re.split(r"[{,]", entry, maxsplit=2)[1]: entry for entry in entries}
