"""Tables and paragraphs of the health report, as text and as HTML."""

import textwrap
from collections.abc import Iterable, Sequence
from html import escape

Row = tuple[str, ...]


def wrap(text: str, width: int, first: str = "", later: str = "") -> list[str]:
    """Lines of at most ``width``, broken at spaces."""
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=later, break_on_hyphens=False
    )


def labelled(label: str, texts: Iterable[str], width: int) -> list[str]:
    """Paragraphs beside a label that stands in front of the first alone."""
    lines: list[str] = []
    for i, text in enumerate(texts):
        lines += wrap(text, width, f"{'' if i else label:<14} ", " " * 15)
    return lines


def table(rows: Iterable[Row], widths: Sequence[int], width: int) -> list[str]:
    """Aligned columns under a ruled head; a row of one cell is a remark on the row before."""
    lines: list[str] = []
    for row in rows:
        if len(row) == 1:
            lines += wrap(row[0], width, "    ", "    ")
        else:
            lines.append("  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)))
    lines.insert(1, "  ".join("-" * w for w in widths))
    return lines


def html_table(rows: Iterable[Row], *, head: bool) -> str:
    """An HTML table; a row of one cell spans all columns."""
    lines, mark, columns = ["<table>"], "th" if head else "td", 0
    for row in rows:
        columns = max(columns, len(row))
        span = f' colspan="{columns}"' if len(row) == 1 else ""
        cells = "".join(f"<{mark}{span}>{escape(c)}</{mark}>" for c in row)
        lines.append(f"<tr>{cells}</tr>")
        mark = "td"
    return "\n".join([*lines, "</table>"])
