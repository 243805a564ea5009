"""The side of a library: a process that builds, trains, evaluates and draws on request.

A request is a line of JSON on standard input, its answer a line on standard output, so that rounds
go from one live process to the next and nothing is started or compiled twice. Nothing but NumPy is
imported here: the process is pinned to its core before it loads its library.
"""

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any, Protocol

import numpy as np

from benchmarks.flows import GPU
from benchmarks.flows.cases import Case

CHUNK = 10
"""Steps between two looks at the clock."""


class Model(Protocol):
    """What a library gives: a flow, and Adam on minibatches of random rows."""

    @property
    def parameters(self) -> int:
        """How many numbers are trained."""
        ...

    def start(self, data: np.ndarray, batch: int, rate: float, steps: int, clip: bool) -> None:
        """Begins training on ``data``: ``steps`` of them with cosine decay, or 0: any number at a
        constant rate. With ``clip`` the gradient's norm is clipped at 1.
        """

    def train(self, steps: int) -> None:
        """The next steps, all done when it returns."""

    def put(self, x: np.ndarray) -> Any:
        """The rows as an array of the library, on its device."""

    def wait(self, x: Any) -> None:
        """Until the array has been computed."""

    def density(self, x: Any) -> Any:
        """Log-densities of the rows that were `put`."""

    def sample(self, n: int) -> Any:
        """Draws."""


class Clock:
    """CPU seconds of the whole process, and wall seconds, of a block."""

    def __enter__(self) -> "Clock":
        self.cpu, self.wall = -time.process_time(), -time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu += time.process_time()
        self.wall += time.perf_counter()


class Server:
    """Answers the requests, with one model at a time."""

    def __init__(self, make: Callable[[Case, int], Model], packages: Sequence[str]):
        self.make = make
        self.packages = packages

    def versions(self) -> dict[str, Any]:
        """Of Python and of the packages that do the work."""
        found = {name: version(name) for name in self.packages}
        return {"versions": {"python": platform.python_version(), **found}}

    def build(self, case: dict[str, Any], seed: int) -> dict[str, Any]:
        """A new model; how many parameters it has."""
        self.case = Case.of(case)
        with Clock() as clock:
            self.model = self.make(self.case, seed)
        return {"parameters": self.model.parameters, "cpu": clock.cpu, "wall": clock.wall}

    def first(self, data: str) -> dict[str, Any]:
        """The first call of each kind, which compiles where the library does."""
        rows = np.load(data)
        with Clock() as clock:
            self.model.start(rows, self.case.batch, 1e-4, 0, False)
            self.model.train(CHUNK)
            self.blocks = self.cut(rows)
            self.model.wait(self.model.density(self.blocks[0]))
            self.model.wait(self.model.sample(self.case.batch))
        return {"cpu": clock.cpu, "wall": clock.wall}

    def cut(self, rows: np.ndarray) -> list[Any]:
        """Whole batches on the device."""
        batch = self.case.batch
        return [self.model.put(rows[i : i + batch]) for i in range(0, len(rows) - batch + 1, batch)]

    def trained(self, data: str) -> dict[str, Any]:
        """The first training call alone."""
        with Clock() as clock:
            self.model.start(np.load(data), self.case.batch, 1e-4, 0, False)
            self.model.train(CHUNK)
        return {"cpu": clock.cpu, "wall": clock.wall}

    def measure(self, quantity: str, seconds: float) -> dict[str, Any]:
        """Rows and seconds of training, density or sampling, for at least so many of them."""
        batch, rows = self.case.batch, 0
        now = time.perf_counter if GPU in os.environ else time.process_time
        began = now()
        with Clock() as clock:
            while now() - began < seconds:
                if quantity == "training":
                    self.model.train(CHUNK)
                    rows += CHUNK * batch
                    continue
                if quantity == "density":
                    done = self.model.density(self.blocks[rows // batch % len(self.blocks)])
                else:
                    done = self.model.sample(batch)
                self.model.wait(done)
                rows += batch
        return {"rows": rows, "cpu": clock.cpu, "wall": clock.wall}

    def fit(self, train: str, test: str, out: str, steps: int, rate: float) -> dict[str, Any]:
        """Trains, and writes the log-densities of the test rows."""
        rows = np.load(test)
        with Clock() as clock:
            self.model.start(np.load(train), self.case.batch, rate, steps, True)
            for _ in range(steps // CHUNK):
                self.model.train(CHUNK)
        blocks = self.cut(rows)
        np.save(out, np.concatenate([np.asarray(self.model.density(block)) for block in blocks]))
        return {"cpu": clock.cpu, "wall": clock.wall}


def serve(make: Callable[[Case, int], Model], packages: Sequence[str]) -> None:
    """Answers until the input ends; what else is printed goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    server = Server(make, packages)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(server, request.pop("do"))(**request)
        except NotImplementedError:
            answer = {"missing": True}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def cosine(rate: float, steps: int, step: int) -> float:
    """The rate of a step: constant where ``steps`` is 0."""
    return 0.5 * rate * (1 + np.cos(np.pi * step / steps)) if steps else rate
