"""Commands on a file: ``show``, ``sample``, ``export``, ``report``, ``publish``, ``check``, ..."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from posterion import bundles, io, studies
from posterion.cli.common import (
    CHUNK,
    File,
    Seed,
    app,
    json_of,
    messages,
    must_differ,
    opened,
    text_of,
    whole_number,
)
from posterion.core.errors import SettingError
from posterion.core.files import writable_directory, writable_file, write_json
from posterion.core.progress import progress

_DIFFER = {
    "log_prob": "in the log-density",
    "sample": "standard deviations in a draw",
    "mean": "standard deviations in a mean",
    "sd": "relative in a standard deviation",
}


@app.command()
def show(file: File) -> None:
    """Show what a file holds: parameters, health, origin, versions."""
    with messages("interrupted"):
        typer.echo(bundles.describe(bundles.read_card(file)))


@app.command()
def sample(
    file: File,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="A .parquet, .csv, .npz or .h5 file."),
    ],
    number: Annotated[
        str | None,
        typer.Option(
            "-n",
            "--number",
            metavar="N",
            help="How many draws, such as 1e6; by default 100000, or 1 under each condition.",
            show_default=False,
        ),
    ] = None,
    context: Annotated[
        Path | None,
        typer.Option(help="A table of conditions, of a conditional FILE.", show_default=False),
    ] = None,
    seed: Seed = 1,
) -> None:
    """Write independent draws to a table, each beside its condition where there are any.

    The first million are those of ``result.sample(n, seed=seed)``; each further one has a seed
    derived from it.
    """
    with messages(f"interrupted; {output} was not written"):
        count = whole_number(number or ("100000" if context is None else "1"))
        io.table_format(output)
        must_differ(output, file, context)
        result = opened(file, "named")
        writable_file(output)
        if context is not None:
            rows = _conditions(result, context)
            chunks, total = _under(result, rows, count, seed), count * len(rows)
            width = rows.shape[1] + sum(p.size for p in result.parameters)
        elif getattr(result, "context", ()) and getattr(result, "condition", None) is None:
            raise SettingError(
                f"{file} is of conditions, {', '.join(result.context)}: give a table of them, "
                "--context TABLE"
            )
        else:
            chunks, total = _chunks(result, count, seed), count
            width = sum(x.size for x in result.named(1, seed=seed).values())
        _must_fit(output, total * width)
        units = {p.name: p.unit for p in result.parameters if p.unit}
        meta = {"file": file.name, "name": result.name, "kind": result.kind, "seed": seed}
        io.write_draws(output, chunks, units=units, meta=meta)
        typer.echo(f"wrote {output}: {total:,} draws of {result.name}")


@app.command()
def export(
    file: File,
    onnx: Annotated[Path, typer.Option(help="Folder for the ONNX files.", show_default=False)],
) -> None:
    """Write what a file can do as ONNX, for C++ and other programs without Posterion.

    Of a distribution the density and the draws, of an emulator the means and the error bars.
    """
    with messages(f"interrupted; {onnx} is as before"):
        writable_directory(onnx)
        card = opened(file, "export_onnx").export_onnx(onnx)
        parity = card["parity"]
        found = ", ".join(f"{parity[k]:.1e} {said}" for k, said in _DIFFER.items() if k in parity)
        typer.echo(
            f"wrote {', '.join(card['files'])} and card.json to {onnx}; largest differences on "
            f"{parity['points']:,} points: {found}"
        )


@app.command()
def report(
    file: File,
    output: Annotated[Path, typer.Option("-o", "--output", help="The HTML page to write.")],
) -> None:
    """Write the page of a file: pictures, health, settings, origin."""
    with messages(f"interrupted; {output} was not written"):
        must_differ(output, file)
        writable_file(output)
        opened(file, "report").report(output)
        typer.echo(f"wrote {output}")


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
    with messages(f"interrupted; {output} was not written"):
        must_differ(output, file, samples)
        writable_file(output)
        opened(file, "contours").contours(output, samples=samples, seed=seed)
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
    with messages(f"interrupted; {output} was not written"):
        cited = "" if citation is None else text_of(citation).strip()
        found = None if metrics is None else json_of(metrics)
        opened(file, "publish").publish(
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
    with messages("interrupted"):
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
    with messages("interrupted; nothing was written"):
        count = None if draws is None else whole_number(draws, "--draws")
        folder = writable_directory(out)
        from posterion import reports, training

        result = opened(file, "named")
        pair = training.pair_samples(result, samples, weights=weights, draws=count, seed=seed)
        found = training.compare_pair(pair, seed=seed)
        _told(found, reports.comparison_page(found, pair), folder, "comparison")


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
    with messages("interrupted; nothing was written"):
        count, folder = whole_number(draws, "--draws"), writable_directory(out)
        from posterion import reports, training

        result = opened(file, "named")
        found = training.check_calibration(result, pairs, draws=count, seed=seed)
        _told(found, reports.calibration_page(found), folder, "calibration")


@app.command()
def closure(
    file: File,
    pairs: Annotated[
        Path, typer.Argument(help="A table of outcomes and conditions.", show_default=False)
    ],
    cube: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=LOW:HIGH",
            help="A range of a condition to look into, or a class, NAME=CLASS; again for more.",
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(metavar="NAME", help="The column of the pairs' weights.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for what is written.")] = Path("."),
    draws: Annotated[str, typer.Option(metavar="N", help="Draws under each condition.")] = "200",
    seed: Seed = 0,
) -> None:
    """Check a conditional fit on outcomes that it has not seen, under their own conditions.

    Writes closure.json and closure.html.
    """
    with messages("interrupted; nothing was written"):
        count, folder = whole_number(draws, "--draws"), writable_directory(out)
        ranges = dict(_range(text) for text in cube or [])
        from posterion import reports, training

        result = opened(file, "named")
        found = training.check_closure(
            result, pairs, cube=ranges, weights=weights, draws=count, seed=seed
        )
        _told(found, reports.closure_page(found), folder, "closure")


def _told(found: Any, page: Any, folder: Path, name: str) -> None:
    """Print what a check found; write its figures and its page."""
    from posterion import reports

    typer.echo(str(found))
    write_json(folder / f"{name}.json", found.to_json())
    reports.write_page(folder / f"{name}.html", page)
    for suffix in ("json", "html"):
        typer.echo(f"wrote {folder / name}.{suffix}")


def _range(text: str) -> tuple[str, Any]:
    """``pt=30:35`` or ``flavour=b``."""
    name, equals, ends = text.rpartition("=")
    if not equals or not name or not ends:
        raise SettingError(f"--cube takes NAME=LOW:HIGH or NAME=CLASS, got {text!r}")
    return name, tuple(ends.split(":")) if ":" in ends else ends


def _must_fit(output: Path, numbers: int) -> None:
    """Refuse a table that the disk cannot hold; a number takes about 8 bytes."""
    free = shutil.disk_usage(output.parent).free
    if 8 * numbers > free:
        raise SettingError(
            f"{output} would take about {8 * numbers:.1e} bytes, and {free:.1e} are free there; "
            f"ask for fewer draws"
        )


def _conditions(result: Any, table: Path) -> Any:
    """The rows of a table that a conditional result takes, of whatever columns it has."""
    from posterion.training.calibrating import beside_context
    from posterion.training.pairing import read_if_path

    if not getattr(result, "context", ()):
        raise SettingError(f"{result.name!r} takes no context")
    return beside_context(read_if_path(table), result)[1]


def _under(result: Any, rows: Any, count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Draws under each condition, with the columns of the conditions."""
    import numpy as np

    from posterion.targets.target import unflatten_theta
    from posterion.training.conditional import flat_draws

    step = max(1, CHUNK // count)
    with progress("sampling", total=len(rows)) as bar:
        for i, start in enumerate(range(0, len(rows), step)):
            part = rows[start : start + step]
            derived = int(np.random.SeedSequence([seed, i]).generate_state(1)[0])
            drawn = flat_draws(result.sample(count, context=part, seed=derived if i else seed))
            given = dict(zip(result.context, np.repeat(part, count, axis=0).T, strict=True))
            flat = drawn.reshape(-1, drawn.shape[-1])
            yield {**unflatten_theta(result.parameters, flat), **given}
            bar.update(advance=len(part))


def _chunks(result: Any, count: int, seed: int) -> Iterator[dict[str, Any]]:
    import numpy as np

    with progress("sampling", total=count) as bar:
        for i, start in enumerate(range(0, count, CHUNK)):
            # a seed in a spawned sequence: no chunk repeats another one, nor the next seed's
            derived = np.random.SeedSequence([seed, i]).generate_state(1)[0]
            size = min(CHUNK, count - start)
            yield result.named(size, seed=int(derived) if i else seed)
            bar.update(advance=size)
