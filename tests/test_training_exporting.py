"""Exported ONNX files give what the result gives, and say what they cannot hold."""

import json
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from posterion import bundles, errors, flows
from posterion.bijections import SupportMap
from posterion.bijections.support import support_of
from posterion.cli import main
from posterion.distributions import Flow, NormalMixture, VonMises
from posterion.targets import Parameter
from posterion.targets.frame import Frame
from posterion.targets.target import v_and_log_det, x_and_log_det
from posterion.training import Fit, export_onnx, exporting
from posterion.training.exporting_frame import to_v, to_x
from posterion.training.exporting_graph import Graph

onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX files need the extra onnx")
pytest.importorskip("onnx", reason="ONNX files need the extra onnx")

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "onnx_sample.py"
BOUNDS = [None, (0.0, 1.0), (2.0, None), (None, 5.0), (-1.0, 1.0)]
TURNS = [False, False, False, False, True]


def stirred(flow, size=0.05):
    """The flow with weights that are not those of the identity."""
    arrays, rest = eqx.partition(flow, eqx.is_inexact_array)
    leaves, tree = jax.tree.flatten(arrays)
    keys = jax.random.split(jax.random.key(0), len(leaves))
    leaves = [a + size * jax.random.normal(k, a.shape) for a, k in zip(leaves, keys, strict=True)]
    return eqx.combine(jax.tree.unflatten(tree, leaves), rest)


def fit_of(flow, bounds=None, periodic=None, context=()):
    """A fit that nothing was fitted for: a frame with correlations around the flow."""
    (dim,) = flow.event_shape
    bounds, periodic = bounds or [None] * dim, np.array(periodic or [False] * dim)
    with jax.enable_x64(True):
        support = support_of(bounds, [bool(p) for p in periodic])
    rng = np.random.default_rng(0)
    lower = np.eye(dim) + 0.2 * np.tril(rng.normal(size=(dim, dim)), -1)
    lower[periodic] = np.eye(dim)[periodic]
    lower[:, periodic] = np.eye(dim)[:, periodic]
    location = np.where(periodic, 0, rng.normal(size=dim))
    parameters = []
    for i, (pair, turns) in enumerate(zip(bounds, periodic, strict=True)):
        low, high = pair or (None, None)
        parameters.append(
            Parameter(f"p{i}", unit="GeV", lower=low, upper=high, periodic=bool(turns))
        )
    return Fit(
        "toy",
        tuple(parameters),
        flow,
        Frame.of(location, lower, support, 0.0),
        tuple(context),
        np.arange(len(context)) + 10.0,
        np.full(len(context), 2.0),
        "array",
        *({}, {}, {}, (), {}),
        context_mixing=np.eye(len(context)) + 40.0 if len(context) > 1 else None,
    )


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(exporting, "POINTS", 2000)


def session(folder, name):
    return onnxruntime.InferenceSession(folder / name)


@pytest.mark.parametrize(
    ("family", "options"),
    [
        (flows.realnvp, {"activation": "gelu"}),
        (flows.coupling_spline, {"hidden": (8, 8), "residual": True}),
        (flows.maf, {"activation": "tanh"}),
        (flows.iaf, {"hidden": (8, 8, 8), "residual": True}),
        (flows.autoregressive_spline, {"activation": "silu"}),
        (flows.coupling_spline, {"spline": "linear"}),
        (flows.coupling_spline, {"spline": "quadratic"}),
    ],
)
def test_parity_with_bounds_angles_and_context(family, options, tmp_path):
    options = {"transforms": 2, "hidden": (8, 8), **options}
    flow = stirred(family(5, periodic=TURNS, context_dim=2, **options))
    fit = fit_of(flow, BOUNDS, TURNS, ("energy", "angle"))
    card = fit.export_onnx(tmp_path)
    assert card["parity"]["within"], card["parity"]
    assert card["parity"]["points"] == 2000
    # The files themselves, against the public face, another number of rows at a time.
    conditions = fit.as_given(np.random.default_rng(2).normal(size=(7, 2)))
    x = fit.sample(1, context=conditions, seed=3)[:, 0]
    (ours,) = session(tmp_path, "log_prob.onnx").run(None, {"x": x, "context": conditions})
    np.testing.assert_allclose(ours, fit.log_prob(x, conditions), atol=1e-4)
    assert card["base"]["z"][4] == {"distribution": "uniform", "lower": -np.pi, "upper": np.pi}
    assert json.loads((tmp_path / "card.json").read_text())["context"] == ["energy", "angle"]
    # Another condition is another density.
    (other,) = session(tmp_path, "log_prob.onnx").run(None, {"x": x, "context": conditions[::-1]})
    assert np.abs(other - ours).max() > 1e-3


