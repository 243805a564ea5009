"""How long a point takes, by theory and by emulator."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from posterion.emulators import Emulator
from posterion.studies.susy.published import MINUTES_A_POINT

__all__ = ["Timing", "timed"]

_ROWS = 16_384


@dataclass(frozen=True)
class Timing:
    """Seconds a point.

    Attributes:
        emulator: of all networks together.
        networks: how many these are.
        generator: of the stand-in, with all masses and cross sections; None beside a table.
    """

    emulator: float
    networks: int
    generator: float | None

    def figures(self) -> dict[str, float]:
        """By name."""
        found = {
            "seconds_a_point": self.emulator,
            "network_evaluations_a_second": self.networks / self.emulator,
            "faster_than_published_codes": 60 * MINUTES_A_POINT / self.emulator,
        }
        if self.generator is not None:
            found["faster_than_generator"] = self.generator / self.emulator
        return found

    def words(self) -> str:
        """In a sentence."""
        found = self.figures()
        rate = found["network_evaluations_a_second"]
        said = (
            f"A point takes {1e6 * self.emulator:.2g} \N{MICRO SIGN}s with {self.networks} "
            f"networks ({rate:.2g} evaluations of a network a second), a factor of "
            f"{found['faster_than_published_codes']:.1e} below {MINUTES_A_POINT} minutes"
        )
        if self.generator is None:
            return said + "."
        ratio = found["faster_than_generator"]
        if ratio < 1:
            return f"{said}; the vectorised stand-in is {1 / ratio:.2g} times faster."
        return f"{said} and of {ratio:.2g} below the vectorised stand-in."


def timed(emulator: Emulator, generated: bool) -> Timing:
    """Both on as many points of the parameter space, after one call that compiles."""
    from posterion.studies.susy.generator import evaluate
    from posterion.studies.susy.parameters import draw

    points = draw(_ROWS, 0)

    def seconds(call: Callable[..., object]) -> float:
        begun = time.perf_counter()
        call(points)
        return (time.perf_counter() - begun) / _ROWS

    emulator.predict(points)
    best = min(seconds(emulator.predict) for _ in range(2))
    theory = None
    if generated:
        evaluate(points)
        theory = min(seconds(evaluate) for _ in range(2))
    return Timing(best, len(emulator.networks), theory)
