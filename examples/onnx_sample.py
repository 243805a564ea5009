"""Draws and densities from the files of `posterion export`, with NumPy and ONNX Runtime alone.

python onnx_sample.py FOLDER
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

folder, n, rng = Path(sys.argv[1]), 10_000, np.random.default_rng(1)
card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
flat = [(one.get("lower"), one.get("upper")) for one in card["base"]["z"]]
columns = [rng.standard_normal(n) if low is None else rng.uniform(low, up, n) for low, up in flat]
inputs = {"z": np.stack(columns, axis=1), "u": rng.random(n)}  # a density without context

draw = onnxruntime.InferenceSession(folder / "sample.onnx")
names = {one.name for one in draw.get_inputs()}
(x,) = draw.run(["x"], {name: inputs[name] for name in names})
(log_prob,) = onnxruntime.InferenceSession(folder / "log_prob.onnx").run(["log_prob"], {"x": x})
for name, mean, sd in zip(card["columns"], x.mean(axis=0), x.std(axis=0), strict=True):
    sys.stdout.write(f"{name}: {mean:.4f} +- {sd:.4f}\n")
sys.stdout.write(f"entropy: {-log_prob.mean():.3f}\n")
