"""Rows divided over devices: what they find is that of one, in one process or in several."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from posterion.core.errors import SettingError
from posterion.emulators import emulate
from posterion.emulators.sharding import mesh_of

X = np.random.default_rng(3).normal(size=(60, 2))
Y = X[:, 0] * X[:, 1]


def devices(count):
    """The environment of a process with as many devices, and what it finds in this folder."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={count}"
    folder = str(Path(__file__).parent)
    path = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")]))
    return os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu"}


@pytest.mark.parametrize("given", [0, -1, 1000, True, "gpus", [], ["cpu"]])
def test_devices_that_are_not_there_are_refused(given):
    with pytest.raises(SettingError, match="devices"):
        emulate(X, Y, devices=given)


def test_a_device_is_named_once():
    one = jax.devices()[0]
    with pytest.raises(SettingError, match="each once"):
        mesh_of([one, one])
    assert mesh_of([one]).size == mesh_of(1).size == 1 and mesh_of(None) is None


@pytest.mark.parametrize(("sampler", "message"), [("swag", "no"), ("rmhmc", "nuts or hmc")])
def test_samplers_whose_rows_are_not_divided_say_so(sampler, message):
    with pytest.raises(SettingError, match=message):
        emulate(X, Y, sampler=sampler, chains=1, epochs=1, devices=1, quiet=True)


VALUES = """
import jax, jax.numpy as jnp, numpy as np
from posterion.emulators.density import Joint, Posterior, data_of
from posterion.emulators.likelihoods import Gaussian
from posterion.emulators.priors import Independent
from posterion.emulators.sharding import mesh_of
from posterion.networks import mlp

network = mlp((5,), "tanh").build(3, 1, key=jax.random.key(0))
joint, theta = Joint.of(network, Independent(), Gaussian(), 1)
rng = np.random.default_rng(0)
for n, chunk in ((1000, 2048), (1001, 150), (2, 10)):  # the last: fewer rows than devices
    x = rng.normal(size=(n, 3)).astype(np.float32)
    one, three = (
        Posterior.of(joint, data_of(x, x[:, :1] * x[:, 1:2], chunk=chunk, mesh=mesh_of(count)))
        for count in (None, "all")
    )
    assert len(three.data.x.sharding.device_set) == 3
    for a, b in zip(*(jax.jit(jax.value_and_grad(p))(theta) for p in (one, three))):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * np.abs(b).max())
    a, b = (jax.jit(jax.jacrev(jax.grad(p)))(theta) for p in (one, three))
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * np.abs(b).max())
    numbers = jnp.arange(7)
    of_batch = jax.value_and_grad(lambda theta, number: three.of_batch(theta, number, 7))
    each = jax.jit(jax.vmap(of_batch, (None, 0)))(theta, numbers)
    for a, b in zip(each, jax.jit(jax.value_and_grad(one))(theta)):
        np.testing.assert_allclose(a.mean(0), b, rtol=1e-4, atol=1e-4 * np.abs(b).max())
"""


def test_value_and_slopes_are_those_of_one_device(run_python):
    run_python(VALUES, env=devices(3))


BEGINNINGS = """
import numpy as np
from linear_networks import X, Y, linear
from posterion.emulators import L2hmc, Mclmc, Sghmc
from posterion.emulators.chains import walk_networks
from posterion.emulators.density import data_of
from posterion.emulators.sharding import mesh_of

joint, start = linear()
starts = np.asarray(start)[None]
for kernel in KERNELS:
    one, two = (
        walk_networks(joint, data_of(X, Y, mesh=mesh_of(count)), starts, kernel, draws=3, warmup=3)
        for count in (None, 2)
    )
    assert np.ptp(one.theta) > 0
    np.testing.assert_allclose(one.theta, two.theta, rtol=2e-3, atol=2e-3, err_msg=str(kernel))
"""


@pytest.mark.parametrize(
    "kernels",
    [
        pytest.param("Mclmc(), Sghmc(batch=1000)", id="first derivatives"),
        pytest.param("L2hmc(steps=2, lessons=2),", id="second", marks=pytest.mark.slow),
    ],
)
def test_chains_begin_as_those_of_one_device(run_python, kernels):
    run_python(BEGINNINGS.replace("KERNELS", f"({kernels})"), env=devices(2))


PROCESSES = """
import json, sys
from pathlib import Path
import jax

number, count, port, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4])
if count > 1:
    jax.distributed.initialize(f"127.0.0.1:{port}", count, number)
import numpy as np
import posterion

x = np.random.default_rng(3).normal(size=(61, 2))
found = {}


def emulator(path="no.chains", x=x, devices="all", **more):
    given = {"draws": 2, "warmup": 10, "thin": 2, "epochs": 1, "chains": 2, "seed": 1} | more
    network, sampler = posterion.networks.mlp((3,)), posterion.emulators.Nuts(doublings=3)
    return posterion.emulate(
        x, x[:, 0] * x[:, 1], network=network, sampler=sampler, devices=devices,
        path=folder / path, quiet=True, **given,
    )


def refused(what, **given):
    try:
        emulator(**given)
    except posterion.errors.SettingError as error:
        found[what] = str(error)


own = f"{count}.chains"
emulator(own)
resumed = emulator(own, draws=4, resume=True)
found["devices"] = resumed.settings["devices"]
if count > 1:
    refused("rows", x=x + number)
    refused("local", devices=jax.local_devices())
    refused("file", path="none.chains" if number else own, draws=4, resume=True)
else:
    longer = emulator("2.chains", draws=6, resume=True)
    np.testing.assert_array_equal(longer.theta[:, :4], resumed.theta)
np.save(folder / f"{count}.{number}.npy", resumed.theta)
(folder / f"{count}.{number}.json").write_text(json.dumps(found))
"""


def processes(folder, count, each):
    """What the program finds in each of so many processes, and the networks."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    running = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESSES, str(number), str(count), port, str(folder)],
            env=devices(each),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(count)
    ]
    try:
        said = [process.communicate(timeout=300)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    assert not any(process.returncode for process in running), "".join(said)
    names = [f"{count}.{number}" for number in range(count)]
    found = [json.loads((folder / f"{name}.json").read_text()) for name in names]
    return found, [np.load(folder / f"{name}.npy") for name in names]


@pytest.mark.slow
def test_two_processes_give_what_one_gives(tmp_path):
    found, thetas = processes(tmp_path, 2, 1)
    (alone,), (theta,) = processes(tmp_path, 1, 2)
    assert alone == {"devices": 2} and theta.shape[:2] == (2, 4) and np.isfinite(theta).all()
    for one, said in zip(thetas, found, strict=True):
        np.testing.assert_array_equal(one, theta)
        assert said["devices"] == 2
        assert "differ in rows, settings or free memory" in said["rows"]
        assert "each of the 2 processes must have one" in said["local"]
        assert "all see the same file" in said["file"]
