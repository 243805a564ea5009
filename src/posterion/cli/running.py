"""Commands on studies: ``studies``, ``run``."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from posterion import studies
from posterion.cli.common import Seed, app, messages
from posterion.core.errors import SettingError
from posterion.core.files import writable_directory
from posterion.core.versions import versions
from posterion.studies.settings import describe_settings, make_settings, parse_options


@app.callback(invoke_without_command=True)
def _posterion(
    version: Annotated[bool, typer.Option("--version", help="Print the versions.")] = False,
) -> None:
    if version:
        typer.echo("\n".join(f"{name} {number}" for name, number in versions().items()))
        raise typer.Exit


@app.command("studies")
def list_studies(
    name: Annotated[str | None, typer.Argument(help="List the settings of this study.")] = None,
) -> None:
    """List the physics cases that come with Posterion, or the settings of one."""
    with messages("interrupted"):
        if name is not None:
            typer.echo(_study_help(studies.find_study(name)))
            return
        for study in studies.all_studies().values():
            typer.echo(f"{study.name:<24} {study.summary}")


@app.command(
    context_settings={"ignore_unknown_options": True},
    epilog="The options of a study itself: posterion studies NAME",
)
def run(
    name: Annotated[str, typer.Argument(help="A study.", show_default=False)],
    options: Annotated[
        list[str] | None, typer.Argument(help="The study's own, as --KEY VALUE.", metavar="...")
    ] = None,
    seed: Seed = 1,
    out: Annotated[
        Path | None, typer.Option(help="Folder for what is written.", show_default="out/NAME")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoints.")] = False,
    pairs: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the study, repeatable."),
    ] = None,
) -> None:
    """Run a study: learn, check, and write its bundle, its report and its metrics."""
    folder = Path("out") / name if out is None else out
    again = ["posterion", "run", name, *(options or []), *(f"--set={pair}" for pair in pairs or [])]
    again += [f"--seed={seed}", f"--out={folder}", "--resume"]
    with messages(
        f"interrupted; to go on, from the last checkpoint if there is one: {shlex.join(again)}"
    ):
        study = studies.find_study(name)
        given = [*parse_options(study.settings, options or []), *_split(pairs or [])]
        settings = make_settings(study.settings, given)
        outcome = study.run(settings, seed=seed, out=writable_directory(folder), resume=resume)
        typer.echo(outcome.text)
        for path in outcome.files:
            typer.echo(f"wrote {path}")


def _study_help(study: studies.Study) -> str:
    return f"{study.name}: {study.summary}\n\n{describe_settings(study.settings)}"


def _split(pairs: list[str]) -> Iterator[tuple[str, str]]:
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise SettingError(f"--set takes KEY=VALUE, not {pair!r}")
        yield key, text
