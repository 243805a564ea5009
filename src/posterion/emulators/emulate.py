"""``emulate``: from inputs and outputs of an expensive theory to predictions with error bars.

1. Rows are divided by their bits: training, correction, test. 2. Each chain starts at a network of
its own, trained by Adam, and samples weights, hyperparameters and noise. 3. What the networks say
of the correction rows gives the conformal factors, what they say of the test rows the health.
"""

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from posterion.core.errors import SettingError
from posterion.core.progress import progress
from posterion.core.versions import versions
from posterion.emulators.approximation import Approximation
from posterion.emulators.approximations import APPROXIMATIONS
from posterion.emulators.assessing import assessed
from posterion.emulators.budget import check_networks, chunk_that_fits, need_of
from posterion.emulators.chains import Walked, check_walk, walk_networks
from posterion.emulators.density import Joint, Posterior, data_of
from posterion.emulators.emulator import Emulator
from posterion.emulators.kernels import Kernel, make_kernel
from posterion.emulators.likelihoods import Likelihood
from posterion.emulators.priors import WeightPrior, make_prior
from posterion.emulators.recording import must_be_new
from posterion.emulators.rows import Rows, rows_of
from posterion.emulators.settings import named_settings
from posterion.emulators.sharding import first_process, mesh_of, must_agree
from posterion.emulators.warming import warm_starts
from posterion.networks import Architecture, mlp

CITATIONS = ("posterion", "jax2018", "kidger2021", "kingma2015")
_OF_CHAINS = ("cabezas2024", "vehtari2021")


