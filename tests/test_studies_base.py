"""The form of ``metrics.json``."""

import json

import numpy as np
import pytest

from posterion.core.errors import OutputError, SettingError, TableError
from posterion.studies import Figure, read_metrics, write_metrics

NULL = {"truth": None, "published": None, "floor": None, "source": None}


def test_the_file_has_the_form_that_all_studies_share(tmp_path):
    path = tmp_path / "metrics.json"
    figures = {
        "NO.ess_fraction": Figure(np.float64(0.998), truth=1.0),
        "NO.js_max": {"value": 1.5e-4, "floor": 1.2e-4, "source": "table sums"},
        "NO.density_calls": np.int64(64_000),
        "NO.k_hat": float("nan"),
    }
    write_metrics(path, "neutrinos", 1, 12.5, figures)
    content = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert list(content) == ["study", "seed", "seconds", "versions", "figures"]
    assert (content["study"], content["seed"], content["seconds"]) == ("neutrinos", 1, 12.5)
    assert content["versions"]["posterion"]
    assert content["figures"] == {
        "NO.ess_fraction": NULL | {"value": 0.998, "truth": 1.0},
        "NO.js_max": NULL | {"value": 1.5e-4, "floor": 1.2e-4, "source": "table sums"},
        "NO.density_calls": NULL | {"value": 64_000},
        "NO.k_hat": NULL | {"value": {"float": "nan"}},
    }
    again = read_metrics(path)
    assert again.figures["NO.js_max"] == Figure(1.5e-4, floor=1.2e-4, source="table sums")
    assert np.isnan(again.figures["NO.k_hat"].value)


@pytest.mark.parametrize(
    ("figure", "message"),
    [
        ({"value": 1, "error": 2}, r"'x' has the fields value, error"),
        ({"truth": 1}, "needs 'value'"),
        ("0.99", "value = '0.99' is no number"),
        (Figure(1, truth=[1, 2]), r"truth = \[1, 2\]"),
    ],
)
def test_a_figure_that_is_none(tmp_path, figure, message):
    with pytest.raises(SettingError, match=message):
        write_metrics(tmp_path / "metrics.json", "s", 1, 1.0, {"x": figure})
    assert list(tmp_path.iterdir()) == []


def test_metrics_that_cannot_be_read_or_written(tmp_path):
    with pytest.raises(TableError, match=r"no metrics\.json"):
        read_metrics(tmp_path / "none")
    for text in ("", "[]", '{"figures": {}}', '{"figures": {"x": 3}}', '{"value": NaN}'):
        (tmp_path / "metrics.json").write_text(text)
        with pytest.raises(TableError, match=r"no metrics\.json"):
            read_metrics(tmp_path / "metrics.json")
    with pytest.raises(OutputError, match="create it"):
        write_metrics(tmp_path / "no" / "metrics.json", "s", 1, 1.0, {})
