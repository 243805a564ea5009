"""Settings of the wrong type are refused by name, also where no annotation is checked."""

import json
import os
import subprocess
import sys

import pytest

START = """
import json, sys
import numpy as np
from posterion import networks
from posterion.emulators import *
from posterion.emulators.kernels import *
from posterion.emulators.likelihoods import Categorical, Gaussian, StudentT
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
REFUSED = [(call, "SettingError", message) for call, message in PARTS.items()]


@pytest.fixture(scope="module")
def found():
    """What each call raises in a process that checks no annotations."""
    calls = json.dumps([call for call, _, _ in REFUSED])
    ran = subprocess.run(
        [sys.executable, "-c", START], input=calls, env=os.environ, check=True, timeout=300,
        capture_output=True, text=True,
    )  # fmt: skip
    return json.loads(ran.stdout)


@pytest.mark.parametrize(("call", "error", "message"), REFUSED, ids=[row[0] for row in REFUSED])
def test_wrong_types_are_refused_by_name(found, call, error, message):
    raised, said = found[call]
    assert raised == error and message in said