@named_settings
def emulate(
    x: Any,
    y: Any,
    *,
    network: Architecture | eqx.Module | None = None,
    likelihood: str | Likelihood = "gaussian",
    prior: Any = "gaussian",
    sampler: str | Kernel | Approximation = "mclmc",
    log: Sequence[str] = (),
    units: Mapping[str, str] | None = None,
    chains: int = 4,
    draws: int = 50,
    warmup: int = 600,
    thin: int = 10,
    epochs: int = 100,
    batch: int = 256,
    rate: float | int = 3e-3,
    correction: float | int = 0.1,
    test: float | int = 0.1,
    seed: int = 0,
    start: Emulator | None = None,
    path: str | Path | None = None,
    resume: bool = False,
    seconds: float | int | None = None,
    devices: str | int | Sequence[Any] | None = None,
    quiet: bool | None = None,
    name: str = "emulator",
) -> Emulator:
    """Samples networks that give ``y`` for ``x``.

    Args:
        x: inputs, a row a point: an array (n, inputs), a dict, a DataFrame or a table's path.
        y: targets: an array (n,) or (n, targets), a dict, a DataFrame, a table's path, or names of
            columns of ``x``, which then are no inputs.
        network: of `posterion.networks.mlp` or `posterion.networks.convolutional`, or any Equinox
            module from ``(inputs,)`` to the likelihood's outputs; three layers of 50 by default.
        likelihood: ``"gaussian"``, ``"heteroscedastic"``, ``"student-t"``, ``"bernoulli"``,
            ``"categorical"`` or a :class:`~posterion.emulators.Likelihood`.
        prior: ``"gaussian"``, ``"laplace"``, ``"cauchy"``, ``"hierarchical-gaussian"``,
            ``"hierarchical-cauchy"``, ``"horseshoe"``, a NumPyro distribution or one for each group
            of weights, or a :class:`~posterion.emulators.WeightPrior`.
        sampler: ``"mclmc"``, ``"adjusted-mclmc"``, ``"nuts"``, ``"hmc"``, ``"alternated"``,
            ``"sghmc"``, ``"rmhmc"``, ``"l2hmc"`` or a kernel; or, quicker and less exact,
            ``"ensemble"``, ``"laplace"``, ``"mean-field"``, ``"flipout"``,
            ``"concrete-dropout"``, ``"swag"`` or an :class:`~posterion.emulators.Approximation`,
            which begin at the ``chains`` networks.
        log: names of inputs and targets whose logarithm is taken; an array's are ``x[0]``, ``y``.
        units: of columns, by name; of a table's path they are those of the file.
        chains: each with a start of its own.
        draws: networks kept of each chain.
        warmup: transitions before, that tune the sampler.
        thin: transitions for each network that is kept.
        epochs: of Adam, before the chains.
        batch: rows of a step of Adam.
        rate: of Adam at the start.
        correction: share of rows that the conformal factors are taken from.
        test: share of rows that the health is taken from.
        seed: of everything.
        start: an emulator of the same network, inputs and targets: chains begin at its networks,
            without Adam.
        path: file in which the chains are kept as they grow; it stays, for you to remove.
            Approximations have no chains, and refuse it.
        resume: go on from that file, if it is there.
        seconds: that the chains may take, about; the result then depends on the machine.
        devices: that the rows of each gradient of the chains are divided over: ``"all"``, how many,
            or a sequence of JAX's; of several processes after ``jax.distributed.initialize``, all
            of which run the same program. None is one, without division.
        quiet: no progress bar; by default only where there is no terminal.
        name: for reports and files.

    Returns:
        The emulator: ``print(emulator)`` is its health, ``emulator.predict(x_new)``.

    Raises:
        SampleError: rows that cannot be learned from; the message names rows and columns.
        SettingError: unknown or unusable settings, or draws, chains or rows that memory does not
            hold: before anything is trained, and the message says what would fit.
        CheckpointError: the file is of another run.
    """
    if chains < 1 or epochs < 1 or batch < 1 or not 0 < rate < np.inf:
        raise SettingError(
            f"chains, epochs, batch and rate must be positive, got {chains}, {epochs}, {batch}, "
            f"{rate}"
        )
    if not 0 <= seed < 2**32:  # what JAX's keys tell apart
        raise SettingError(f"seed must be within 0 and {2**32 - 1}, got {seed}")
    quick = _approximation(sampler)
    if quick is not None and (path is not None or resume):
        raise SettingError(
            f"path and resume are of chains, and {sampler!r} has none: leave them out"
        )
    check_walk(draws, warmup, thin, path, resume)
    if not resume:
        must_be_new(path)
    weights_prior = make_prior(prior)
    kernel = None if quick is not None else make_kernel(sampler, APPROXIMATIONS)
    mesh = mesh_of(devices)
    if mesh is not None and kernel is None:
        raise SettingError(
            f"devices divides the rows among the gradients of chains, and {sampler!r} has none: "
            "leave it out, or take a sampler such as mclmc"
        )
    rows = rows_of(
        x, y, likelihood=likelihood, log=log, units=units, correction=correction, test=test
    )
    if start is not None:
        _check_columns(start, rows)
    train_x, train_y = rows.training
    joint, start_of = _density(
        network, weights_prior, rows.likelihood, train_x, train_y, chains, seed
    )
    need = need_of(joint, train_x, train_y, quick, chains=chains, batch=batch)
    wanted, each = (draws, thin) if quick is None else (quick.count(draws), None)
    chunk = chunk_that_fits(need, chains=chains, draws=wanted, thin=each)
    starts = np.stack([start_of(chain) for chain in range(chains)])
    must_agree(
        mesh,
        "rows, settings or free memory: all must run the same program on the whole table",
        *(train_x, train_y, starts, kernel, epochs, batch, rate, warmup, thin, seed, chunk),
    )
    data = data_of(train_x, train_y, chunk=chunk, mesh=mesh)
    _check(kernel, quick, joint, data)
    began = time.perf_counter()
    quiet = quiet if first_process(mesh) else True
    divided = {} if mesh is None else {"devices": mesh.size}
    with progress(f"emulating {name}", quiet=quiet, total=epochs) as bar:
        if start is None:
            warmed, losses = warm_starts(
                joint, starts, train_x, train_y, data, epochs=epochs, batch=batch, rate=rate,
                seed=seed, on_epoch=lambda done, loss: bar.update(done, loss=loss),
            )  # fmt: skip
            epoch, chain = np.indices(losses.shape)
            history = {"chain": chain.T, "epoch": epoch.T, "loss": losses.T}
            history = {name: np.ravel(column) for name, column in history.items()}
        else:
            warmed, history = _taken_over(start, joint, chains), start.history
        adam = time.perf_counter() - began
        whole = warmup + draws * thin
        bar.update(0, total=whole, description=f"sampling {name}")
        if kernel is None:
            table = train_x, train_y, data
            walked = _without_chains(quick, joint, warmed, table, draws, batch, seed)
        else:
            walked = walk_networks(
                joint,
                data,
                warmed,
                kernel,
                draws=draws,
                warmup=warmup,
                thin=thin,
                seed=seed,
                path=path,
                resume=resume,
                identity={"name": name, "rows": len(rows.x), "start": float(np.abs(warmed).sum())}
                | divided,
                max_seconds=seconds,
                on_wake=lambda done, calls: bar.update(done, calls=calls),
            )
        if not walked.theta.shape[1]:
            raise SettingError(
                "the time ended before the first network: give more `seconds`, and resume"
            )
        blank = Emulator(
            name=name,
            network=joint.network(jnp.asarray(warmed[0])),
            prior=weights_prior,
            likelihood=rows.likelihood,
            theta=walked.theta,
            inputs=rows.inputs,
            targets=rows.targets,
            factors=np.empty((0, rows.y.shape[1])),
            history=history,
            settings={
                "likelihood": repr(rows.likelihood),
                "prior": repr(weights_prior),
                "sampler": repr(quick if kernel is None else kernel),
                "draws": draws,
                "warmup": warmup,
                "thin": thin,
                "epochs": epochs if start is None else 0,
                "batch": batch,
                "rate": rate,
                "correction": correction,
                "test": test,
                "seed": seed,
            }
            | divided,
            versions=versions(),
            citations=_cited(quick, kernel),
            provenance={
                "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "rows": {part: int(which.sum()) for part, which in rows.parts.items()},
                "rows_with_equal_inputs": rows.twins,
                "python": platform.python_version(),
                "machine": platform.machine(),
            },
        )
        bar.update(description=f"checking {name}")
        return assessed(blank, walked, rows.x, rows.y, rows.parts, adam)