def test_blocks_of_coordinates_and_a_fixed_condition(tmp_path):
    flow = stirred(flows.maf(30, transforms=2, hidden=(40,), order=[*range(29, -1, -1)]))
    assert fit_of(flow).export_onnx(tmp_path)["parity"]["within"]
    flow = stirred(flows.coupling_spline(1, transforms=2, hidden=(4,), context_dim=1))
    fit = fit_of(flow, [(0.0, 3.0)], context=("energy",)).given([11.5])
    card = fit.export_onnx(tmp_path)
    assert card["parity"]["within"]
    assert card["condition"] == {"energy": 11.5}
    assert [one.name for one in session(tmp_path, "sample.onnx").get_inputs()] == ["z"]


def test_a_base_of_modes_takes_a_uniform_number_that_picks_one(tmp_path):
    base = NormalMixture(
        jnp.log(jnp.array([0.2, 0.8])),
        jnp.array([[-5.0, 0.0], [5.0, 1.0]]),
        jnp.stack([jnp.eye(2), jnp.array([[0.5, 0.0], [0.3, 0.2]])]),
    )
    fit = fit_of(stirred(flows.maf(2, transforms=1, hidden=(4,), base=base), 0.01))
    assert fit.export_onnx(tmp_path)["parity"]["within"]
    rng = np.random.default_rng(0)
    inputs = {"z": rng.standard_normal((4000, 2)), "u": rng.random(4000)}
    (x,) = session(tmp_path, "sample.onnx").run(None, inputs)
    share = np.mean(x[:, 0] < fit.sample(4000, seed=1)[:, 0].mean() - 3)
    assert abs(share - 0.2) < 4 * np.sqrt(0.16 / 4000)  # false alarms: 1 in 16 000


