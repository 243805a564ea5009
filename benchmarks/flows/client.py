"""The asking side: one live process of each library, all on the same core."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

from benchmarks.flows import CPU, GPU
from benchmarks.flows.cases import Case
from benchmarks.tables import ROOT, fresh_environment

PEERS = ROOT / ".venv-peers" / "bin" / "python"
LIBRARIES = {
    "Posterion": "ours",
    "plain torch": "peer_torch",
    "zuko": "peer_zuko",
    "nflows": "peer_nflows",
    "normflows": "peer_normflows",
    "flowjax": "peer_flowjax",
}
OURS = "Posterion"


class Library:
    """A process that answers; an answer without what was asked says ``missing``."""

    def __init__(self, name: str, cpu: int | None):
        self.name = name
        python = sys.executable if name == OURS or not PEERS.exists() else str(PEERS)
        environment = fresh_environment()
        for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            environment[variable] = "1"
        if GPU in environment:
            environment["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # several share its memory
        if cpu is not None:
            environment[CPU] = str(cpu)
        self.process = subprocess.Popen(
            [python, "-m", f"benchmarks.flows.{LIBRARIES[name]}"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """The answer to one request.

        Raises:
            RuntimeError: the process has ended.
        """
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.name} ended, asked for {do} {arguments}")
        return json.loads(answer)

    def build(self, case: Case, seed: int) -> dict[str, Any]:
        """A new model of that case."""
        return self.ask("build", case=case.values(), seed=seed)

    def build_like(self, case: Case, seed: int, parameters: int) -> dict[str, Any]:
        """The model of that case whose width brings it closest to so many parameters."""
        tried: dict[int, int] = {}
        width = case.hidden[0]
        lower, upper = 1, 4 * width
        while width not in tried:
            built = self.build(case.wide(width), seed)
            if "missing" in built:
                return built
            tried[width] = built["parameters"]
            if abs(tried[width] / parameters - 1) < 0.01:
                break
            if tried[width] < parameters:
                lower = width
            else:
                upper = width
            width = (lower + upper) // 2
        best = min(tried, key=lambda width: abs(tried[width] - parameters))
        return {**self.build(case.wide(best), seed), "width": best}

    def close(self) -> None:
        """Ends the process."""
        self.process.communicate()


def available() -> list[str]:
    """The libraries that can be asked here: in an environment of their own, or in this one."""
    if PEERS.exists():
        return list(LIBRARIES)
    module = {OURS: "posterion", "plain torch": "torch"}
    return [name for name in LIBRARIES if find_spec(module.get(name, name))]


def core() -> int | None:
    """The core that all share; ``None`` on a GPU, and where a process cannot be bound to one."""
    if GPU in os.environ:
        return None
    return max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
