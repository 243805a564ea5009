"""The command line: ``run``, ``show``, ``sample``, ``export``, ``publish``, ``check``, ..."""

import shlex
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from posterion import bundles, io, studies
from posterion.core.errors import PosterionError, SettingError
from posterion.core.files import writable_directory, write_json
from posterion.core.portable import loads
from posterion.core.progress import progress
from posterion.core.versions import versions
from posterion.studies.settings import describe_settings, make_settings, parse_options

__all__ = ["app", "main"]

CHUNK = 1_000_000
"""Draws that are held at a time."""

app = typer.Typer(
    name="posterion",
    help="Turns a likelihood, a simulation or a table into a calibrated, reusable distribution.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

File = Annotated[Path, typer.Argument(help="A .posterion file.", show_default=False)]
Seed = Annotated[int, typer.Option(min=0, help="The same seed gives the same numbers.")]


@contextmanager
def _messages(interrupted: str) -> Iterator[None]:
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
    with _messages("interrupted"):
        if name is not None:
            typer.echo(_study_help(studies.find_study(name)))
            return
        for study in studies.all_studies().values():
            typer.echo(f"{study.name:<12} {study.summary}")


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
    with _messages(f"interrupted; to go on from the last checkpoint: {shlex.join(again)}"):
        study = studies.find_study(name)
        given = [*parse_options(study.settings, options or []), *_split(pairs or [])]
        settings = make_settings(study.settings, given)
        outcome = study.run(settings, seed=seed, out=writable_directory(folder), resume=resume)
        typer.echo(outcome.text)
        for path in outcome.files:
            typer.echo(f"wrote {path}")


@app.command()
def show(file: File) -> None:
    """Show what a file holds: parameters, health, origin, versions."""
    with _messages("interrupted"):
        typer.echo(bundles.describe(bundles.read_card(file)))


@app.command()
def sample(
    file: File,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="A .parquet, .csv, .npz or .h5 file."),
    ],
    number: Annotated[
        str, typer.Option("-n", "--number", metavar="N", help="How many draws, such as 1e6.")
    ] = "100000",
    seed: Seed = 1,
) -> None:
    """Write independent draws to a table.

    The first million are those of ``result.sample(n, seed=seed)``; each further one has a seed
    derived from it.
    """
    with _messages(f"interrupted; {output} was not written"):
        count = _count(number)
        io.table_format(output)
        result = bundles.load_object(file)
        writable_directory(output.parent)
        _must_fit(output, count * sum(x.size for x in result.named(1, seed=seed).values()))
        units = {p.name: p.unit for p in result.parameters if p.unit}
        meta = {"file": file.name, "name": result.name, "kind": result.kind, "seed": seed}
        io.write_draws(output, _chunks(result, count, seed), units=units, meta=meta)
        typer.echo(f"wrote {output}: {count:,} draws of {result.name}")


@app.command()
def export(
    file: File,
    onnx: Annotated[Path, typer.Option(help="Folder for the ONNX files.", show_default=False)],
) -> None:
    """Write the density and the draws as ONNX, for C++ and other programs without Posterion."""
    with _messages(f"interrupted; {onnx} is as before"):
        writable_directory(onnx)
        parity = bundles.load_object(file).export_onnx(onnx)["parity"]
        typer.echo(
            f"wrote log_prob.onnx, sample.onnx and card.json to {onnx}; largest differences on "
            f"{parity['points']:,} draws: {parity['log_prob']:.1e} in the log-density, "
            f"{parity['sample']:.1e} standard deviations in a draw"
        )


@app.command()
def contours(
    file: File,
    output: Annotated[Path, typer.Option("-o", "--output", help="The HTML page to write.")],
    samples: Annotated[
        Path | None, typer.Option(help="A table of samples, drawn over those of FILE.")
    ] = None,
    seed: Seed = 0,
) -> None:
    """Write a page on which the reader picks two parameters and sees their contours."""
    with _messages(f"interrupted; {output} was not written"):
        writable_directory(output.parent)
        bundles.load_object(file).contours(output, samples=samples, seed=seed)
        typer.echo(f"wrote {output}")


@app.command()
def publish(
    file: File,
    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write.")],
    analysis: Annotated[str, typer.Option(help="What was measured.")] = "",
    dataset: Annotated[str, typer.Option(help="The data behind it.")] = "",
    licence: Annotated[str, typer.Option(help="SPDX name, such as CC-BY-4.0.")] = "",
    citation: Annotated[
        Path | None, typer.Option(help="A file with the citation, BibTeX or text.")
    ] = None,
    metrics: Annotated[
        Path | None, typer.Option(help="The comparison.json of posterion compare.")
    ] = None,
) -> None:
    """Write a file again with analysis, data set, licence, citation and metrics on its card."""
    with _messages(f"interrupted; {output} was not written"):
        cited = "" if citation is None else _text(citation).strip()
        found = None if metrics is None else _json(metrics)
        bundles.load_object(file).publish(
            output,
            analysis=analysis,
            dataset=dataset,
            licence=licence,
            citation=cited,
            metrics=found,
        )
        typer.echo(f"wrote {output}")


