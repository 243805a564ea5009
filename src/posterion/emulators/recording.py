"""Chains on disk as they grow: blocks appended to one file, each with its length and checksum.

A file that was cut off in the middle is read up to its last whole block, and goes on from there.
"""

import json
import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from posterion.core import portable
from posterion.core.errors import CheckpointError

_MAGIC = b"PCHN"
_HEAD = struct.Struct("<4sQI")  # magic, length, checksum
_NOTE = "__note__"

Block = tuple[dict[str, Any], dict[str, np.ndarray]]


def must_be_new(path: str | Path | None) -> None:
    """Makes sure that a recording overwrites nothing.

    Raises:
        CheckpointError: there is a file already, of chains or of something else.
    """
    if path is None or not Path(path).exists():
        return
    if Path(path).is_file() and not Path(path).stat().st_size:
        return
    with_chains = Path(path).is_file() and _magic(Path(path)) == _MAGIC
    what = "holds chains" if with_chains else "is there and holds no chains"
    advice = "resume=True goes on with them, or remove it" if with_chains else "give another path"
    raise CheckpointError(f"{path} {what}: {advice}")


class Recording:
    """A file of blocks, the first of which says whose they are.

    Args:
        path: the file; None keeps nothing.
        identity: what the run is (data, network, settings, seed); another run's file is refused.
        writes: whether the file is written; of several processes one does, the others read it.
    """

    def __init__(
        self, path: str | Path | None, identity: Mapping[str, Any], *, writes: bool = True
    ):
        self.writes = writes
        self.path = None if path is None else Path(path)
        self.identity = portable.loads(portable.dumps(dict(identity)))

    def begin(self) -> None:
        """Starts the file.

        Raises:
            CheckpointError: there is one.
        """
        if self.path is not None and self.writes:
            must_be_new(self.path)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("wb") as file:
                _write(file, {"identity": self.identity}, {})

    def append(self, note: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Adds a block; it counts only when it is whole."""
        if self.path is not None and self.writes:
            with self.path.open("ab") as file:
                _write(file, note, arrays)

    def load(self) -> list[Block]:
        """The whole blocks, in order; what was torn off behind them is cut away.

        Raises:
            CheckpointError: no such file, unreadable from the start, or of another run.
        """
        if self.path is None or not self.path.exists() or self.path.stat().st_size == 0:
            return []
        blocks, end = _read(self.path)
        if not blocks or "identity" not in blocks[0][0]:
            raise CheckpointError(
                f"{self.path} is no recording of chains; remove it and start anew"
            )
        theirs = blocks[0][0]["identity"]
        if theirs != self.identity:
            keys = {*self.identity, *theirs}
            changed = sorted(k for k in keys if self.identity.get(k) != theirs.get(k))
            raise CheckpointError(
                f"{self.path} holds the chains of another run (different: {', '.join(changed)}); "
                f"give the same settings, or remove it and start anew"
            )
        if self.writes and end < self.path.stat().st_size:
            os.truncate(self.path, end)
        return blocks[1:]

    def remove(self) -> None:
        """Deletes the file, when the run has ended."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def _magic(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(len(_MAGIC))


def _write(file: Any, note: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    from safetensors.numpy import save

    whole = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    payload = save(whole, metadata={_NOTE: portable.dumps(dict(note))})
    file.write(_HEAD.pack(_MAGIC, len(payload), zlib.crc32(payload)) + payload)
    file.flush()
    os.fsync(file.fileno())


def _read(path: Path) -> tuple[list[Block], int]:
    """The whole blocks, and where the last of them ends."""
    from safetensors.numpy import load

    blocks: list[Block] = []
    end = 0
    with path.open("rb") as file:
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            magic, length, checksum = _HEAD.unpack(head)
            if magic != _MAGIC or length > path.stat().st_size - file.tell():
                break
            payload = file.read(length)
            if zlib.crc32(payload) != checksum:
                break
            start = int.from_bytes(payload[:8], "little")
            metadata = json.loads(payload[8 : 8 + start])["__metadata__"]
            blocks.append((portable.loads(metadata[_NOTE]), load(payload)))
            end = file.tell()
    return blocks, end
