"""Settings of the wrong type are refused by name, also where no annotation is checked."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

START = """
import json, sys
import jax
import numpy as np
import posterion
from posterion import emulate, networks
from small_emulators import made
from posterion.emulators import *
from posterion.emulators.kernels import *
from posterion.emulators.distilled import Distilled
from posterion.emulators.likelihoods import Categorical, Gaussian, StudentT
toy = made(networks.mlp((2,), "tanh"), Gaussian())
points = np.zeros((3, 3))
p = toy.predict(points)
x = {"a": np.linspace(0, 1, 40) ** 2, "b": np.sin(np.arange(40.0))}
y = np.cos(np.arange(40.0))
model = posterion.flows.maf(2, transforms=1, hidden=(4,))
rows = np.random.default_rng(0).normal(size=(100, 2))
fitted = posterion.fit(model, rows, epochs=1, quiet=True)
found = {}
for call in json.load(sys.stdin):
    try:
        eval(call)
        found[call] = ["nothing", ""]
    except Exception as error:
        found[call] = [type(error).__name__, str(error)]
print(json.dumps(found))
"""

PARTS = {
    "Hmc(steps=1.5)": "steps must be a whole number, at least 1; got 1.5",
    "Hmc(acceptance='a')": "acceptance must be a number between 0 and 1; got 'a'",
    "Nuts(doublings=2.5)": "doublings must be a whole number",
    "Nuts(doublings=True)": "doublings must be a whole number",
    "Sghmc(batch=1.5)": "batch must be a whole number",
    "Hmc(learned='no')": "learned must be True or False; got 'no'",
    "Mclmc(precondition=1)": "precondition must be True or False; got 1",
    "Independent(by_inputs='no')": "by_inputs must be True or False; got 'no'",
    "Horseshoe(by_inputs=0)": "by_inputs must be True or False",
    "Hierarchical(by_inputs=None)": "by_inputs must be True or False",
    "Mclmc(persistence='a')": "persistence must be positive and finite, got 'a'",
    "Gaussian('a')": "sigma must be positive and finite, got 'a'",
    "Gaussian([.1, .1])": "sigma must be positive and finite, got [0.1, 0.1]",
    "StudentT('a')": "more than 2 degrees of freedom, got 'a'",
    "Categorical(2.5)": "classes must be a whole number",
    "networks.mlp(4)": "hidden must be a sequence of whole numbers",
    "networks.mlp('44')": "got '44'",
    "networks.mlp((1.5,))": "got (1.5,)",
    "networks.convolutional((1, 8), kernel=2.5)": "kernel must be a whole number",
}
OF_EMULATE = {
    "chains=2.0": "chains must be a whole number; got 2.0",
    "chains=True": "chains must be a whole number; got True",
    "draws='5'": "draws must be a whole number",
    "warmup=1.5": "warmup must be a whole number",
    "thin=None": "thin must be a whole number",
    "epochs=2.5": "epochs must be a whole number",
    "batch='a'": "batch must be a whole number",
    "seed=1.5": "seed must be a whole number",
    "rate='a'": "rate must be positive and finite, got 'a'",
    "rate=float('nan')": "rate must be positive and finite",
    "correction=None": "correction must be a finite number",
    "test='a'": "test must be a finite number",
    "seconds='a'": "seconds must be a finite number",
    "seconds=float('inf')": "seconds must be a finite number",
    "resume='yes'": "resume must be True or False; got 'yes'",
    "resume=1, path='a'": "resume must be True or False; got 1",
    "quiet='no'": "quiet must be True or False; got 'no'",
    "log=3": "log must be the names of columns",
    "log='mass'": "no column mass;",
    "units=['GeV']": "units must be the unit of each column",
    "units={'a': 1}": "units must be the unit of each column",
    "name=''": "name must be text, and not empty",
    "name=3": "name must be text",
    "start='old.posterion'": "start must be an emulator",
    "start=Distilled.__new__(Distilled)": "start is a distilled emulator",
    "path=3": "a path is text",
    "path='.'": "'.' is a folder",
    "devices=1.0": "devices is 'all', a number from 1",
    "devices={'a': 1}": "devices is 'all', a number from 1",
    "devices=[[1]]": "devices holds some of jax.devices()",
    "network=lambda x: x": "or an Equinox module; got <function",
    "network=networks.mlp": "got mlp itself: call it, as in network=mlp(...)",
    "network=networks.MLP": "got MLP itself: call it",
    "network=(8, 8)": "got (8, 8)",
    # These are as they should be, so that the next is what is wrong.
    "chains=np.int64(2), log='a', rate=np.float32(0.1), epochs=0": "positive",
    "quiet=np.bool_(True), resume=np.bool_(True)": "resume needs the file",
    "devices=np.int64(1), sampler='swag'": "devices divides the rows",
    "devices=jax.devices()[0], sampler='swag'": "devices divides the rows",
}
OF_PREDICTIONS = {
    "p.quantile(-0.1)": "q, the quantiles, must be numbers from 0 to 1; got -0.1",
    "p.quantile(1.5)": "got 1.5",
    "p.quantile(float('nan'))": "got nan",
    "p.quantile('a')": "got 'a'",
    "p.quantile(None)": "got None",
    "p.quantile([.1, 2])": "got [0.1, 2]",
    "p.quantile(0.5, n=2.5)": "n must be a whole number, at least 1",
    "p.interval('a')": "sigmas must be a finite number",
    "p.interval(-1, corrected=False)": "must not be negative",
    "p.draws(1.5)": "n must be a whole number, at least 1; got 1.5",
    "p.draws(2, seed='a')": "seed must be a whole number",
    "toy.predict(points, networks=1.5)": "networks must be a whole number",
    "toy.next_points(points, 2.5)": "count must be a whole number",
    "toy.distil(rows='300')": "rows must be a whole number; got '300'",
    "toy.distil(epochs=2.5)": "epochs must be a whole number; got 2.5",
    "toy.distil(batch=True)": "batch must be a whole number; got True",
    "toy.distil(rate='a')": "rate must be positive and finite, got 'a'",
    "toy.distil(seed=None)": "seed must be a whole number; got None",
    "toy.distil(quiet=1)": "quiet must be True or False; got 1",
    "toy.save(None)": "a path is text or a pathlib.Path",
    "toy.export_onnx(None)": "a path is text or a pathlib.Path",
}
SAMPLES = {
    "emulate([[1, 2], [3]], [1, 2])": "'x' is no table of numbers: give rows of one length",
    "toy.predict([[1, 2], [3]])": "'x' is no table of numbers",
    "emulate(x, ['a', 'a'])": "y names a more than once",
}
PARTS |= {f"emulate(x, y, {call})": message for call, message in OF_EMULATE.items()}
PARTS |= OF_PREDICTIONS
OF_FIT = {
    "epochs='a'": "epochs must be a whole number, at least 1; got 'a'",
    "epochs=2.5": "epochs must be a whole number",
    "batch=True": "batch must be a whole number",
    "rate='a'": "rate must be positive and finite, got 'a'",
    "average='a'": "average must be in [0, 1), got 'a'",
    "patience=None": "patience must be a positive number, got None",
    "split=1.5": "split must be a whole number",
    "seed='a'": "seed must be a whole number",
}
PARTS |= {f"posterion.fit(model, rows, {call})": text for call, text in OF_FIT.items()}
PARTS |= {
    "posterion.quantile_network(1, 1, hidden=8)": "hidden must be a sequence of whole numbers",
    "posterion.quantile_network(1, 1, networks='one', hidden='88')": "got '88'",
    "posterion.flows.maf(2, hidden=(8, 2.5))": "got (8, 2.5)",
    "fitted.sample('a', seed=0)": "the number of draws must be positive and whole, got 'a'",
    "fitted.sample(2.5, seed=0)": "the number of draws must be positive and whole, got 2.5",
}
REFUSED = [(call, "SettingError", message) for call, message in PARTS.items()]
REFUSED += [(call, "SampleError", message) for call, message in SAMPLES.items()]


@pytest.fixture(scope="module")
def found():
    """What each call raises in a process that checks no annotations."""
    calls = json.dumps([call for call, _, _ in REFUSED])
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    settings = {"env": os.environ | {"PYTHONPATH": path}, "check": True, "timeout": 300}
    ran = subprocess.run(
        [sys.executable, "-c", START], input=calls, capture_output=True, text=True, **settings
    )
    return json.loads(ran.stdout)


@pytest.mark.parametrize(("call", "error", "message"), REFUSED, ids=[row[0] for row in REFUSED])
def test_wrong_types_are_refused_by_name(found, call, error, message):
    raised, said = found[call]
    assert raised == error and message in said
