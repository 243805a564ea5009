"""The bytes of a ``.posterion`` file: three members in a sealed ZIP archive."""

import hashlib
import io
import os
import stat
import zipfile
from typing import Any

from posterion.core import portable
from posterion.core.errors import BundleCorruptError, BundleError, BundleVersionError

__all__ = ["FORMAT_VERSION", "MAX_BYTES", "pack", "read_file", "unpack"]

FORMAT_VERSION = 1
MAX_BYTES = 1 << 30
"""The largest file that is read unless asked otherwise: 1 GiB."""

CARD, ARRAYS, CHECKSUMS = MEMBERS = ("card.json", "arrays.safetensors", "checksums.json")
_MAX_CARD = 1 << 25
_SEAL = b"posterion sha256 "
_DIGITS = 64
_NAME_AT = 30  # of the first member, in a ZIP archive


def pack(card: bytes, arrays: bytes) -> bytes:
    """Put the two members, their checksums and the seal into one archive."""
    members = {CARD: card, ARRAYS: arrays}
    members[CHECKSUMS] = portable.dumps({k: _checksum(v) for k, v in members.items()}).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = 3, 0o644 << 16  # the same bytes everywhere
            archive.writestr(info, data)
        archive.comment = _SEAL + b"0" * _DIGITS
    return _sealed(buffer.getvalue())


def unpack(data: bytes, path: Any) -> tuple[bytes, bytes]:
    """Take the card and the arrays out of an archive made by `pack`, every byte checked.

    Raises:
        BundleError: ``data`` is no bundle.
        BundleVersionError: a newer version wrote it.
        BundleCorruptError: it was truncated or altered.
    """
    _refuse_foreign(data, path)
    _refuse_newer(data, path)
    if data != _sealed(data):
        raise BundleCorruptError(
            f"{path} was truncated or altered after it was written: copy or download it again, "
            "or make it anew"
        )
    try:
        members = _members(data)
        checksums = portable.parse(members[CHECKSUMS])
        wrong = [name for name in (CARD, ARRAYS) if checksums[name] != _checksum(members[name])]
    except Exception as error:  # sealed by someone else's hand: nothing in it can be trusted
        raise BundleCorruptError(f"{path} is no proper bundle: {error}; do not use it") from error
    if wrong:
        raise BundleCorruptError(
            f"{path}: {' and '.join(wrong)} does not match its checksum: copy or download it again"
        )
    return members[CARD], members[ARRAYS]


def read_file(path: str | os.PathLike[str], max_bytes: int) -> bytes:
    """Read a regular file of at most ``max_bytes``.

    Raises:
        BundleError: there is none, it is something else, or it is larger.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file"
            raise BundleError(f"{path} is {kind}: give a .posterion file")
        if status.st_size > max_bytes:
            raise BundleError(
                f"{path} has {status.st_size} bytes, more than the limit of {max_bytes}: if you "
                "trust it, raise max_bytes"
            )
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError as error:
        raise BundleError(f"there is no file {path}: check the name and the folder") from error
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror or error}") from error


def _sealed(data: bytes) -> bytes:
    body = data[:-_DIGITS]
    return body + hashlib.sha256(body).hexdigest().encode()


def _checksum(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _refuse_foreign(data: bytes, path: Any) -> None:
    if not data:
        raise BundleCorruptError(f"{path} is empty: copy or download it again, or make it anew")
    first = CARD.encode()
    begins = data.startswith(b"PK\x03\x04"[: len(data)])
    name = data[_NAME_AT : _NAME_AT + len(first)]
    if not begins or not first.startswith(name):
        kind = "a ZIP archive of something else" if begins else "no Posterion bundle"
        raise BundleError(f"{path} is {kind}: give a file that result.save() wrote")


def _refuse_newer(data: bytes, path: Any) -> None:
    """Look into a card that may be damaged, hostile or of a form not known yet."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive, archive.open(CARD) as file:
            version = portable.parse(file.read(_MAX_CARD))["format_version"]
        newer = isinstance(version, int) and version > FORMAT_VERSION
    except Exception:  # whatever is wrong is named by the checks that follow
        return
    if newer:
        raise BundleVersionError(
            f"{path} is of format version {version}, this Posterion reads up to {FORMAT_VERSION}: "
            "update Posterion"
        )


def _members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        infos = archive.infolist()
        if tuple(info.filename for info in infos) != MEMBERS:
            raise BundleError(f"its members are not {', '.join(MEMBERS)}")
        for info in infos:
            if info.compress_type != zipfile.ZIP_STORED or info.flag_bits:
                raise BundleError(f"{info.filename} is compressed or encrypted")
        if sum(info.file_size for info in infos) > len(data):
            raise BundleError("its members claim more bytes than the file has")
        if infos[0].file_size > _MAX_CARD:
            raise BundleError(f"its card is larger than {_MAX_CARD} bytes")
        return {info.filename: archive.read(info) for info in infos}