@app.command()
def check(
    file: File,
    study: Annotated[
        str | None,
        typer.Option(help="The study that holds the density; by default the one that made FILE."),
    ] = None,
    seed: Seed = 1,
) -> None:
    """Measure the health of a file anew, against the density; exit code 1 unless it is sound."""
    with _messages("interrupted"):
        name = study or bundles.read_card(file)["provenance"].get("study")
        if not isinstance(name, str):
            raise SettingError(
                f"{file} names no study that holds its density: give --study NAME, or, for a "
                f"density of your own, learn it again in Python and read print(result)"
            )
        found = studies.find_study(name)
        if found.check is None:
            raise SettingError(f"the study {name!r} has no density to check against")
        health = found.check(bundles.load_object(file), seed=seed)
        typer.echo(str(health))
        if not health.status.ok:
            raise typer.Exit(1)


@app.command()
def compare(
    file: File,
    samples: Annotated[
        Path, typer.Argument(help="A table of samples to compare with.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="Folder for what is written.")] = Path("."),
    draws: Annotated[
        str | None,
        typer.Option(metavar="N", help="Draws of FILE; by default as many as the samples."),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(metavar="NAME", help="The column of the samples' weights.")
    ] = None,
    seed: Seed = 0,
) -> None:
    """Compare draws of a file with samples, each metric beside its floor of truth against truth.

    Writes comparison.json and comparison.html.
    """
    with _messages("interrupted; nothing was written"):
        count = None if draws is None else _count(draws, "--draws")
        folder = writable_directory(out)
        from posterion import reports, training

        result = bundles.load_object(file)
        pair = training.pair_samples(result, samples, weights=weights, draws=count, seed=seed)
        found = training.compare_pair(pair, seed=seed)
        typer.echo(str(found))
        write_json(folder / "comparison.json", found.to_json())
        reports.write_page(folder / "comparison.html", reports.comparison_page(found, pair))
        for name in ("comparison.json", "comparison.html"):
            typer.echo(f"wrote {folder / name}")


@app.command()
def calibration(
    file: File,
    pairs: Annotated[
        Path, typer.Argument(help="A table of parameters and context.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="Folder for what is written.")] = Path("."),
    draws: Annotated[str, typer.Option(metavar="N", help="Draws for each pair.")] = "400",
    seed: Seed = 0,
) -> None:
    """Check the calibration of a conditional fit on simulated pairs that it has not seen.

    Writes calibration.json and calibration.html.
    """
    with _messages("interrupted; nothing was written"):
        count, folder = _count(draws, "--draws"), writable_directory(out)
        from posterion import reports, training

        result = bundles.load_object(file)
        found = training.check_calibration(result, pairs, draws=count, seed=seed)
        typer.echo(str(found))
        write_json(folder / "calibration.json", found.to_json())
        reports.write_page(folder / "calibration.html", reports.calibration_page(found))
        for name in ("calibration.json", "calibration.html"):
            typer.echo(f"wrote {folder / name}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; leaves by SystemExit: 0 done, 1 failed, 2 misused, 130 interrupted.

    A batch system's SIGTERM ends it as Ctrl-C does: checkpoints are written, halves removed.

    Args:
        arguments: without the program's name; by default those of the process.
    """
    ours = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler) if ours else None
    try:
        app(args=sys.argv[1:] if arguments is None else list(arguments), prog_name="posterion")
    finally:
        if ours:
            signal.signal(signal.SIGTERM, before)


def _study_help(study: studies.Study) -> str:
    return f"{study.name}: {study.summary}\n\n{describe_settings(study.settings)}"


def _split(pairs: list[str]) -> Iterator[tuple[str, str]]:
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise SettingError(f"--set takes KEY=VALUE, not {pair!r}")
        yield key, text


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"{path} cannot be read: {error}") from error


def _json(path: Path) -> Any:
    try:
        return loads(_text(path))
    except ValueError as error:
        raise SettingError(f"{path} is no JSON: {error}") from error


def _count(text: str, option: str = "-n") -> int:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not (number >= 1 and number.is_integer()):
        raise SettingError(f"{option} takes a whole number of at least 1, not {text!r}")
    return int(number)


def _must_fit(output: Path, numbers: int) -> None:
    """Refuse a table that the disk cannot hold; a number takes about 8 bytes."""
    free = shutil.disk_usage(output.parent).free
    if 8 * numbers > free:
        raise SettingError(
            f"{output} would take about {8 * numbers:.1e} bytes, and {free:.1e} are free there; "
            f"ask for fewer draws"
        )


def _chunks(result: Any, count: int, seed: int) -> Iterator[dict[str, Any]]:
    import numpy as np

    with progress("sampling", total=count) as bar:
        for i, start in enumerate(range(0, count, CHUNK)):
            # a seed in a spawned sequence: no chunk repeats another one, nor the next seed's
            derived = np.random.SeedSequence([seed, i]).generate_state(1)[0]
            size = min(CHUNK, count - start)
            yield result.named(size, seed=int(derived) if i else seed)
            bar.update(advance=size)


if __name__ == "__main__":
    main()
