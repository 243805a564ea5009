"""An emulator as an ONNX file: from inputs in their units to means and error bars in theirs."""

from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from posterion.core.errors import ExportError
from posterion.core.files import writable_directory
from posterion.emulators.distilled import Distilled
from posterion.emulators.emulator import Emulator
from posterion.emulators.likelihoods import (
    Bernoulli,
    Categorical,
    Gaussian,
    Heteroscedastic,
    StudentT,
)
from posterion.emulators.surrogate import Surrogate
from posterion.emulators.tables import Columns
from posterion.networks import MLP, Convolutional
from posterion.training.exporting_files import card_of, session_of, write_files
from posterion.training.exporting_graph import Graph, Value, onnx_modules
from posterion.training.exporting_maps import activate

POINTS = 2000
"""Points within the trained range on which the file is compared with the emulator."""
MEAN, SD = 1e-3, 1e-3
"""Largest differences without a warning: of means in standard deviations, of these relative."""

OUTPUTS = ("mean", "sd", "epistemic", "aleatoric", "centre", "spread")
_LABELS = ("slope", "shift")
_FACTORS = {"normal": ("1", "2", "3"), "bernoulli": _LABELS, "categorical": _LABELS}


def export_emulator(emulator: Surrogate, folder: str | Path) -> dict[str, Any]:
    """Writes ``predict.onnx`` and ``card.json``: ``emulator.export_onnx(folder)``.

    ``predict.onnx`` takes ``x`` (n, inputs), float64 in the stated units and order, any number
    ``n`` of points at a time, and gives ``mean``, ``sd``, ``epistemic`` and ``aleatoric``, (n,
    targets) each; of several classes a column each. Intervals end at ``centre`` -+ factor *
    ``spread``: these are mean and sd, or those of the logarithm where the card says that a target
    is learned by it. All networks are in the file, and compute in float32 as in Posterion. The card
    holds names, units and trained range of the inputs, so that a caller can tell what is
    extrapolated, and the factors of the correction. The file is run on 2000 points and compared
    with the emulator; the card holds the differences.

    Args:
        emulator: an emulator, or what `distil` made of it.
        folder: to write to; created if needed.

    Returns:
        What ``card.json`` holds.

    Raises:
        ExportError: a network or a likelihood that has no form in ONNX here.
        MissingExtraError: onnx or onnxruntime is not installed.
        OutputError: a file cannot be written; those before are still there.

    Warns:
        ParityWarning: differences of more than 1e-3 of a standard deviation.
    """
    folder = writable_directory(folder)
    with onnx_modules():
        files = {"predict.onnx": _graph(emulator).model("predictions", {"name": emulator.name})}
        parity = _parity(emulator, files["predict.onnx"])
        card = card_of(
            emulator,
            {"predict.onnx": {"inputs": ["x"], "outputs": list(OUTPUTS)}},
            parity,
            columns=_entries(emulator.inputs),
            targets=_entries(emulator.targets),
            factors=dict(zip(_FACTORS[emulator.head], emulator.factors.tolist(), strict=False)),
        )
    differ = f"{parity['mean']:.1e} standard deviations in a mean and {parity['sd']:.1e} of these"
    return write_files(folder, files, card, differ)


def _entries(columns: Columns) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "unit": columns.units[i],
            "log": bool(columns.log[i]),
            "lower": float(columns.low[i]),
            "upper": float(columns.high[i]),
        }
        for i, name in enumerate(columns.names)
    ]


def _parity(emulator: Surrogate, data: bytes) -> dict[str, Any]:
    x = emulator.inputs.uniform(np.random.default_rng(1), POINTS)
    ours = emulator.predict(x)
    there = dict(zip(OUTPUTS, session_of(data)({"x": x}), strict=True))
    wide = {name: getattr(ours, name).reshape(there[name].shape) for name in ("mean", "sd")}
    mean = float(np.max(np.abs(there["mean"] - wide["mean"]) / wide["sd"]))
    sd = float(np.max(np.abs(there["sd"] / wide["sd"] - 1)))
    return {
        "points": POINTS,
        "mean": mean,
        "sd": sd,
        "within": bool(mean <= MEAN and sd <= SD),
        "targets": {"mean": MEAN, "sd": SD},
    }


# The graph ----------------------------------------------------------------------------------------


