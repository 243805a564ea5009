"""Throughput: all libraries alive at once, rounds that go from one to the next."""

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.flows import GPU
from benchmarks.flows.cases import CASES, Case
from benchmarks.flows.client import OURS, Library, core
from benchmarks.tables import markdown, tell

QUANTITIES = ("training", "density", "sampling")
ROWS = 20_480


def measure(case: Case, names: list[str], rounds: int, seconds: float) -> dict[str, Any]:
    """By library: parameters, seconds of the first calls, rates, share of the core it had."""
    found: dict[str, Any] = {}
    living: dict[str, Library] = {}
    clock = "wall" if GPU in os.environ else "cpu"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "data.npy"
        rng = np.random.default_rng(1)
        mixing = np.eye(case.dim) + 0.3 * rng.normal(size=(case.dim, case.dim)) / case.dim**0.5
        rows = max(ROWS, case.batch)
        np.save(file, (rng.normal(size=(rows, case.dim)) @ mixing).astype(np.float32))
        with ThreadPoolExecutor(len(names) if GPU in os.environ else 1) as pool:
            started = pool.map(lambda name: _started(name, case, str(file), clock), names)
            for name, (library, first) in zip(names, started, strict=True):
                if library is not None:
                    living[name] = library
                    found[name] = first
        for number in range(rounds):
            for quantity in QUANTITIES:
                for name, library in living.items():
                    answer = library.ask("measure", quantity=quantity, seconds=seconds)
                    found[name][quantity].append(answer["rows"] / answer[clock])
                    share = answer["cpu"] / answer["wall"]
                    found[name]["share"] = min(found[name]["share"], share)
            tell(f"round {number + 1} of {rounds}")
        for library in living.values():
            library.close()
    return found


def _started(name: str, case: Case, file: str, clock: str) -> tuple[Library | None, dict[str, Any]]:
    """The library's process after its first calls, if it knows the case."""
    library = Library(name, core())
    built = library.build(case, seed=1)
    if "missing" in built:
        library.close()
        return None, {}
    first = library.ask("first", data=file)
    tell(f"{name}: first calls {first[clock]:.1f} s")
    empty: dict[str, Any] = {quantity: [] for quantity in QUANTITIES}
    seconds = built[clock] + first[clock]
    return library, {"parameters": built["parameters"], "first": seconds, "share": 1.0, **empty}


def compiling(case: Case) -> list[float]:
    """Wall seconds of our first training call, with 1, 2 and 4 times the layers of the case."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "data.npy"
        np.save(file, np.random.default_rng(1).normal(size=(4096, case.dim)).astype(np.float32))
        for times in (1, 2, 4):
            library = Library(OURS, None)
            library.build(replace(case, layers=times * case.layers), seed=1)
            found.append(library.ask("trained", data=str(file))["wall"])
            library.close()
    return found


def _rate(rates: list[float]) -> str:
    return f"{np.median(rates) / 1000:.3g}"


def section(names: list[str], quick: bool) -> str:
    """The tables of throughput, first calls and parameters."""
    rounds, seconds = (1, 0.05) if quick else (5, 0.5)
    peers = [name for name in names if name != OURS]
    rates, firsts, counts, ratios, sampling, share = [], [], [], [], [], 1.0
    cases = {letter: case.small() if quick else case for letter, case in CASES.items()}
    for letter, case in cases.items():
        tell(f"({letter}) {case}")
        found = measure(case, names, rounds, seconds)
        for quantity in QUANTITIES:
            ours = np.median(found[OURS][quantity])
            others = [np.median(found[name][quantity]) for name in peers if name in found]
            ratio = "–"
            if others:
                ratios.append(ours / max(others))
                ratio = f"{ratios[-1]:.2f}"
            cells = [_rate(found[name][quantity]) if name in found else "–" for name in names]
            rates.append([f"({letter}) {quantity}", *cells, ratio])
        if case.kind == "autoregressive":
            ratio = np.median(found[OURS]["sampling"]) / np.median(found[OURS]["density"])
            sampling.append(f"({letter}) {ratio:.2f}")
        share = min(share, *(found[name]["share"] for name in found))
        for table, key, form in ((firsts, "first", ".1f"), (counts, "parameters", ",")):
            cells = [format(found[n][key], form) if n in found else "–" for n in names]
            table.append([f"({letter})", *(cell.replace(",", " ") for cell in cells)])
    compiled = [
        [f"({letter}), {case.layers} layers", *(f"{s:.1f}" for s in compiling(case))]
        for letter, case in cases.items()
    ]
    words = "\n".join(f"- ({letter}) {case}" for letter, case in cases.items())
    mean = f"{np.exp(np.mean(np.log(ratios))):.2f}" if ratios else "–"
    return "\n".join(
        [
            "Float32, one thread, all processes bound to one core. Thousand rows in a second of "
            f"CPU time of the process: medians of {rounds} rounds that go from one library to the "
            f"next, each of {seconds} s or more a quantity. Least share of the core that a process "
            f"had while it was measured: {share:.0%}.\n",
            words + "\n",
            markdown(("", *names, "ratio to the best peer"), rates),
            f"\nGeometric mean of the ratios: {mean}. Sampling an autoregressive flow against its "
            f"own density: {', '.join(sampling)}.\n",
            "CPU seconds to build and of the first call of each kind (10 steps, a density, a "
            "sampling call), compilation included:\n",
            markdown(("", *names), firsts),
            "\nWall seconds of our first training call (10 steps, with compilation), all cores, "
            "by the number of layers:\n",
            markdown(("", "as stated", "twice", "four times"), compiled),
            "\nTrained parameters:\n",
            markdown(("", *names), counts),
        ]
    )
