"""A learned density as ONNX files, for programs that know neither Posterion nor Python."""

from pathlib import Path
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from posterion.bijections.base import Bijection, apply_batch
from posterion.core import portable
from posterion.core.errors import ExportError
from posterion.core.files import writable_directory
from posterion.distributions.flow import Flow
from posterion.targets.target import v_and_log_det, x_of
from posterion.training.exporting_bases import (
    base_log_prob,
    describe_base,
    draw_base,
    from_base,
)
from posterion.training.exporting_files import card_of, session_of, write_files
from posterion.training.exporting_flow import through
from posterion.training.exporting_frame import ends_of, to_v, to_x
from posterion.training.exporting_graph import Graph, Value, onnx_modules
from posterion.training.exporting_maps import refuse
from posterion.training.fitted import Fit
from posterion.training.losses import log_probs
from posterion.training.posterior import Posterior

__all__ = ["export_onnx"]

POINTS = 10_000
"""Draws on which the files are compared with the result."""
LOG_PROB, SAMPLE = 1e-3, 1e-4
"""Largest differences without a warning: of log-densities, and of draws in standard deviations."""


def export_onnx(result: Any, folder: str | Path) -> dict[str, Any]:
    """Writes ``log_prob.onnx``, ``sample.onnx`` and ``card.json``.

    All numbers that go in and out are float64, in the stated units, any number ``n`` at a time:

    ==================  ==========================================================================
    ``log_prob.onnx``   ``x`` (n, dim) to ``log_prob`` (n,)
    ``sample.onnx``     ``z`` (n, dim) to ``x`` (n, dim); the card says of each coordinate of ``z``
                        what it is drawn from: standard normal, or uniform where there are angles
    ==================  ==========================================================================

    A conditional fit takes ``context`` (n, width) beside, unless ``given`` has fixed it; a
    posterior of several modes may take ``u`` (n,), uniform on [0, 1), which picks the mode. The
    flow computes in float32, its frame in float64, as in Posterion. Both files are run on 10 000
    draws and compared with the result; the card holds the differences.

    Args:
        result: a posterior or a fit, learned or loaded.
        folder: to write to; created if needed.

    Returns:
        What ``card.json`` holds.

    Raises:
        ExportError: the result, or a part of its flow, cannot be written as ONNX; it says which.
        MissingExtraError: onnx or onnxruntime is not installed.
        OutputError: a file cannot be written; those before are still there.

    Warns:
        ParityWarning: the differences are larger than 1e-3 of a log-density or 1e-4 standard
            deviations of a draw.
    """
    if not isinstance(result, Posterior | Fit):
        raise ExportError(
            f"a {type(result).__name__} cannot be written as ONNX: only a posterior or a fit; of a "
            "mixture of hypotheses export each, result[label].export_onnx(folder)"
        )
    folder = writable_directory(folder)
    base, picks = describe_base(_flow_of(result).base)
    with onnx_modules():
        text = {"name": result.name, "base": portable.dumps(base)}
        files = {
            "log_prob.onnx": _log_prob_graph(result).model("log-density", text),
            "sample.onnx": _sample_graph(result, picks).model("draws", text),
        }
        parity = _parity(result, files, base, picks)
        card = _card(result, base, picks, parity)
    differ = (
        f"{parity['log_prob']:.1e} in the log-density and {parity['sample']:.1e} standard "
        "deviations in a draw"
    )
    return write_files(folder, files, card, differ)


def _flow_of(result: Posterior | Fit) -> Flow:
    if not isinstance(result.flow, Flow):
        raise refuse("a distribution", result.flow)
    return result.flow


# The two graphs -----------------------------------------------------------------------------------


def _log_prob_graph(result: Posterior | Fit) -> Graph:
    graph, flow = Graph(), _flow_of(result)
    x = graph.input("x", np.float64, "n", result.dim)
    context = _context(graph, result)
    v, log_det = to_v(graph, result.frame, x("Transpose", perm=[1, 0]))
    z, flow_log_det = through(graph, flow.bijection, "inverse", v, context)
    log_prob = base_log_prob(graph, flow.base, z)
    log_prob = log_prob if flow_log_det is None else log_prob + flow_log_det
    graph.output("log_prob", graph.cast(log_prob, np.float64) + log_det, "n")
    return graph


def _sample_graph(result: Posterior | Fit, picks: bool) -> Graph:
    graph, flow = Graph(), _flow_of(result)
    z = graph.input("z", np.float64, "n", result.dim)
    context = _context(graph, result)
    pick = graph.input("u", np.float64, "n") if picks else None
    z = graph.cast(z("Transpose", perm=[1, 0]), np.float32)
    z = from_base(graph, flow.base, z, None if pick is None else graph.reshape(pick, 1, -1))
    v, _ = through(graph, flow.bijection, "forward", z, context)
    x = to_x(graph, result.frame, v)
    graph.output("x", x("Transpose", perm=[1, 0]), "n", result.dim)
    return graph


