"""Chi-squared tables in NuFIT's own format, releases 4 to 6 (nu-fit.org; arXiv:2007.14792).

A file is text, plain or compressed (xz, gzip). It holds one section per projection of the global
fit onto one, two or three oscillation parameters. A section starts at the line that names its
columns and ends in ``Delta_chi^2``, with or without ``# T23/DMA/DCP projection:`` before it.
"""

from __future__ import annotations

import gzip
import lzma
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from posterion.core.errors import TableError
from posterion.studies.neutrinos.blocks import Block, Section, sections

_SIZE_LIMIT = 2**30


@dataclass(frozen=True, eq=False)
class Tables:
    """The blocks of one file of NuFIT.

    Fields: `ordering`, "NO" or "IO"; `release`, such as "5.3"; `variant`, what the file's name says
    of the atmospheric data ("SKyes", "TBoff", ...; empty if nothing); `offset`, the smallest
    chi-squared of the file, subtracted from every block and kept here once (how much worse this
    ordering fits than the other); `blocks` by the names of their axes; `source`, the file's name.
    """

    ordering: str
    release: str
    variant: str
    offset: float
    blocks: dict[tuple[str, ...], Block]
    source: str

    def has(self, *names: str) -> bool:
        """Whether there is a block of exactly these axes, in any order."""
        return any(set(key) == set(names) for key in self.blocks)

    def block(self, *names: str) -> Block:
        """The block of exactly these axes, in this order. TableError if the file has none."""
        for key, block in self.blocks.items():
            if len(key) == len(names) and set(key) == set(names):
                return block.transposed(names)
        raise TableError(
            f"{self.source}: no block of ({', '.join(names)}); it has "
            f"{'; '.join(', '.join(key) for key in self.blocks) or 'none'}. "
            "Use the complete file, as downloaded from nu-fit.org, of release 5.0 or later "
            "(earlier ones have no block of three parameters)."
        )


def read_tables(path: str | Path, ordering: str | None = None) -> Tables:
    """Read and check one file of NuFIT; compression is recognised by content.

    Every block must be rectangular and complete (axes need not be uniform), finite, with one number
    per column. An axis of delta_CP must cover one turn with equal chi-squared at both ends; its
    last node is dropped. With `ordering` ("NO", "IO") the file must be of that ordering.

    Raises TableError naming file, block and line.
    """
    path = Path(path)
    text = _content(path)
    blocks: dict[tuple[str, ...], Block] = {}
    found: set[str] = set()
    last = None
    for section in sections(text, path):
        block = section.block()
        if any(set(block.names) == set(key) for key in blocks):
            raise section.error(f"the block ({', '.join(block.names)}) appears twice; keep one")
        blocks[block.names] = block
        found |= section.orderings
        last = section
    if last is None:
        raise TableError(
            f"{path}: no line that names columns and ends in Delta_chi^2 was found; "
            "this is not a table of NuFIT (releases 4 to 6 from nu-fit.org)."
        )
    ordering = _ordering(path, found, blocks, ordering)
    _check_end(last, blocks)
    offset = float(min(block.chi2.min() for block in blocks.values()))
    for block in blocks.values():
        np.subtract(block.chi2, offset, out=block.chi2)
        block.chi2.flags.writeable = False
    version = re.search(r"v(\d)(\d)\.", path.name)
    variant = re.search(r"(SK|TB|IC)[A-Za-z0-9]+", path.name)
    return Tables(
        ordering=ordering,
        release=f"{version[1]}.{version[2]}" if version else path.name.split(".")[0],
        variant=variant[0] if variant else "",
        offset=offset,
        blocks=blocks,
        source=str(path),
    )


def _check_end(last: Section, blocks: dict[tuple[str, ...], Block]) -> None:
    """Whole rows may be missing only at the end of the file: there, axes must end as elsewhere."""
    block = blocks[last.names()]
    for name in block.names:
        other = next(b for b in blocks.values() if name in b.names)
        if block.edges(name) != other.edges(name):
            raise last.error(
                f"{name} covers {block.edges(name)}, in another block {other.edges(name)}; "
                "the file is truncated, download it again"
            )


def _ordering(path: Path, found: set[str], blocks: dict, wanted: str | None) -> str:
    signs = {
        "NO" if axis[0] > 0 else "IO" if axis[-1] < 0 else "mixed"
        for block in blocks.values()
        for name, axis in zip(block.names, block.axes, strict=True)
        if name == "Dm2_3l"
    }
    if len(found) > 1 or (signs and signs != found):
        raise TableError(
            f"{path}: the columns name the ordering(s) {sorted(found)}, the signs of Delta_m3l^2 "
            f"say {sorted(signs)}; normal ordering is Delta_m31^2 > 0, inverted Delta_m32^2 < 0. "
            "Take the file from nu-fit.org again."
        )
    ordering = found.pop() if found else ""
    if wanted is not None and ordering and ordering != wanted:
        raise TableError(
            f"{path}: holds the ordering {ordering}, not {wanted}; name the other file."
        )
    return ordering


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            magic = file.read(6)
            file.seek(0)
            if magic == b"\xfd7zXZ\x00":
                with lzma.LZMAFile(file) as stream:
                    text = stream.read(_SIZE_LIMIT + 1)
            elif magic[:2] == b"\x1f\x8b":
                with gzip.GzipFile(fileobj=file) as stream:
                    text = stream.read(_SIZE_LIMIT + 1)
            else:
                text = file.read(_SIZE_LIMIT + 1)
    except FileNotFoundError:
        raise TableError(
            f"{path}: no such file; download it from nu-fit.org or correct the path."
        ) from None
    except (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile) as error:
        raise TableError(
            f"{path}: the compressed file is truncated or damaged ({error}); download it again."
        ) from error
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({error.strerror or error}).") from error
    if len(text) > _SIZE_LIMIT:
        raise TableError(f"{path}: larger than {_SIZE_LIMIT >> 20} MiB; not a table of NuFIT.")
    return text
