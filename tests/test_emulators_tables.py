"""Inputs and targets: read from anything, scaled and back, divided by their bits."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from posterion.core.errors import SampleError, SettingError, ThetaError
from posterion.emulators.tables import (
    columns_of,
    matching,
    numbers_of,
    uniform_of_rows,
    warn_of_twins,
)
from posterion.io import write_draws

RNG = np.random.default_rng(2)
FIRST = 0.6257046386504934
TABLE = {"m": RNG.normal(3.0, 2.0, 50), "sigma": np.exp(RNG.normal(0, 4, 50))}


def test_columns_have_unit_spread_and_come_back():
    columns = columns_of(TABLE, {"sigma": "pb"}, ["sigma"], scaled=True)
    values = np.stack(list(TABLE.values()), axis=1)
    scaled = columns.scaled(values)
    np.testing.assert_allclose(scaled.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(scaled.std(0), 1)
    np.testing.assert_allclose(columns.unscaled(scaled), values, rtol=1e-12)
    np.testing.assert_allclose(columns.location[1], np.log(TABLE["sigma"]).mean())
    assert columns.units == ("", "pb")
    assert columns.outside(values).sum() == 0
    assert columns.outside(values + np.array([0.0, 1e6])).all()
    labels = columns_of({"y": np.array([0.0, 1.0])}, {}, [], scaled=False)
    np.testing.assert_array_equal(labels.scaled(np.array([[1.0]])), [[1.0]])


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_any_source_gives_the_same_columns(suffix, tmp_path):
    path = tmp_path / f"scan{suffix}"
    write_draws(path, TABLE, units={"sigma": "pb"})
    for source in (TABLE, pd.DataFrame(TABLE), path, str(path)):
        table, _ = numbers_of(source, "x")
        np.testing.assert_allclose(table["sigma"], TABLE["sigma"], rtol=1e-12)
        np.testing.assert_allclose(matching(source, ["sigma", "m"])[:, 1], TABLE["m"], rtol=1e-12)
    array, _ = numbers_of(np.stack(list(TABLE.values()), axis=1), "x")
    assert list(array) == ["x[0]", "x[1]"]
    assert list(numbers_of(TABLE["m"], "y")[0]) == ["y"]


def test_rows_are_divided_by_their_bits_alone():
    x = RNG.normal(size=(20_000, 3))
    u = uniform_of_rows(x)
    order = RNG.permutation(len(x))
    np.testing.assert_array_equal(uniform_of_rows(x[order]), u[order])
    assert stats.kstest(u, "uniform").pvalue > 1e-3
    assert len(np.unique(u)) == len(u)
    assert abs(np.corrcoef(u, x[:, 0])[0, 1]) < 0.03
    grid = np.stack(np.meshgrid(*[np.arange(20.0)] * 3), axis=-1).reshape(-1, 3)
    assert stats.kstest(uniform_of_rows(grid), "uniform").pvalue > 1e-3
    np.testing.assert_array_equal(
        uniform_of_rows(np.array([[-0.0]])), uniform_of_rows(np.zeros((1, 1)))
    )
    # of one row, for good: a file's division must not change with the version
    assert uniform_of_rows(np.array([[1.0, 2.0]]))[0] == pytest.approx(
        0.6257046386504934, abs=1e-15
    )


def test_equal_inputs_with_other_targets_are_counted(caplog):
    x = np.array([[1.0, 2.0], [0.0, 1.0], [1.0, 2.0], [1.0, 2.0]])
    assert warn_of_twins(x, np.array([[0.0], [0.0], [0.0], [1.0]])) == 1
    assert "1 rows repeat" in caplog.text
    assert warn_of_twins(x, np.zeros((4, 1))) == 0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: columns_of(TABLE, {}, ["x"], scaled=True), SettingError, "no column x"),
        (
            lambda: columns_of({"a": np.array([1.0, -2.0])}, {}, ["a"], scaled=True),
            SampleError,
            "1 of its values are not positive, the first in row 1",
        ),
        (
            lambda: columns_of({"a": np.ones(3), "b": np.arange(3.0)}, {}, [], scaled=True),
            SampleError,
            "constant columns.*: a;",
        ),
        (lambda: numbers_of({"kind": np.array(["a", "b"])}, "x"), SampleError, "categories"),
        (lambda: numbers_of({"a": np.ones(2), "b": np.ones(3)}, "x"), SampleError, "as many"),
        (lambda: numbers_of(np.ones((0, 2)), "x"), SampleError, "needs rows"),
        (lambda: numbers_of(np.ones((2, 2, 2)), "x"), SampleError, "rows of columns"),
        (lambda: numbers_of({"a": np.ones((2, 2))}, "x"), SampleError, "shape"),
        (lambda: matching(TABLE, ["m", "q"]), ThetaError, "lack the column q"),
        (lambda: matching(np.ones((2, 3)), ["m", "q"]), SampleError, "3 columns, the emulator 2"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_tables_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
