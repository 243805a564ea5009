"""Writes docs/reference.md: every public name with the first sentence of its docstring."""

import importlib
import inspect
import re
from pathlib import Path

import posterion

HEADING = """# Reference

The public names, room by room, each with the first sentence of its docstring; `help(name)` tells
the rest: shapes, units, errors, sources. This page is written by `make docs`.
"""
ROOMS = (
    "targets",
    "training",
    "emulators",
    "sampling",
    "diagnostics",
    "distributions",
    "bijections",
    "networks",
    "optimisation",
    "bundles",
    "io",
    "reports",
    "errors",
)


def first_sentence(thing: object) -> str:
    """The first sentence of a docstring, on one line, as Markdown."""
    text = " ".join((inspect.getdoc(thing) or "").partition("\n\n")[0].split())
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text).replace("``", "`").replace("|", r"\|")
    return re.split(r"(?<=[.:])\s+(?=[A-Z])", text, maxsplit=1)[0]


def section(title: str, module: object, names: list[str]) -> str:
    """One room: its own sentence and a table of its names."""
    rows = [f"| `{name}` | {first_sentence(getattr(module, name))} |" for name in names]
    return "\n".join([f"\n## {title}\n", first_sentence(module), "", "| name | what it is |"]) + (
        "\n|---|---|\n" + "\n".join(rows) + "\n"
    )


def page() -> str:
    """The whole page."""
    face = [n for n in posterion.__all__ if n not in ROOMS and n != "__version__"]
    text = HEADING + section("posterion", posterion, face)
    for room in ROOMS:
        module = importlib.import_module(f"posterion.{room}")
        names = getattr(module, "__all__", None) or [n for n in vars(module) if n[0].isupper()]
        text += section(f"posterion.{room}", module, sorted(names, key=str.lower))
    return text


if __name__ == "__main__":
    Path(__file__).with_name("reference.md").write_text(page(), encoding="utf-8")
