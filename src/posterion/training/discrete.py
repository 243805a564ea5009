"""Values that repeat: a density of what is discrete means nothing."""

from collections.abc import Sequence

import numpy as np

from posterion.core.errors import SampleError

__all__ = ["look_for_repeats"]

_LOOKED_AT = 20_000
_FEWEST = 100
_VALUES = 20  # as many or fewer are classes, not a variable that was rounded
_SPIKE, _TIMES = 0.01, 10  # share of the rows, and rows, of one value
_STEPS = 0.1  # distinct values a row below which a variable goes in steps


def look_for_repeats(names: Sequence[str], x: np.ndarray) -> list[str]:
    """What values that repeat mean for a density, one sentence a column.

    Args:
        names: of the columns.
        x: rows ``(n, dim)``, of which the first 20 000 are looked at.

    Raises:
        SampleError: a column of at most 20 values.
    """
    x = x[:_LOOKED_AT]
    if len(x) < _FEWEST:
        return []
    notes = []
    for name, column in zip(names, x.T, strict=True):
        values, counts = np.unique(column, return_counts=True)
        if len(values) == 1:
            continue  # that it is constant is said elsewhere
        if len(values) <= _VALUES:
            shown = ", ".join(f"{v:.6g}" for v in values[:5]) + (", ..." if values[5:].size else "")
            step = np.diff(values).min()
            raise SampleError(
                f"{name} takes {len(values)} values only ({shown}): it is discrete and has no "
                "density. For the probability of each value under a condition use posterion.emulate"
                f" with likelihood='categorical' (or 'bernoulli'); or add noise, even over one step"
                f" ({step:.3g}), and fit that; or give it as context"
            )
        most = int(np.argmax(counts))
        spike = int(counts[most])
        if len(values) - 1 < _STEPS * (len(column) - spike):
            notes.append(
                f"{name} goes in steps: {len(values)} values in {len(column)} rows, which the "
                "density smears or resolves as it likes; add noise, even over one step"
            )
        elif spike >= max(_TIMES, _SPIKE * len(column)):
            notes.append(
                f"{name} is {values[most]:.6g} in {spike / len(column):.2g} of the rows: a spike "
                "that no density has; fit the other rows, and the spike's probability by "
                "posterion.emulate with likelihood='bernoulli'"
            )
    return notes
