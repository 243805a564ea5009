"""Every Python block of README.md and docs/*.md runs, in order, in one namespace a file.

A block stands aside only for a stated reason, in a comment just before it:
``<!-- not run: needs data from outside -->``.
"""

import importlib
import os
import re
from pathlib import Path
from typing import NamedTuple

import pytest

import posterion

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OPTIMISED = {"README.md", "bundles.md", "health.md", "learn.md"}
"""Pages that learn for minutes: compiled as a user's programs are, each in a process of its own."""

FENCE = re.compile(r"^```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN = re.compile(r"<!-- not run: (?P<reason>\S.*?) -->\s*\Z")
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)#\s]+)(?:#[^)\s]*)?\)")


class Block(NamedTuple):
    code: str
    line: int
    reason: str | None


def blocks(text: str) -> list[Block]:
    """The Python blocks of a page, each with its first line and the reason not to run it."""
    found = []
    for match in FENCE.finditer(text):
        skip = NOT_RUN.search(text[: match.start()])
        line = text.count("\n", 0, match.start("code"))
        found.append(Block(match["code"], line, skip["reason"] if skip else None))
    return found


def run(page: Path) -> dict:
    """Execute a page's blocks in one namespace; a traceback names the page's own lines."""
    namespace = {"__name__": "__main__"}
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.reason is None:
            exec(compile("\n" * block.line + block.code, str(page), "exec"), namespace)  # noqa: S102
    return namespace


def test_blocks_are_found_with_their_lines_and_reasons():
    text = "a\n```python\nx = 1\n```\n<!-- not run: needs a table -->\n```python\ny\n```\n"
    text += "```\nz\n```\n"
    assert blocks(text) == [Block("x = 1\n", 2, None), Block("y\n", 6, "needs a table")]


def test_a_wrong_block_fails_at_its_line(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("words\n\n```python\nx = 1\n```\n\n```python\nassert x == 2\n```\n")
    with pytest.raises(AssertionError) as failure:
        run(page)
    assert failure.traceback[-1].lineno + 1 == 8


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_runs(page, tmp_path, monkeypatch, run_python):
    if page.name in OPTIMISED:
        code = "from pathlib import Path; from test_readme import run; run(Path(sys.argv[1]))"
        here = str(Path(__file__).parent)
        environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
        done = run_python(
            f"import sys; sys.path.insert(0, {here!r}); {code}",
            str(page),
            env=environment,
            timeout=900,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return
    monkeypatch.chdir(tmp_path)
    run(page)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for match in LINK.finditer(page.read_text(encoding="utf-8")):
        if "://" not in match["target"]:
            assert (page.parent / match["target"]).exists(), match["target"]


def test_every_make_target_named_in_the_pages_exists():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    for page in [*PAGES, ROOT / "CONTRIBUTING.md"]:
        named = set(re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)`", page.read_text(), re.MULTILINE))
        assert {a or b for a, b in named} <= targets, page.name


def test_reference_holds_every_public_name_and_is_up_to_date(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    page = importlib.import_module("make_reference").page()
    for name in set(posterion.__all__) - {"__version__"}:
        assert f"`{name}`" in page or f"posterion.{name}" in page
    stored = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert stored == page, "docs/reference.md is behind the docstrings: run `make docs`"


def test_health_page_tells_what_to_do_for_every_status():
    from posterion.core.status import Status

    page = (ROOT / "docs" / "health.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^\| `([a-z_]+)` \|", page, re.MULTILINE))
    assert told == {status.name for status in Status}
