"""``python -m benchmarks [NAMES] [--data DIR] [--quick] [--resume] [--results FILE]``.

Each benchmark runs in a process of its own and prints its section of ``RESULTS.md``, which is
replaced in place: one benchmark can be run again without the others. The longest ones keep the
parts that they have finished, which ``--resume`` takes as they are.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.tables import ROOT, machine, tell
from posterion.core.files import write_text
from posterion.core.versions import versions

NAMES = (
    "neutrinos",
    "stress",
    "sabotage",
    "plain",
    "sampling",
    "flows",
    "memory",
    "likelihood",
    "likelihood_pyhf",
    "emulators",
    "mixing",
    "susy",
    "quantiles",
    "pendulum",
    "jets",
    "amortised",
    "gpu",
)
TITLES = {
    "neutrinos": "Neutrinos",
    "stress": "Stress targets",
    "sabotage": "The health report on sabotaged fits",
    "plain": "Plain NumPy densities",
    "sampling": "Sampling from the saved file",
    "flows": "Flows against their peers",
    "memory": "A fit to 4 GB on disk",
    "likelihood": "The toy likelihood",
    "likelihood_pyhf": "HistFactory workspaces",
    "emulators": "Gradients of Bayesian networks",
    "mixing": "Effective predictions for each gradient",
    "susy": "Supersymmetry",
    "quantiles": "Quantile networks",
    "pendulum": "Gravity from a pendulum",
    "jets": "Jets through a detector",
    "amortised": "Posteriors for any data",
    "gpu": "On a graphics processor",
}
RESUMABLE = ("mixing", "susy", "quantiles", "pendulum", "jets", "amortised")
_HEAD = """# Results

Written by `python -m benchmarks`; each section by its own module, on the machine and with the
versions that it names. `python -m benchmarks NAME` replaces one section.
"""


def replaced(text: str, name: str, section: str) -> str:
    """The text with one section replaced, or appended in the order of `NAMES`."""
    block = f"<!-- {name} -->\n## {TITLES[name]}\n\n{section.strip()}\n<!-- end {name} -->\n"
    pattern = re.compile(rf"<!-- {name} -->\n.*?<!-- end {name} -->\n", re.DOTALL)
    if pattern.search(text):
        return pattern.sub(lambda _: block, text)
    for later in NAMES[NAMES.index(name) + 1 :]:
        if (at := text.find(f"<!-- {later} -->\n")) >= 0:
            return f"{text[:at]}{block}\n{text[at:]}"
    return f"{text.rstrip()}\n\n{block}"


def run(name: str, *, quick: bool, resume: bool, environment: dict[str, str]) -> str:
    """The section that one benchmark prints."""
    command = [sys.executable, "-m", f"benchmarks.{name}"]
    command += ["--quick"] * quick + ["--resume"] * (resume and name in RESUMABLE)
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"the benchmark {name} failed with code {done.returncode}")
    return done.stdout


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--data", type=Path, help="folder of inputs from outside")
    parser.add_argument("--quick", action="store_true", help="small settings: do they run at all?")
    parser.add_argument("--resume", action="store_true", help="with the parts that are finished")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "RESULTS.md")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(NAMES):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    environment = dict(os.environ)
    if asked.data is not None:
        environment["POSTERION_DATA"] = str(asked.data.resolve())
    for name in asked.names or NAMES:
        began = time.perf_counter()
        section = run(name, quick=asked.quick, resume=asked.resume, environment=environment)
        if not section.strip():  # what it needs is not here
            continue
        minutes = (time.perf_counter() - began) / 60
        known = ", ".join(f"{k} {v}" for k, v in versions().items())
        small = " Small settings: these numbers mean nothing." if asked.quick else ""
        day = time.strftime("%Y-%m-%d")
        said = f"{day}, {minutes:.0f} min; {machine()}; {known}.{small}"
        text = asked.results.read_text() if asked.results.exists() else _HEAD
        write_text(asked.results, replaced(text, name, f"{said}\n\n{section}"))
        tell(f"{name}: {minutes:.1f} min")


if __name__ == "__main__":
    main()
