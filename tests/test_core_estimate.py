"""An estimate is printed as a physicist prints it."""

import math

import pytest

from posterion.core.errors import SettingError
from posterion.core.estimate import Estimate
from posterion.core.registry import from_tree, to_tree
from posterion.core.status import Status


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (-14.575823, 0.000312, "-14.57582 ± 0.00031"),
        (0.12345, 0.0996, "0.12 ± 0.10"),
        (0.12345, 0.0994, "0.123 ± 0.099"),
        (2.0, 1.0, "2.0 ± 1.0"),
        (-0.001, 1.0, "0.0 ± 1.0"),
        (1234.5, 123.4, "1230 ± 120"),
        (1e7 + 0.25, 0.0131, "10000000.250 ± 0.013"),
        (3.2e-8, 1.04e-10, "(3.200 ± 0.010)e-08"),
        (0.0, 2e-6, "(0.0 ± 2.0)e-06"),
        (5.125e8, 3e6, "(5.125 ± 0.030)e+08"),
        (3.0, 0.0, "3 ± 0"),
        (3.25, math.nan, "3.25 ± unknown"),
        (-math.inf, math.nan, "-inf ± unknown"),
        (1.0, math.inf, "1 ± inf"),
    ],
)
def test_digits(value: float, error: float, text: str) -> None:
    assert str(Estimate(value, error)) == text
    assert Estimate(value, error).text(ascii=True) == text.replace("±", "+-")


def test_repr_is_ascii_and_rebuilds() -> None:
    estimate = Estimate(1, 2)
    assert repr(estimate) == "Estimate(value=1.0, error=2.0)"
    assert eval(repr(estimate)) == estimate  # noqa: S307
    assert from_tree(to_tree(estimate, {}), {}) == estimate


def test_negative_error_is_refused() -> None:
    with pytest.raises(SettingError, match="negative"):
        Estimate(1.0, -0.1)


def test_pull() -> None:
    assert Estimate(1.0, 3.0).pull(Estimate(11.0, 4.0)) == -2.0
    assert Estimate(1.0, 0.0).pull(Estimate(1.0, 0.0)) == 0.0
    assert Estimate(1.0, 0.0).pull(Estimate(0.5, 0.0)) == math.inf


def test_every_status_says_what_to_do() -> None:
    sentences = [status.sentence for status in Status]
    assert len(set(sentences)) == len(sentences)
    for status in Status:
        assert status.value == status.name
        assert status.sentence.endswith(".")
        assert ":" in status.sentence, "a diagnosis, then what to do"
        good = (Status.converged, Status.fitted, Status.scored, Status.calibrated)
        assert status.ok == (status in good)
        assert from_tree(to_tree(status, {}), {}) is status
