"""The health of an emulator: what its numbers mean where chains disagree or error bars are wide."""

from dataclasses import replace

import numpy as np
import pytest

from posterion.emulators import Gaussian
from posterion.emulators.assessing import _mixing, corrected, lacking_corrections
from posterion.emulators.chains import Walked
from posterion.emulators.kernels import Tuning
from posterion.networks import mlp
from small_emulators import made, with_rows

RNG = np.random.default_rng(3)


@pytest.mark.parametrize("apart", [0.0, 5.0])
def test_effective_networks_mean_nothing_where_chains_disagree(apart):
    means = RNG.normal(size=(2, 200, 30, 1))
    means[1] += apart
    still = np.zeros((2, 200))
    tuning = Tuning(*(np.zeros(2),) * 4)
    walked = Walked(still, still, {"diverging": still}, tuning, 1, 1, 1.0, True)
    checks, reasons = _mixing(means, walked)
    note = next(c.note for c in checks if c.name.startswith("effective"))
    assert bool(reasons) == bool(apart) == note.startswith("means nothing while R-hat")


def _checks(width, rows, factors=True):
    """Of an emulator whose targets lie within ``width`` of its standard deviations."""
    toy = replace(made(mlp((4,)), Gaussian(0.2), "ab", "y"), factors=np.empty((0, 1)))
    x = toy.inputs.uniform(RNG, rows)
    p = toy.predict(x)
    y = (p.mean + width * p.sd * RNG.normal(size=rows))[:, None]
    test = np.arange(rows) % 2 == 0
    return corrected(toy, x, y, correction=~test & factors, test=test)


def test_error_bars_that_are_too_wide_are_not_called_good():
    emulator, checks, reasons, _ = _checks(0.3, 1000)
    found = {check.name: check for check in checks}
    first = found["coverage at 1 sd, raw"]
    assert first.verdict == "warn"
    assert first.note == "wider than promised; use the corrected one"
    assert found["coverage at 3 sd, raw"].verdict == "good"  # there is no wider than nearly all
    assert not reasons and len(emulator.factors) == 3
    right = {check.name: check for check in _checks(1.0, 1000)[1]}
    assert all(right[f"coverage at {k} sd, raw"].verdict == "good" for k in (1, 2, 3))
    bare = {check.name: check for check in _checks(0.3, 1000, factors=False)[1]}
    note = bare["coverage at 1 sd, raw"].note
    assert note == "wider than promised; no correction at 1 sd: it takes 3 rows held out for it"


def test_too_few_rows_for_a_correction_say_how_many_it_takes():
    emulator, checks, _, _ = _checks(1.0, 400)
    assert len(emulator.factors) == 2
    said = "no correction at 3 sd: it takes 370 rows held out for it"
    assert next(c for c in checks if c.name == "coverage at 3 sd, raw").note == said
    assert lacking_corrections(emulator) == said
    # Reweighted networks have left theirs out, not for want of rows.
    many = with_rows(emulator, 2000)
    assert lacking_corrections(replace(many, factors=np.empty((0, 1)))) == ""
