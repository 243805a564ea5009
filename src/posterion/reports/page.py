"""One self-contained HTML page: pictures inside, no script, nothing fetched from elsewhere.

All text is escaped: names, labels and settings come from users and from files.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

import jinja2

from posterion.core.files import write_text
from posterion.core.versions import versions
from posterion.reports.blocks import Section

__all__ = ["Page", "render_page", "write_page"]


@dataclass(frozen=True)
class Page:
    """A page.

    Args:
        title: its heading and the browser's.
        lead: paragraphs below the heading.
        sections: in order; each has an entry in the table of contents.
        badge: the verdict in a word or two; empty for none.
        tone: of the badge.
    """

    title: str
    lead: Sequence[str] = ()
    sections: Sequence[Section] = field(default=())
    badge: str = ""
    tone: Literal["good", "warn", "bad"] = "good"


def render_page(page: Page) -> str:
    """The page as HTML."""
    return _template().render(page=page, version=versions().get("posterion", ""))


def write_page(path: str | os.PathLike[str], page: Page) -> None:
    """Write the page as HTML, whole or not at all.

    Raises:
        OutputError: the file could not be written; what was there before is still there.
    """
    write_text(path, render_page(page))


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("posterion.reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2")