def _graph(emulator: Surrogate) -> Graph:
    graph, inputs = Graph(), emulator.inputs
    x = graph.input("x", np.float64, "n", len(inputs.names))("Transpose", perm=[1, 0])
    if inputs.log.any():
        x = graph.where(graph.constant(inputs.log[:, None], bool), x("Log"), x)
    scaled = graph.cast((x - inputs.location[:, None]) / inputs.scale[:, None], np.float32)
    if isinstance(emulator, Emulator):
        own = _of_networks(graph, emulator, scaled)
    elif isinstance(emulator, Distilled):
        own = _of_one(graph, emulator, scaled)
    else:
        raise ExportError(f"a {type(emulator).__name__} cannot be written as ONNX: an emulator can")
    (mean, epistemic, aleatoric), (centre, first, second) = own
    of = (
        mean,
        (epistemic + aleatoric)("Sqrt"),
        epistemic("Sqrt"),
        aleatoric("Sqrt"),
        centre,
        (first + second)("Sqrt"),
    )
    width = "classes" if emulator.head == "categorical" else len(emulator.targets.names)
    for name, value in zip(OUTPUTS, of, strict=True):
        graph.output(name, value("Transpose", perm=[1, 0]), "n", width)
    return graph


Parts = tuple[Value, Value, Value]
"""Mean, epistemic and aleatoric variance, ``(targets, n)`` each, float64."""


def _of_networks(graph: Graph, emulator: Emulator, x: Value) -> tuple[Parts, Parts]:
    """Of the targets, and of their logarithms where these are learned."""
    joint = emulator.joint
    weights = jax.vmap(lambda theta: joint.parts(theta)[0])(jnp.asarray(emulator.networks))
    outputs = _stacked(graph, eqx.combine(weights, joint.still), x)
    means, variances = _mean_and_variance(graph, emulator, outputs)
    means, variances = graph.cast(means, np.float64), graph.cast(variances, np.float64)
    plain = _parted(graph, means, variances)
    columns = emulator.targets
    if emulator.head != "normal":
        return plain, plain
    location, scale = columns.location[:, None], columns.scale[:, None]
    own = location + scale * plain[0], scale**2 * plain[1], scale**2 * plain[2]
    if not columns.log.any():
        return own, own
    log = columns.log[:, None]
    location, scale = np.where(log, location, 0.0), np.where(log, scale, 0.0)
    variance = scale**2 * variances
    of_exp = (location + scale * means + 0.5 * variance)("Exp")
    exp = _parted(graph, of_exp, of_exp * of_exp * (variance("Exp") - 1.0))
    return _chosen(graph, log, exp, own), own


