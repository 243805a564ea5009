"""Flows on a graphics processor; needs JAX for it, and PyTorch for it where peers are to run.

``python -m benchmarks.gpu`` prints the section, or nothing where there is no GPU: the cases of the
flows' benchmark by wall time, at the batch that each states and at a large one, beside what the
device's arithmetic and memory would allow.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.flows import GPU
from benchmarks.flows.cases import CASES, Case
from benchmarks.flows.client import OURS, available
from benchmarks.flows.speed import QUANTITIES, measure
from benchmarks.tables import markdown, tell

LARGE = 65_536
"""Rows of the large batch."""


def weights(case: Case) -> tuple[int, int]:
    """Weights that a row meets in all layers, and numbers that those layers give."""
    width = 3 * case.bins - 1 if case.bins else 2
    outputs = case.dim * width
    inputs = case.dim
    if case.kind == "coupling":
        inputs, outputs = inputs // 2, outputs // 2
    sizes = [inputs, *case.hidden, outputs]
    met = sum(a * b for a, b in pairwise(sizes))
    return case.layers * met, case.layers * sum(sizes[1:])


def limit(case: Case, quantity: str, flops: float, bandwidth: float) -> tuple[float, str]:
    """Rows a second that the device allows, and what stands in the way.

    Each layer's matrix product is counted once (three times for training), each number between
    layers is written and read once.
    """
    met, given = weights(case)
    passes = 3 if quantity == "training" else 1
    arithmetic, memory = flops / (2 * met * passes), bandwidth / (8 * given * passes)
    return (arithmetic, "arithmetic") if arithmetic < memory else (memory, "memory")


def device() -> tuple[str, float, float]:
    """Its name, the float32 operations and the bytes a second that were measured on it."""
    import jax
    import jax.numpy as jnp

    def seconds(function: Callable[[Any], Any], x: Any) -> float:
        jax.block_until_ready(function(x))
        taken = []
        for _ in range(10):
            began = time.perf_counter()
            jax.block_until_ready(function(x))
            taken.append(time.perf_counter() - began)
        return min(taken)

    n = 8192
    a = jax.random.normal(jax.random.key(0), (n, n))
    product = jax.jit(lambda a: jnp.matmul(a, a, precision=jax.lax.Precision.HIGHEST))
    copied = jax.jit(lambda x: x + 1)
    long = jnp.zeros(1 << 29)
    flops, bandwidth = 2 * n**3 / seconds(product, a), 8 * long.size / seconds(copied, long)
    return str(jax.devices()[0].device_kind), flops, bandwidth


def section(letters: str, batches: list[int], rounds: int, seconds: float) -> str:
    """The tables of throughput, of these cases, each at these batches (0: the case's own)."""
    kind, flops, bandwidth = device()
    tell(f"{kind}: {flops / 1e12:.1f} TFLOP/s, {bandwidth / 1e12:.2f} TB/s")
    names = available()
    peers = [name for name in names if name != OURS]
    rows, ratios = [], []
    cases = {letter: case for letter, case in CASES.items() if letter in letters}
    for letter, case in cases.items():
        for batch in (asked or case.batch for asked in batches):
            tell(f"({letter}) {batch}")
            found = measure(replace(case, batch=batch), names, rounds, seconds)
            for quantity in QUANTITIES:
                ours = float(np.median(found[OURS][quantity]))
                others = [float(np.median(found[n][quantity])) for n in peers if n in found]
                allowed, wall = limit(case, quantity, flops, bandwidth)
                ratio = ours / max(others) if others else float("nan")
                ratios.append(ratio)
                cells = [
                    f"{np.median(found[n][quantity]) / 1000:.3g}" if n in found else "–"
                    for n in names
                ]
                share = f"{ours / allowed:.1%} ({wall})"
                rows.append([f"({letter}) {quantity}, {batch}", *cells, f"{ratio:.2f}", share])
                tell(" | ".join(rows[-1]))
    words = "\n".join(f"- ({letter}) {case}" for letter, case in cases.items())
    return "\n".join(
        [
            f"{kind}: {flops / 1e12:.1f} TFLOP/s in a float32 product of 8192 x 8192 (full "
            f"precision), {bandwidth / 1e12:.2f} TB/s in a copy, measured in this run. Thousand "
            f"rows a second of wall time, data on the device: medians of {rounds} rounds of "
            f"{seconds} s a quantity, that go from one library to the next. The last column is "
            "what those two figures would allow if every layer's product were done once and every "
            "number between layers were written and read once.\n",
            words + "\n",
            markdown(("", *names, "ratio to the best peer", "of the limit"), rows),
            f"\nGeometric mean of the ratios: {np.exp(np.nanmean(np.log(ratios))):.2f}.\n",
        ]
    )


def main() -> None:
    """Print the section."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small settings")
    parser.add_argument("--cases", default="".join(CASES), help="letters of cases")
    parser.add_argument(
        "--batches", type=int, nargs="+", default=[0, LARGE], help="rows of a batch; 0: as stated"
    )
    asked = parser.parse_args()
    import jax

    if jax.default_backend() != "gpu":
        tell("no GPU that JAX can use")
        sys.exit(0)
    os.environ[GPU] = "1"
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    print(section(asked.cases, asked.batches, *((1, 0.05) if asked.quick else (3, 0.3))))


if __name__ == "__main__":
    main()
