"""One self-contained HTML page: pictures inside, nothing fetched from elsewhere.

All text is escaped: names, labels and settings come from users and from files. A page runs no
script but our own, where it has contours to explore: its hash is in the page's policy.
"""

import base64
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
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

    @property
    def script(self) -> str:
        """What the page runs; empty where nothing in it needs that."""
        kinds = {block.kind for section in self.sections for block in section.blocks}
        return _script() if "explorer" in kinds else ""

    @property
    def script_hash(self) -> str:
        """SHA-256 of the script, in base64."""
        return base64.b64encode(hashlib.sha256(self.script.encode()).digest()).decode()


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
def _script() -> str:
    folder = resources.files("posterion.reports") / "templates"
    return (folder / "contours.js").read_text(encoding="utf-8")


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