def _of_one(graph: Graph, emulator: Distilled, x: Value) -> tuple[Parts, Parts]:
    """See `posterion.emulators.distilled.moments_of_outputs` and ``moments_of_exponentials``."""
    network = jax.tree.map(lambda a: a[None] if eqx.is_array(a) else a, emulator.network)
    outputs = _stacked(graph, network, x) + emulator.offset[:, None]
    outputs = graph.cast(graph.call("Squeeze", outputs, graph.constant([0], np.int64)), np.float64)
    if emulator.head == "normal":
        mean, log_e, log_a = graph.split(outputs, [len(emulator.offset) // 3] * 3)
        location, scale = emulator.targets.location[:, None], emulator.targets.scale[:, None]
        e, a = ((2.0 * one)("Exp") * scale**2 for one in (log_e, log_a))
        own = location + scale * mean, e, a
        log = emulator.targets.log[:, None]
        if not log.any():
            return own, own
        mean = graph.where(graph.constant(log, bool), own[0] + 0.5 * (e + a), 0.0)("Exp")
        square, first, second = mean * mean, e("Exp"), a("Exp")
        exp = mean, square * (first - 1.0), square * first * (second - 1.0)
        return _chosen(graph, log, exp, own), own
    logits, share = graph.split(outputs, [len(emulator.offset) // 2] * 2)
    p = logits("Sigmoid") if emulator.head == "bernoulli" else logits("Softmax", axis=0)
    variance = p * (1.0 - p)
    found = p, variance * share("Sigmoid"), variance * (-share)("Sigmoid")
    return found, found


def _chosen(graph: Graph, log: np.ndarray, exp: Parts, own: Parts) -> Parts:
    which = graph.constant(log, bool)
    mean, epistemic, aleatoric = (graph.where(which, e, o) for e, o in zip(exp, own, strict=True))
    return mean, epistemic, aleatoric


def _parted(graph: Graph, means: Value, variances: Value) -> Parts:
    """By the law of total variance, over the first axis."""
    away = means - graph.mean(means, keep=True)
    return graph.mean(means), graph.mean(away * away), graph.mean(variances)


def _mean_and_variance(graph: Graph, emulator: Emulator, outputs: Value) -> tuple[Value, Value]:
    """Of the targets given outputs ``(networks, outputs, n)``."""
    likelihood, width = emulator.likelihood, len(emulator.targets.names)
    if isinstance(likelihood, Gaussian | StudentT):  # a variance that no output enters

        def variance(theta: Array) -> Array:
            noise = emulator.joint.parts(theta)[2]
            return likelihood.mean_and_variance(jnp.zeros((1, width)), noise)[1][0]

        each = np.asarray(jax.vmap(variance)(jnp.asarray(emulator.networks)))
        return outputs, each[:, :, None] + 0.0 * outputs
    if isinstance(likelihood, Heteroscedastic):
        mean, log_sigma = graph.split(outputs, [width, width], axis=1)
        return mean, (2.0 * log_sigma)("Exp")
    if isinstance(likelihood, Bernoulli | Categorical):
        p = outputs("Sigmoid") if isinstance(likelihood, Bernoulli) else outputs("Softmax", axis=1)
        return p, p * (1.0 - p)
    raise ExportError(
        f"the likelihood {type(likelihood).__name__} cannot be written as ONNX: those of "
        "posterion.emulators can, or what emulator.distil() makes of it"
    )


# Networks -----------------------------------------------------------------------------------------


def _stacked(graph: Graph, network: Any, x: Value) -> Value:
    """Outputs ``(networks, outputs, n)`` of networks whose arrays are stacked."""
    if type(network) is MLP:
        return _perceptron(graph, network, x)
    if type(network) is Convolutional:
        return _perceptron(graph, network.head, _convolved(graph, network, x))
    raise ExportError(
        f"a network of kind {type(network).__name__} cannot be written as ONNX: those of "
        "posterion.networks can, or what emulator.distil() makes of it"
    )


def _perceptron(graph: Graph, network: MLP, x: Value) -> Value:
    last = len(network.weights) - 1
    for i, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        moved = graph.call("MatMul", np.asarray(weight), x) + np.asarray(bias)[..., None]
        if i == last:
            return moved
        moved = _active(graph, network, i, moved)
        x = x + moved if network.residual and i else moved
    return x


def _active(graph: Graph, network: MLP, layer: int, x: Value) -> Value:
    if not network.shapes:
        return activate(network.activation, x)
    a = np.asarray(network.shapes[layer])[..., None]
    match network.activation:
        case "prelu":
            return graph.where(x > 0.0, x, a * x)
        case "swish":
            return x * (a * x)("Sigmoid")
        case "scaled_tanh":
            return (a * x)("Tanh")
    raise ExportError(f"the activation {network.activation!r} cannot be written as ONNX")


def _convolved(graph: Graph, network: Convolutional, x: Value) -> Value:
    """Features ``(networks, features, n)``; each network's channels are a group of their own."""
    size = network.shape[1:]
    count = len(network.biases[0])
    rows = graph.reshape(x("Transpose", perm=[1, 0]), -1, *network.shape)
    for i, (kernel, bias) in enumerate(zip(network.kernels, network.biases, strict=True)):
        if i:
            window = [2] * len(size)
            rows = rows("AveragePool", kernel_shape=window, strides=window)
            size = tuple(n // 2 for n in size)
        whole = np.asarray(kernel).reshape(-1, *kernel.shape[2:])
        half = [k // 2 for k in kernel.shape[3:]]
        moved = rows(
            "Conv", whole, np.asarray(bias).ravel(), pads=[*half, *half], group=count if i else 1
        )
        moved = activate(network.activation, moved)
        rows = rows + moved if network.residual and i else moved
    features = kernel.shape[1] * int(np.prod(size))
    return graph.reshape(rows, -1, count, features)("Transpose", perm=[1, 2, 0])
