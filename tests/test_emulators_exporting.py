"""``predict.onnx`` run by onnxruntime gives what the emulator gives."""

import json
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import posterion
from posterion.cli import main
from posterion.core.errors import BundleError, ExportError, ParityWarning, ShapeError
from posterion.emulators import (
    Bernoulli,
    Categorical,
    Gaussian,
    Heteroscedastic,
    Own,
    StudentT,
    exporting,
)
from posterion.networks import convolutional, mlp
from small_emulators import made

onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX files need the extra onnx")
pytest.importorskip("onnx", reason="ONNX files need the extra onnx")

RNG = np.random.default_rng(2)


CASES = {
    "fixed spread": (mlp((7, 7), "silu"), Gaussian(0.2), {}),
    "logarithms": (mlp((7, 7)), Gaussian(), {"targets": "yz", "log": "ay"}),
    "own spread": (mlp((7, 7), "relu", residual=True), Heteroscedastic(), {"targets": "yz"}),
    "outliers": (mlp((5,), "gelu"), StudentT(), {"log": "y"}),
    "label": (mlp((5,), "prelu"), Bernoulli(), {}),
    "classes": (mlp((5,), "swish"), Categorical(3), {}),
    "learned": (mlp((5, 4), "scaled_tanh"), Gaussian(), {}),
    "linear": (mlp(()), Gaussian(), {}),
    "length": (convolutional((1, 9), (3, 3), hidden=(4,), residual=True), Gaussian(), {}),
    "image": (convolutional((2, 5, 4), (3, 2), hidden=(4,), activation="tanh"), Gaussian(), {}),
}


@pytest.mark.parametrize("name", CASES)
def test_the_file_gives_what_the_emulator_gives(name, tmp_path):
    network, likelihood, given = CASES[name]
    inputs = {"length": "abcdefghi", "image": [f"p{i}" for i in range(40)]}.get(name, "abc")
    emulator = made(network, likelihood, inputs, **given)
    card = emulator.export_onnx(tmp_path)
    session = onnxruntime.InferenceSession(tmp_path / "predict.onnx")
    x = emulator.inputs.uniform(RNG, 33)
    there = dict(zip(exporting.OUTPUTS, session.run(None, {"x": x}), strict=True))
    p = emulator.predict(x)
    for part, found in list(there.items())[:4]:
        wanted = getattr(p, part)
        assert found.dtype == np.float64
        np.testing.assert_allclose(found.reshape(wanted.shape), wanted, rtol=2e-5, atol=1e-6)
    log = emulator.targets.log
    ends = p.interval(2) if emulator.head == "normal" else ()
    for sign, wanted in zip((-1, 1), ends, strict=bool(ends)):
        end = there["centre"] + sign * np.asarray(card["factors"]["2"]) * there["spread"]
        end = np.where(log, np.exp(np.where(log, end, 0)), end).reshape(wanted.shape)
        np.testing.assert_allclose(end, wanted, rtol=2e-5, atol=1e-6)
    if not ends:
        wanted = {"slope": [1.2], "shift": [0.1]} if name == "label" else {"slope": [0.9]}
        assert card["factors"] == wanted
    assert (p.epistemic > 0).all() and np.ptp(p.mean) > 1e-3
    assert card == json.loads((tmp_path / "card.json").read_text())
    assert card["parity"]["within"] and card["parity"]["points"] == exporting.POINTS
    assert [c["name"] for c in card["columns"]] == list(inputs)
    first = {"name": "a", "unit": "GeV", "log": True, "lower": 0.1, "upper": 3.0}
    assert name != "logarithms" or card["columns"][0] == first


@pytest.mark.parametrize(
    ("likelihood", "shape", "wanted"),
    [
        (Gaussian(), (4, 1), r"normal targets are \(3, 1\)"),
        (Gaussian(), (3, 2), r"\(3, 1\).*these are \(3, 2\)"),
        (Gaussian(), (3,), r"these are \(3,\)"),
        (Bernoulli(), (3, 1), r"bernoulli targets are \(2, 1\)"),
        (Bernoulli(), (1, 1), r"these are \(1, 1\)"),
        (Categorical(3), (2, 1), r"categorical targets are \(1, 1\)"),
    ],
)
def test_factors_of_another_shape_are_refused(likelihood, shape, wanted, tmp_path):
    emulator = made(mlp((3,)), likelihood)
    with pytest.raises(ShapeError, match=wanted):
        replace(emulator, factors=np.ones(shape))
    object.__setattr__(emulator, "factors", np.ones(shape))  # as in a file that was tampered with
    emulator.save(tmp_path / "toy.posterion")
    with pytest.raises(BundleError, match=rf"\(emulator\): toy: .*{wanted}"):
        posterion.load(tmp_path / "toy.posterion")
    object.__setattr__(emulator, "factors", np.ones((0, 1)))
    emulator.save(tmp_path / "toy.posterion")
    assert posterion.load(tmp_path / "toy.posterion").factors.shape == (0, 1)


def test_what_has_no_form_is_refused(tmp_path):
    linear = eqx.nn.Linear(3, 1, key=jax.random.key(0))
    with pytest.raises(ExportError, match="network of kind Linear"):
        made(linear, Gaussian()).export_onnx(tmp_path)
    own = Own(lambda o, y: -o[:, 0], lambda key, o: o, lambda o: (o, jnp.ones_like(o)))
    with pytest.raises(ExportError, match="likelihood Own"):
        made(mlp((3,)), own).export_onnx(tmp_path)
    assert not list(tmp_path.iterdir())


def test_differences_that_are_too_large_are_said(tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "SD", 0.0)
    with pytest.warns(ParityWarning, match="differ from it by up to .* in a mean"):
        made(mlp((3,)), Gaussian()).export_onnx(tmp_path)


def test_the_command_line_exports_emulators(tmp_path, capsys):
    emulator = made(mlp((4,)), Gaussian())
    emulator.save(tmp_path / "toy.posterion")
    with pytest.raises(SystemExit) as left:
        main(["export", str(tmp_path / "toy.posterion"), "--onnx", str(tmp_path / "out")])
    said = capsys.readouterr().out
    assert not left.value.code and "wrote predict.onnx and card.json" in said
    assert "standard deviations in a mean" in said
    assert (tmp_path / "out" / "predict.onnx").exists()
