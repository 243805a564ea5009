"""Memory and speed of a fit to more rows than are held: a table of 4 GB, written and removed."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.tables import fresh_environment, markdown, tell

COLUMNS = 20
ROWS = 200_000_000 // 8  # 4 GB in float64
FIT = """
import json, resource, sys, time
import posterion
start = time.perf_counter()
flow = posterion.flows.maf(20, transforms=2, hidden=(64, 64))
fit = posterion.fit(flow, sys.argv[1], epochs=1, batch=4096, rate=2e-3, quiet=True)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
print(json.dumps({"peak": peak, "seconds": time.perf_counter() - start,
                  "fitting": fit.health.seconds["fitting"], "status": fit.status.name,
                  "held": fit.health.check("log-density, held-out rows").value}))
"""


def write(path: Path, rows: int) -> float:
    """A table of correlated normal columns, in pieces; the mean log-density of its rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [f"x{i}" for i in range(COLUMNS)]
    rng = np.random.default_rng(1)
    mixing = np.eye(COLUMNS) + 0.3 * np.tril(rng.normal(size=(COLUMNS, COLUMNS)), -1)
    schema = pa.schema([(name, pa.float64()) for name in names])
    with pq.ParquetWriter(path, schema, compression=None, use_dictionary=False) as writer:
        for start in range(0, rows, 250_000):
            x = rng.normal(size=(min(250_000, rows - start), COLUMNS)) @ mixing
            writer.write_table(pa.table({n: x[:, i] for i, n in enumerate(names)}, schema=schema))
    # Of a normal in COLUMNS dimensions with |det mixing| = 1: minus its entropy.
    return -0.5 * COLUMNS * (1 + np.log(2 * np.pi))


def main(quick: bool) -> None:
    """Print the section."""
    rows = ROWS // 500 if quick else ROWS
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "table.parquet"
        truth = write(path, rows)
        size = path.stat().st_size / 1e9
        tell(f"{size:.2f} GB written")
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", FIT, str(path)],
            env=fresh_environment(),
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        tell(f"fitted in {time.perf_counter() - began:.0f} s")
    found = json.loads(done.stdout)
    lines = [
        ["rows", f"{rows:,}".replace(",", " ")],
        ["file [GB]", f"{size:.2f}"],
        ["largest resident memory of the whole process [GB]", f"{found['peak']:.2f}"],
        ["of which Python and JAX before any row [GB]", f"{_idle():.2f}"],
        ["one pass to look through the rows, one epoch, health [s]", f"{found['seconds']:.0f}"],
        ["rows learned from per second", f"{0.9 * rows / found['fitting']:,.0f}".replace(",", " ")],
        ["mean log-density of held-out rows, nats", f"{found['held']:.4f}"],
        ["exact, minus the entropy", f"{truth:.4f}"],
    ]
    print(
        f"`posterion.fit` of a MAF (2 layers of 2x64) to a Parquet table of {COLUMNS} columns that "
        "is read anew in each pass; one epoch, batches of 4096, status "
        f"`{found['status']}`. The file is removed afterwards.\n"
    )
    print(markdown(("", ""), lines))


def _idle() -> float:
    code = "import posterion, resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return int(done.stdout) / 1e6


if __name__ == "__main__":
    main("--quick" in sys.argv[1:])
