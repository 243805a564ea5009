"""What the commands share: options, messages, how what goes wrong leaves the program."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from posterion import bundles
from posterion.core.errors import PosterionError, SettingError
from posterion.core.portable import loads

CHUNK = 1_000_000
"""Rows that are held at a time."""

app = typer.Typer(
    name="posterion",
    help="Turns a likelihood, a simulation or a table into a calibrated, reusable distribution.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

File = Annotated[Path, typer.Argument(help="A .posterion file.", show_default=False)]
Seed = Annotated[int, typer.Option(min=0, help="The same seed gives the same numbers.")]


_LACKS = {
    "named": "is no distribution and has no draws",
    "contours": "is no distribution and has no contours",
    "distil": "has no networks to distil",
    "predict": "predicts nothing",
}


@contextmanager
def messages(interrupted: str) -> Iterator[None]:
    """Turn what goes wrong on purpose into a message and an exit code."""
    try:
        yield
    except KeyboardInterrupt as error:
        said = f"{error}\n" if isinstance(error, PosterionError) else ""
        typer.secho(f"{said}{interrupted}", err=True, fg="yellow")
        raise typer.Exit(130) from error
    except PosterionError as error:
        typer.secho(f"error: {error}", err=True, fg="red")
        raise typer.Exit(2 if isinstance(error, SettingError) else 1) from error


def must_differ(output: Path, *inputs: Path | None) -> None:
    """Makes sure that what is written is nothing that is read.

    Raises:
        SettingError: it is.
    """
    for path in inputs:
        if path is not None and output.resolve() == path.resolve():
            raise SettingError(f"{output} is read here and would be lost: give another --output")


def opened(file: Path, *needed: str) -> Any:
    """What a file holds, which must have these methods.

    Raises:
        SettingError: it is something else, such as an emulator where a distribution is needed.
    """
    found = bundles.load_object(file)
    if missing := [name for name in needed if not hasattr(found, name)]:
        other = "`posterion show` says what it holds"
        if hasattr(found, "predict"):
            other = "`posterion predict` gives means and error bars at points"
        lacks = _LACKS.get(missing[0], f"has no {missing[0]}")
        raise SettingError(f"{file} is of the kind {found.kind!r}, which {lacks}: {other}")
    return found


def text_of(path: Path) -> str:
    """The text of a file."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"{path} cannot be read: {error}") from error


def json_of(path: Path) -> Any:
    """The values of a JSON file."""
    try:
        return loads(text_of(path))
    except ValueError as error:
        raise SettingError(f"{path} is no JSON: {error}") from error


def whole_number(text: str, option: str = "-n") -> int:
    """A positive whole number, also as 1e6."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not (number >= 1 and number.is_integer()):
        raise SettingError(f"{option} takes a whole number of at least 1, not {text!r}")
    return int(number)