def _approximation(sampler: Any) -> Approximation | None:
    if isinstance(sampler, Approximation):
        return sampler
    return APPROXIMATIONS.get(sampler) if isinstance(sampler, str) else None


def _cited(quick: Approximation | None, kernel: Any) -> tuple[str, ...]:
    """Keys of what an emulation rests on: the programs, the training, the method."""
    if quick is not None:
        return (*CITATIONS, *quick.citations)
    return (*CITATIONS, *kernel.citations, *_OF_CHAINS)


def _check(kernel: Kernel | None, quick: Any, joint: Joint, data: Any) -> None:
    """Refuses what cannot move in this density, before anything is trained."""
    if kernel is None:
        quick.check(joint)
    else:
        eqx.filter_eval_shape(kernel.start, Posterior.of(joint, data))


def _without_chains(
    quick: Any, joint: Joint, warmed: np.ndarray, table: Any, draws: int, batch: int, seed: int
) -> Walked:
    """Networks of an approximation, as if chains had drawn them; there is no tuning to tell of."""
    began = time.perf_counter()
    theta = quick.networks(joint, warmed, table, draws=draws, batch=batch, seed=seed)
    none = np.zeros(theta.shape[:2], np.float32)
    statistics = {"diverging": none.astype(int)}
    seconds = time.perf_counter() - began
    return Walked(theta, none, statistics, None, 0, 0, seconds, True)


def _density(
    network: Any,
    prior: WeightPrior,
    likelihood: Likelihood,
    x: np.ndarray,
    y: np.ndarray,
    chains: int,
    seed: int,
) -> tuple[Joint, Callable[[int], np.ndarray]]:
    """The density, and what gives the vector that each chain is trained from."""
    ins, targets = x.shape[1], y.shape[1]
    outs = likelihood.outputs(targets)
    network = mlp() if network is None else network

    def built(chain: int) -> Any:
        key = jax.random.fold_in(jax.random.key(seed), chain)
        if isinstance(network, Architecture):
            return network.build(ins, outs, key=key)
        return network if chain == 0 else _shaken(network, key)

    def start(chain: int) -> np.ndarray:
        return np.asarray(Joint.of(built(chain), prior, likelihood, targets)[1])

    if isinstance(network, Architecture):  # before there is one
        leaves = jax.tree.leaves(eqx.filter_eval_shape(lambda: built(0)))
        check_networks(sum(leaf.size for leaf in leaves if hasattr(leaf, "size")), chains)
    joint, first = Joint.of(built(0), prior, likelihood, targets)
    try:
        shape = eqx.filter_eval_shape(joint.outputs, first, jnp.asarray(x[:2])).shape
    except (TypeError, ValueError) as error:
        raise SettingError(f"the network does not take {ins} inputs: {error}") from error
    if shape != (2, outs):
        raise SettingError(
            f"the network gives {shape[1:]} for a point, the likelihood needs ({outs},)"
        )
    return joint, start


def _shaken(network: eqx.Module, key: Any) -> eqx.Module:
    """A module with its weights' signs drawn anew: of the same size, and another start."""
    weights, still = eqx.partition(network, eqx.is_inexact_array)
    leaves, structure = jax.tree.flatten(weights)
    drawn = [
        leaf * jax.random.rademacher(jax.random.fold_in(key, i), leaf.shape, leaf.dtype)
        for i, leaf in enumerate(leaves)
    ]
    return eqx.combine(jax.tree.unflatten(structure, drawn), still)


def _check_columns(start: Emulator, rows: Rows) -> None:
    """Makes sure that the networks to start at are of the same inputs and targets, in order."""
    pairs = {"inputs": (start.inputs, rows.inputs), "targets": (start.targets, rows.targets)}
    for role, (theirs, ours) in pairs.items():
        if theirs.names != ours.names:
            raise SettingError(
                f"the networks to start at have the {role} {', '.join(theirs.names)}, here they "
                f"are {', '.join(ours.names)}: names and order must be the same"
            )


def _taken_over(start: Emulator, joint: Joint, chains: int) -> np.ndarray:
    """The last network of each chain of another emulator, over again where these are fewer."""
    last = start.theta[:, -1]
    if last.shape[1] != joint.dim:
        raise SettingError(
            f"the networks to start at have {last.shape[1]} numbers, this one has {joint.dim}: "
            "network, prior and likelihood must be the same"
        )
    return last[np.arange(chains) % len(last)]
