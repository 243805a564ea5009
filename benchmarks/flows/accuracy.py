"""Accuracy: the same flow of each library, on the same rows, against the exact density."""

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.flows.cases import accuracy_case
from benchmarks.flows.client import OURS, Library, core
from benchmarks.flows.truths import TRUTHS, Truth, entropy
from benchmarks.tables import markdown, tell

TRAIN, TEST, RATE = 100_000, 20_480, 5e-3


def difference(log_q: np.ndarray, log_p: np.ndarray) -> str:
    """Mean of ``log q - log p`` and its standard error; rows without a finite value are told."""
    gap = log_q - log_p
    lost = np.count_nonzero(~np.isfinite(gap))
    if lost:
        return f"{lost} rows not finite"
    return f"{gap.mean():.4f} ± {gap.std() / np.sqrt(len(gap)):.4f}"


def compare(truth: Truth, living: dict[str, Library], steps: int, seed: int) -> dict[str, dict]:
    """By library: the difference to the exact density, parameters and CPU seconds of training."""
    rng = np.random.default_rng([seed, truth.dim])
    x, test = truth.sample(rng, TRAIN), truth.sample(rng, TEST)
    mean, scale = x.mean(0), x.std(0)
    case = accuracy_case(truth.dim)
    found: dict[str, dict] = {}
    with tempfile.TemporaryDirectory() as name:
        train_file, test_file, out = (Path(name) / f"{n}.npy" for n in ("train", "test", "out"))
        np.save(train_file, ((x - mean) / scale).astype(np.float32))
        np.save(test_file, ((test - mean) / scale).astype(np.float32))
        files = {"train": str(train_file), "test": str(test_file), "out": str(out)}
        wanted = 0
        for library in living.values():
            if library.name == OURS:
                built = library.build(case, seed)
                wanted = built["parameters"]
            else:
                built = library.build_like(case, seed, wanted)
            if "missing" in built:
                continue
            done = library.ask("fit", **files, steps=steps, rate=RATE)
            log_q = np.load(out).astype(float) - np.log(scale).sum()
            gap = difference(log_q, truth.log_prob(test))
            tell(f"{library.name}: {gap}, {done['cpu']:.0f} s")
            found[library.name] = {**built, "gap": gap, "cpu": done["cpu"]}
    return found


def section(names: list[str], steps: int, quick: bool) -> str:
    """The tables of accuracy."""
    names = [name for name in names if name != "plain torch"]
    truths = {"two moons": TRUTHS["two moons"]} if quick else TRUTHS
    living = {name: Library(name, core()) for name in names}
    gaps, costs = [], []
    for title, truth in truths.items():
        tell(title)
        exact, error = entropy(truth, np.random.default_rng(7), 10_000 if quick else 1_000_000)
        found = compare(truth, living, steps, seed=2)
        gaps.append([title, f"{exact:.4f} ± {error:.4f}", *(found[n]["gap"] for n in names)])
        cells = [f"{found[n]['parameters']:,}; {found[n]['cpu']:.0f}" for n in names]
        costs.append([title, *(cell.replace(",", " ") for cell in cells)])
    for library in living.values():
        library.close()
    flows = "\n".join(f"- {title}: {accuracy_case(truth.dim)}" for title, truth in truths.items())
    return "\n".join(
        [
            f"Mean test log-likelihood minus the exact one, in nats, with its standard error over "
            f"{TEST} test rows. The same {TRAIN} training rows (scaled to mean 0 and deviation "
            f"1), a standard normal base, hidden layers of a width that gives each library the "
            f"parameters of ours; {steps} steps of Adam, rate {RATE} with cosine decay, gradients "
            "clipped at norm 1. The exact entropy is that of 1e6 draws.\n",
            flows + "\n",
            markdown(("", "exact entropy", *names), gaps),
            "\nTrained parameters; CPU seconds of training with compilation:\n",
            markdown(("", *names), costs),
        ]
    )