def _context(graph: Graph, result: Posterior | Fit) -> Value | None:
    """The condition as the flow sees it, ``(width, n)`` or ``(width, 1)``."""
    if isinstance(result, Posterior) or not result.context:
        return None
    if result.condition is not None:
        return graph.constant(result.as_seen(result.condition)[:, None])
    given = graph.input("context", np.float64, "n", len(result.context))
    scaled = (given - result.context_location) / result.context_scale
    if result.context_mixing is not None:
        scaled = scaled("MatMul", graph.constant(result.context_mixing, np.float64))
    return graph.cast(scaled("Transpose", perm=[1, 0]), np.float32)


# What stands beside them --------------------------------------------------------------------------


def _card(
    result: Any, base: list[dict[str, Any]], picks: bool, parity: dict[str, Any]
) -> dict[str, Any]:
    names = list(result.context) if isinstance(result, Fit) else []
    condition = result.condition if isinstance(result, Fit) else None
    more = ["context"] if names and condition is None else []
    columns = [name for p in result.parameters for name in p.columns]
    files = {
        "log_prob.onnx": {"inputs": ["x", *more], "outputs": ["log_prob"]},
        "sample.onnx": {"inputs": ["z", *more, *(["u"] * picks)], "outputs": ["x"]},
    }
    return card_of(
        result,
        files,
        parity,
        columns=columns,
        base={
            "z": base,
            "u": {"distribution": "uniform", "lower": 0.0, "upper": 1.0} if picks else None,
        },
        context=names,
        condition=None if condition is None else dict(zip(names, condition, strict=True)),
    )


def _parity(
    result: Posterior | Fit, files: dict[str, bytes], base: list[dict[str, Any]], picks: bool
) -> dict[str, Any]:
    """Largest differences between the files and the result on draws."""
    rng = np.random.default_rng(1)
    z = rng.standard_normal((POINTS, result.dim))
    for i, one in enumerate(base):
        if one["distribution"] == "uniform":
            z[:, i] = rng.uniform(one["lower"], one["upper"], POINTS)
    given: dict[str, np.ndarray] = {"u": rng.random(POINTS)} if picks else {}
    context = None
    if isinstance(result, Fit) and result.context:
        if result.condition is None:
            spread = rng.standard_normal((POINTS, len(result.context)))
            given["context"] = result.as_given(spread)
            context = result.as_seen(given["context"]).astype(np.float32)
        else:
            context = result.as_seen(np.tile(result.condition, (POINTS, 1))).astype(np.float32)
    flow = _flow_of(result)
    start = draw_base(flow.base, z, given.get("u")).astype(np.float32)
    v = _forward(flow.bijection, start, context)
    x = x_of(result.frame, v)
    run = {name: session_of(data) for name, data in files.items()}
    there = run["sample.onnx"]({"z": z, **given})[0]
    points, log_det = v_and_log_det(result.frame, x)
    ours = log_probs(result.flow, points.astype(np.float32), context) + log_det
    theirs = run["log_prob.onnx"]({"x": x, **given})[0]
    distance = there - x
    for i, parameter in enumerate(q for p in result.parameters for q in [p] * p.size):
        if parameter.periodic:
            period = float(parameter.upper) - float(parameter.lower)  # type: ignore
            distance[:, i] -= period * np.round(distance[:, i] / period)
    # A draw that was rounded onto a bound has lost what its density depends on.
    lower, upper = ends_of(result.frame)
    inside = ((x > lower) & (x < upper)).all(axis=1)
    log_prob = float(np.max(np.abs(theirs - ours)[inside]))
    sample = float(np.max(np.abs(distance) / x.std(axis=0)))
    return {
        "points": POINTS,
        "log_prob": log_prob,
        "sample": sample,
        "within": bool(log_prob <= LOG_PROB and sample <= SAMPLE),
        "targets": {"log_prob": LOG_PROB, "sample": SAMPLE},
    }


@eqx.filter_jit
def _forward_chunk(bijection: Bijection, z: Array, context: Array | None) -> Array:
    return apply_batch(bijection.forward_and_log_det, z, context=context)[0]


def _forward(bijection: Bijection, z: np.ndarray, context: np.ndarray | None) -> np.ndarray:
    given = None if context is None else jnp.asarray(context)
    return np.asarray(_forward_chunk(bijection, jnp.asarray(z), given))
