"""Markdown tables, and numbers over seeds."""

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from posterion.core.files import write_text
from posterion.studies import Figure, read_metrics

T = TypeVar("T")

SEEDS = (57721, 69314, 12020)
"""Never used while developing; a seed that led to a change is replaced."""

ROOT = Path(__file__).resolve().parents[1]


def markdown(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table; numbers stand to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    rule = ["---" if i == 0 else "---:" for i in range(len(heads))]
    lines = [" | ".join(row) for row in ([*heads], rule, *cells)]
    return "\n".join(f"| {line} |" for line in lines)


def spread(values: Sequence[float], form: str = ".4f") -> str:
    """Mean and standard deviation over seeds."""
    x = np.asarray(values, float)
    if len(x) == 1:
        return format(x[0], form)
    return f"{x.mean():{form}} ± {x.std(ddof=1):{form.replace('+', '')}}"


def machine() -> str:
    """The machine in words."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores, {platform.system()}, Python {platform.python_version()}"


def fresh_environment() -> dict[str, str]:
    """The environment without a compilation cache: what a fresh process costs."""
    environment = dict(os.environ)
    for name in ("JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE"):
        environment.pop(name, None)
    return environment


def posterion(*arguments: str) -> float:
    """Run the command line in a fresh process; the wall time in seconds."""
    began = time.perf_counter()
    code = "import sys; from posterion.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, *arguments]
    subprocess.run(command, check=True, env=fresh_environment(), stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def studied(
    name: str, part: str, *options: str, seed: int, quick: bool, resume: bool
) -> dict[str, Figure]:
    """The figures of a study that is run in a folder of its own, or was with ``resume``."""
    folder = kept_in(name, quick) / part
    metrics = folder / "metrics.json"
    if not (resume and metrics.exists()):
        go_on = ["--resume"] if resume else []
        posterion("run", name, "--seed", str(seed), "--out", str(folder), *options, *go_on)
    return read_metrics(metrics).figures


def kept_in(name: str, quick: bool) -> Path:
    """Where a benchmark keeps what it has finished."""
    return ROOT / "out" / "benchmarks" / (f"{name}-quick" if quick else name)


def tell(text: str) -> None:
    """Progress, beside the section that goes to standard output."""
    print(text, file=sys.stderr, flush=True)


class Kept:
    """What a long benchmark has finished, in a folder: with ``--resume`` it is not done again.

    Args:
        name: of the benchmark; a quick one has a folder of its own.
        quick: whether it is one.
        resume: whether what is there counts; otherwise it is removed.
    """

    def __init__(self, name: str, quick: bool, resume: bool) -> None:
        self.folder = kept_in(name, quick)
        if not resume:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, part: str, make: Callable[[], T]) -> T:
        """The part as it was kept, or made now (text, numbers, lists) and kept."""
        path = self.folder / f"{part}.json"
        if path.exists():
            return json.loads(path.read_text())
        made = make()
        write_text(path, json.dumps(made))
        return made
