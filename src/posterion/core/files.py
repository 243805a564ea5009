"""Files written whole or not at all: what was there before survives every failure."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from posterion.core import portable
from posterion.core.errors import OutputError
from posterion.core.settings import path_of

__all__ = [
    "atomic_path",
    "writable_directory",
    "writable_file",
    "write_bytes",
    "write_json",
    "write_text",
]


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside ``path`` to write to; put it in place when the block ends.

    The temporary file is flushed to the disk and then renamed over ``path`` in one step. If the
    block raises, or the disk is full, the temporary file is removed and ``path`` is as before.

    Raises:
        SettingError: ``path`` is neither text nor a path.
        OutputError: the folder is missing or not writable, ``path`` is a folder, or writing failed.
    """
    target = Path(os.path.realpath(_no_folder(path)))
    if not target.parent.is_dir():
        raise OutputError(f"cannot write {path}: there is no folder {target.parent}; create it")
    temporary = target.with_name(f".{target.name[:60]}.{secrets.token_hex(4)}.tmp")
    try:
        _create(temporary)
        yield temporary
        _flush(temporary)
        if target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(_failure(path, error)) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write ``data`` to ``path`` whole or not at all.

    Raises:
        OutputError: as `atomic_path`.
    """
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` as UTF-8 to ``path`` whole or not at all.

    Raises:
        OutputError: as `atomic_path`.
    """
    write_bytes(path, text.encode())


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write ``value`` as strict JSON (see `posterion.core.portable`) whole or not at all.

    Raises:
        OutputError: as `atomic_path`.
        TypeError: ``value`` holds something that JSON has no form for.
    """
    write_text(path, portable.dumps(value) + "\n")


def writable_directory(path: str | os.PathLike[str]) -> Path:
    """Create the folder ``path`` if needed, make sure that files can be written, and return it.

    Called before a long computation, so that its result has somewhere to go.

    Raises:
        SettingError: ``path`` is neither text nor a path.
        OutputError: ``path`` is a file, or cannot be created or written to.
    """
    folder = path_of(path)
    probe = folder / f".{secrets.token_hex(4)}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _create(probe)
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(
            f"cannot write to the folder {folder}: {reason}; choose another one"
        ) from error
    finally:
        with suppress(OSError):
            probe.unlink()
    return folder


def writable_file(path: str | os.PathLike[str]) -> None:
    """Make sure that a file can be written, whose folder is created; before a long computation.

    Raises:
        SettingError: ``path`` is neither text nor a path.
        OutputError: it is a folder, or its folder cannot be written to.
    """
    writable_directory(_no_folder(path).parent)


def _no_folder(path: str | os.PathLike[str]) -> Path:
    found = path_of(path)
    if found.is_dir():
        raise OutputError(f"cannot write {path}: it is a folder; name a file in it")
    return found


def _create(path: Path) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _failure(path: str | os.PathLike[str], error: OSError) -> str:
    reason = error.strerror or error
    return f"cannot write {path}: {reason}; nothing there was changed: free space or choose another"