@pytest.mark.parametrize(
    ("kind", "a", "b"),
    [
        ("real", 1.0, 2.0),
        ("interval", -1.0, 3.0),
        ("above", 2.0, 3.0),
        ("below", 2.0, 3.0),
        ("log", 0.3, 0.5),
        ("sinh", 0.1, 0.7),
        ("exp_above", 1.0, 0.5),
        ("exp_below", 1.0, 0.5),
        ("circle", 0.0, 3.0),
        ("clipped", -5.0, 5.0),
    ],
)
def test_supports_far_into_the_tails(kind, a, b):
    with jax.enable_x64(True):
        frame = Frame.plain(SupportMap((kind,), jnp.array([a]), jnp.array([b])))
    far = 3.1 if kind == "circle" else 7.0
    v = np.concatenate([np.linspace(-far, far, 501), [1e-9, -1e-9]]).astype(np.float32)[:, None]
    there, back = Graph(), Graph()
    x = to_x(there, frame, there.input("v", np.float32, 1, "n"))
    there.output("x", x, 1, "n")
    found = to_v(back, frame, back.input("x", np.float64, 1, "n"))
    back.output("v", found[0], 1, "n")
    back.output("log_det", found[1], "n")
    truth, _ = x_and_log_det(frame, v)
    (x,) = onnxruntime.InferenceSession(there.model("", {})).run(None, {"v": v.T})
    np.testing.assert_allclose(x[0], truth[:, 0], rtol=1e-9, atol=1e-14)
    v_there, log_det = onnxruntime.InferenceSession(back.model("", {})).run(None, {"x": truth.T})
    v_ours, ours = v_and_log_det(frame, truth)
    np.testing.assert_allclose(v_there[0], v_ours[:, 0], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(log_det, ours, atol=1e-7)


def test_beyond_the_bounds_there_is_nothing(tmp_path):
    fit = fit_of(stirred(flows.realnvp(2, transforms=2, hidden=(4,))), [(0.0, 1.0), None])
    fit.export_onnx(tmp_path)
    points = np.array([[-0.1, 0.0], [0.5, 0.0], [1.1, 0.0]])
    (log_prob,) = session(tmp_path, "log_prob.onnx").run(None, {"x": points})
    assert np.isneginf(log_prob[[0, 2]]).all() and np.isfinite(log_prob[1])


@pytest.mark.parametrize(
    ("flow", "part"),
    [
        (flows.continuous(2, hidden=(4,)), "a layer of kind Continuous"),
        (flows.manifold(2, surface=1), "a distribution of kind ManifoldFlow"),
        (flows.neural_autoregressive(2, hidden=(4,)), "of kind NeuralTransformer"),
        (Flow(VonMises(jnp.ones(2)), flows.maf(2).bijection), "of kind VonMises"),
    ],
)
def test_what_onnx_cannot_hold_is_refused_by_name(flow, part, tmp_path):
    with pytest.raises(errors.ExportError, match=part):
        fit_of(flow).export_onnx(tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(errors.ExportError, match="only a posterior or a fit"):
        export_onnx(flow, tmp_path)


def test_failures_leave_what_was_there(tmp_path, monkeypatch):
    fit = fit_of(stirred(flows.realnvp(2, transforms=2, hidden=(4,))))
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(errors.OutputError, match="folder"):
        fit.export_onnx(file)
    folder = tmp_path / "out"
    (folder / "card.json").mkdir(parents=True)  # the last of the three cannot be written
    with pytest.raises(errors.OutputError, match="it is a folder"):
        fit.export_onnx(folder)
    assert [path.name for path in folder.iterdir()] == ["card.json"]
    (folder / "card.json").rmdir()
    (folder / "sample.onnx").write_bytes(b"corrupted")
    fit.export_onnx(folder)
    assert session(folder, "sample.onnx").get_inputs()[0].shape == ["n", 2]
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(errors.MissingExtraError, match=r"posterion\[onnx\]"):
        fit.export_onnx(folder)


def test_a_difference_is_not_silent(tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "SAMPLE", 0.0)
    with pytest.warns(errors.ParityWarning, match="standard deviations in a draw"):
        fit_of(stirred(flows.realnvp(2, transforms=2, hidden=(4,)))).export_onnx(tmp_path)


def test_the_command_and_the_example_without_posterion(tmp_path, capsys):
    fit = fit_of(
        stirred(flows.maf(3, transforms=1, hidden=(4,), periodic=[False, False, True])),
        [(0.0, 1.0), None, (0.0, 1.0)],
        [False, False, True],
    )
    bundles.save_object(tmp_path / "toy.posterion", fit, bundles.result_card(fit, context=[]))
    with pytest.raises(SystemExit) as end:
        main(["export", str(tmp_path / "toy.posterion"), "--onnx", str(tmp_path / "out")])
    assert end.value.code == 0, capsys.readouterr()
    assert "largest differences on 2,000 points" in capsys.readouterr().out
    hidden = "import sys, runpy; sys.modules['posterion'] = sys.modules['jax'] = None; "
    code = f"{hidden}sys.argv = ['', {str(tmp_path / 'out')!r}]; runpy.run_path({str(EXAMPLE)!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = dict(line.split(": ") for line in done.stdout.splitlines())
    assert list(rows) == ["p0", "p1", "p2", "entropy"]
    mean, _, sd = rows["p0"].partition(" +- ")
    truth = fit.sample(10_000, seed=5)[:, 0]
    assert abs(float(mean) - truth.mean()) < 5 * float(sd) * np.sqrt(2 / 10_000)
