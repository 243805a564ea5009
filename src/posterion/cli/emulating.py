"""Commands on emulators: ``emulate``, ``predict``, ``distil``."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from posterion import io
from posterion.cli.common import File, Seed, app, messages, must_differ, opened
from posterion.core.errors import SettingError
from posterion.core.files import writable_file
from posterion.core.progress import progress

ROWS = 65_536
"""Points that are predicted at a time."""


@app.command()
def emulate(
    table: Annotated[Path, typer.Argument(help="A table: .csv, .parquet, .h5, .root, .npz.")],
    target: Annotated[str, typer.Option(help="The column to predict; several with commas.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The .posterion file to write.")],
    inputs: Annotated[
        str | None, typer.Option(help="Columns to predict from, with commas; by default the rest.")
    ] = None,
    log_target: Annotated[
        bool, typer.Option("--log-target", help="Take the logarithm of the target first.")
    ] = False,
    log: Annotated[str | None, typer.Option(help="Inputs whose logarithm is taken.")] = None,
    hidden: Annotated[str, typer.Option(help="Widths of the hidden layers.")] = "50,50,50",
    activation: Annotated[str, typer.Option(help="Between the layers.")] = "tanh",
    likelihood: Annotated[
        str, typer.Option(help="gaussian, heteroscedastic, student-t, bernoulli, categorical.")
    ] = "gaussian",
    prior: Annotated[
        str, typer.Option(help="gaussian, laplace, cauchy, hierarchical-gaussian, ..., horseshoe.")
    ] = "gaussian",
    sampler: Annotated[
        str,
        typer.Option(
            help="mclmc, adjusted-mclmc, nuts, hmc, alternated, sghmc, rmhmc, l2hmc; quicker: "
            "ensemble, flipout, ..."
        ),
    ] = "mclmc",
    chains: Annotated[int, typer.Option(min=1, help="Chains.")] = 4,
    draws: Annotated[int, typer.Option(min=1, help="Networks kept of each chain.")] = 50,
    warmup: Annotated[int, typer.Option(min=0, help="Transitions that tune the sampler.")] = 600,
    thin: Annotated[int, typer.Option(min=1, help="Transitions for each network.")] = 10,
    epochs: Annotated[int, typer.Option(min=1, help="Of Adam, before the chains.")] = 100,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the chains.")] = False,
    seed: Seed = 1,
) -> None:
    """Sample networks that predict a column of a table from others, with error bars."""
    beside = output.with_suffix(".chains")
    said = f"interrupted; once they have begun, the chains are kept in {beside}: --resume goes on"
    with messages(said):
        must_differ(output, table)
        writable_file(output)
        from posterion import emulators, networks
        from posterion.emulators.approximations import APPROXIMATIONS

        whole, known = io.read_table(table), io.read_metadata(table)["units"]
        targets = _names(target)
        chosen = _names(inputs) if inputs else [n for n in whole if n not in targets]
        if both := sorted(set(chosen) & set(targets)):
            raise SettingError(f"{both[0]} is among the inputs and the targets: leave one out")
        if missing := [name for name in (*chosen, *targets) if name not in whole]:
            raise SettingError(f"{table} has no column {missing[0]}; there is {', '.join(whole)}")
        found = emulators.emulate(
            {name: whole[name] for name in chosen},
            {name: whole[name] for name in targets},
            network=networks.mlp(_widths(hidden), activation),
            likelihood=likelihood,
            prior=prior,
            sampler=sampler,
            units={k: v for k, v in known.items() if k in (*chosen, *targets)},
            log=[*(_names(log) if log else []), *(targets if log_target else [])],
            chains=chains,
            draws=draws,
            warmup=warmup,
            thin=thin,
            epochs=epochs,
            seed=seed,
            path=None if sampler in APPROXIMATIONS else beside,
            resume=resume,
            name=output.stem,
        )
        typer.echo(str(found))
        found.save(output)
        beside.unlink(missing_ok=True)
        typer.echo(f"wrote {output}")


@app.command()
def predict(
    file: File,
    points: Annotated[Path, typer.Argument(help="A table with the inputs by name.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="A .parquet, .csv, .npz or .h5 file.")
    ],
    networks: Annotated[
        int | None, typer.Option(min=1, help="How many networks to ask; all by default.")
    ] = None,
) -> None:
    """Predict at the points of a table, in bounded memory.

    Of each target: mean, standard deviation, its epistemic and aleatoric part, and the ends of the
    interval of one standard deviation, corrected where the file can; rows outside of the trained
    range are flagged in the column ``extrapolated``.
    """
    with messages(f"interrupted; {output} was not written"):
        io.table_format(output)
        must_differ(output, file, points)
        emulator = opened(file, "predict")
        if networks is not None and not hasattr(emulator, "networks"):
            raise SettingError(f"{file} holds one network: leave --networks out")
        asked = {} if networks is None else {"networks": networks}
        writable_file(output)
        units = {p.name: p.unit for p in emulator.parameters if p.unit}
        count = [0, 0]

        def parts() -> Iterator[dict[str, Any]]:
            from posterion.emulators import table_of

            names = list(emulator.inputs.names)
            rows = io.open_rows(points, names)
            with progress("predicting", total=rows.count) as bar:
                for chunk in rows.chunks(ROWS):
                    given = dict(zip(names, chunk.T, strict=True))
                    found = dict(table_of(emulator.predict(given, **asked)))
                    count[0] += len(chunk)
                    count[1] += int(found["extrapolated"].sum())
                    yield found
                    bar.update(advance=len(chunk))

        meta = {"file": file.name, "points": points.name, "name": emulator.name}
        io.write_draws(output, parts(), units=units, meta=meta)
        typer.echo(
            f"wrote {output}: {count[0]:,} points, {count[1]:,} of them outside of what was "
            f"trained on"
        )


@app.command()
def distil(
    file: File,
    output: Annotated[Path, typer.Option("-o", "--output", help="The .posterion file to write.")],
    points: Annotated[
        Path | None, typer.Option(help="A table of points to learn from; by default drawn.")
    ] = None,
    hidden: Annotated[str, typer.Option(help="Widths of the hidden layers.")] = "128,128,128",
    rows: Annotated[int, typer.Option(min=1, help="Points, where none are given.")] = 30_000,
    epochs: Annotated[int, typer.Option(min=1, help="Of Adam.")] = 100,
    seed: Seed = 0,
) -> None:
    """Distil an emulator into one network, and say how far it is from the many."""
    with messages(f"interrupted; {output} was not written"):
        must_differ(output, file, points)
        writable_file(output)
        from posterion import networks

        built = networks.mlp(_widths(hidden), "silu")
        found = opened(file, "distil").distil(
            points, network=built, rows=rows, epochs=epochs, seed=seed
        )
        typer.echo(str(found))
        found.save(output)
        typer.echo(f"wrote {output}")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _widths(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"\d+(,\d+)*", text.replace(" ", "")):
        raise SettingError(f"--hidden takes widths with commas, such as 50,50, not {text!r}")
    return tuple(int(width) for width in text.split(","))
