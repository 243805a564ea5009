"""How much memory is free, and what to say before an array that does not fit is made."""

import os
from contextlib import suppress
from pathlib import Path

from posterion.core.errors import SettingError

__all__ = ["free_memory", "in_words", "may_take", "must_fit"]

_MEMINFO = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")
_SHARE = 0.9


def free_memory() -> int | None:
    """Bytes that this process may still take, about; None where the system does not tell.

    What the machine can give without swapping, or what is left of the control group's limit.
    """
    found = []
    with suppress(OSError, ValueError, StopIteration):
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
        found.append(1024 * int(next(s for s in lines if s.startswith("MemAvailable")).split()[1]))
    if not found:
        with suppress(AttributeError, OSError, ValueError):
            found.append(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with suppress(OSError, ValueError):  # "max" is no number
        limit, used = (int((_GROUP / f"memory.{k}").read_text("ascii")) for k in ("max", "current"))
        lines = (_GROUP / "memory.stat").read_text("ascii").splitlines()
        counts = dict(line.split() for line in lines)
        files = sum(int(counts.get(k, 0)) for k in ("active_file", "inactive_file"))
        found.append(max(limit - used + files, 0))  # what files hold is given back
    return min(found, default=None)


def may_take() -> int | None:
    """Bytes of `free_memory` that an array may take; None where the system does not tell."""
    free = free_memory()
    return None if free is None else int(_SHARE * free)


def must_fit(each: int, count: int, what: str, instead: str) -> None:
    """Makes sure that ``count`` things of ``each`` bytes fit into what is free.

    Args:
        each: bytes of one.
        count: how many.
        what: they are, for the message: ``"draws"``.
        instead: what to do where not even one fits, or else.

    Raises:
        SettingError: they do not; the message names the bytes and how many would fit.
    """
    free = free_memory()
    if free is None or each * count <= _SHARE * free:
        return
    fit = int(_SHARE * free) // max(each, 1)
    fewer = f"ask for at most {fit:,}, or " if fit else ""
    raise SettingError(
        f"{count:,} {what} need {in_words(each * count)} of memory, {in_words(free)} are free: "
        f"{fewer}{instead}"
    )


def in_words(count: int) -> str:
    """A number of bytes, for a message."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e8 else f"{count / 1e6:,.1f} MB"
