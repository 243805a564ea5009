"""What a page is made of: prose, headings, tables, pictures, preformatted text."""

import base64
import json
import math
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from matplotlib.figure import Figure

from posterion.core.errors import ShapeError
from posterion.core.estimate import Estimate
from posterion.reports.style import DPI, png

__all__ = [
    "Block",
    "Explorer",
    "Heading",
    "Image",
    "Preformatted",
    "Prose",
    "Section",
    "Table",
    "cell_text",
]

_NOTHING = "–"
_MINUS = "\N{MINUS SIGN}"
_SPACE = "\N{NO-BREAK SPACE}"
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_NUMERIC = re.compile(
    r"(?=.*\d|.*(nan|inf))([-+\d.,\s±·⁻⁰¹²³⁴⁵⁶⁷⁸⁹\[\]()%e]|nan|inf|not a number)+"
)
_PIXELS = 96  # of a page, per inch


@dataclass(frozen=True)
class Prose:
    """A paragraph of plain text."""

    kind: ClassVar[str] = "prose"
    text: str


@dataclass(frozen=True)
class Heading:
    """A heading below that of the section."""

    kind: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True)
class Preformatted:
    """Text in which every blank counts, such as a health report.

    Args:
        text: shown as it is.
        caption: of the fold.
        folded: closed until the reader opens it.
    """

    kind: ClassVar[str] = "preformatted"
    text: str
    caption: str = "more"
    folded: bool = False


@dataclass(frozen=True)
class Image:
    """A picture, kept in the page itself.

    Args:
        data: a PNG file.
        alt: what the picture shows, for those who cannot see it.
        caption: below it.
        dpi: pixels of the file per inch of the page.

    Raises:
        ShapeError: ``data`` is no PNG.
    """

    kind: ClassVar[str] = "image"
    data: bytes
    alt: str
    caption: str = ""
    dpi: float | int = DPI

    def __post_init__(self) -> None:
        if self.data[:8] != b"\x89PNG\r\n\x1a\n" or self.data[12:16] != b"IHDR":
            raise ShapeError(f"the picture {self.alt!r} is no PNG file")

    @classmethod
    def of(cls, figure: Figure, alt: str, caption: str = "", *, dpi: float | int = DPI) -> "Image":
        """A Matplotlib figure."""
        return cls(png(figure, dpi=dpi), alt, caption, dpi)

    @property
    def base64(self) -> str:
        """The file as text."""
        return base64.b64encode(self.data).decode("ascii")

    @property
    def width(self) -> int:
        """Width on the page in pixels."""
        return round(struct.unpack(">I", self.data[16:20])[0] * _PIXELS / self.dpi)

    @property
    def height(self) -> int:
        """Height on the page in pixels."""
        return round(struct.unpack(">I", self.data[20:24])[0] * _PIXELS / self.dpi)


@dataclass(frozen=True)
class Table:
    """A table: text, numbers, estimates with errors, None where there is nothing.

    Args:
        columns: heads; empty for a table without.
        rows: of as many cells each.
        caption: above it.

    Raises:
        ShapeError: rows of different lengths, or another number of heads.
    """

    kind: ClassVar[str] = "table"
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""

    def __post_init__(self) -> None:
        lengths = {len(row) for row in self.rows} | ({len(self.columns)} if self.columns else set())
        if len(lengths) > 1:
            raise ShapeError(
                f"the table {self.caption!r} has rows and heads of {sorted(lengths)} cells; give "
                "each as many"
            )

    @classmethod
    def of_facts(cls, facts: Mapping[str, Any], caption: str = "") -> "Table":
        """Names and values, without heads; a mapping inside becomes ``name.key``."""
        return cls((), list(_flattened(facts)), caption)

    @property
    def cells(self) -> list[list[str]]:
        """The rows as text; where a column holds numbers alone, with proper minus signs."""
        cells = [[cell_text(value) for value in row] for row in self.rows]
        numeric = self.numeric
        return [
            [c.replace("-", _MINUS) if n else c for c, n in zip(row, numeric, strict=True)]
            for row in cells
        ]

    @property
    def numeric(self) -> list[bool]:
        """Which columns hold numbers alone, and stand to the right."""
        width = len(self.rows[0]) if self.rows else len(self.columns)
        if not self.columns:
            return [False] * width
        return [_is_numeric([cell_text(row[k]) for row in self.rows]) for k in range(width)]


@dataclass(frozen=True)
class Explorer:
    """Contours of two columns that the reader picks; `posterion.reports.contours_page` makes it.

    Args:
        data: for the page's script.
        fallback: what a reader without scripts sees.
        caption: below it.
    """

    kind: ClassVar[str] = "explorer"
    data: Mapping[str, Any]
    fallback: Image
    caption: str = ""

    @property
    def json(self) -> str:
        """The data as JSON that may stand within HTML."""
        text = json.dumps(self.data, allow_nan=False, separators=(",", ":"))
        return text.replace("<", "\\u003c").replace("&", "\\u0026")


Block = Prose | Heading | Preformatted | Image | Table | Explorer


@dataclass(frozen=True)
class Section:
    """A part of a page, with an entry in its table of contents.

    Args:
        title: its heading.
        blocks: what it shows, in order.
        badge: a verdict beside the heading in a word or two; empty for none.
        tone: of the badge.
    """

    title: str
    blocks: Sequence[Block] = field(default=())
    badge: str = ""
    tone: Literal["good", "warn", "bad"] = "good"


def cell_text(value: Any) -> str:
    """A cell as text: numbers to seven digits, thousands apart, a dash for None.

    >>> [cell_text(value) for value in (None, 0.333712345, 1500, True, 2.5e-7)]
    ['–', '0.3337123', '1500', 'yes', '2.5·10⁻⁷']
    """
    if value is None:
        return _NOTHING
    value = value.item() if hasattr(value, "item") and getattr(value, "ndim", 0) == 0 else value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace(",", _SPACE) if abs(value) > 9999 else str(value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, str):
        return value
    if isinstance(value, Estimate):
        return str(value).replace(" ", _SPACE)
    if isinstance(value, Mapping):
        return ", ".join(f"{k}: {cell_text(v)}" for k, v in value.items())
    if isinstance(value, Iterable):
        return ", ".join(cell_text(v) for v in value)
    return str(value)


def _number(value: float) -> str:
    if math.isnan(value):
        return "not a number"
    text = f"{value:.7g}"
    mantissa, e, power = text.partition("e")
    raised = str(int(power)).translate(_RAISED) if e else ""
    return f"{mantissa}·10{raised}" if e else text


def _is_numeric(cells: Sequence[str]) -> bool:
    """Whether all texts are numbers, errors or intervals, and at least one is there."""
    known = [cell for cell in cells if cell != _NOTHING]
    return bool(known) and all(_NUMERIC.fullmatch(cell) for cell in known)


def _flattened(facts: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in facts.items():
        if isinstance(value, Mapping) and value:
            yield from _flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
