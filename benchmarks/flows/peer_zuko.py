"""zuko: MAF, and NICE with its coupling of any univariate map."""

from functools import partial
from typing import Any

import torch
import zuko
from zuko.transforms import MonotonicRQSTransform

from benchmarks.flows.cases import INTERVAL, Case
from benchmarks.flows.torch_model import TorchModel
from benchmarks.flows.worker import serve

PACKAGES = ("zuko", "torch")


def make(case: Case, seed: int) -> TorchModel:
    torch.manual_seed(seed)
    options: dict[str, Any] = {"transforms": case.layers, "hidden_features": case.hidden}
    if case.bins:
        options["univariate"] = partial(MonotonicRQSTransform, bound=INTERVAL)
        options["shapes"] = [(case.bins,), (case.bins,), (case.bins - 1,)]
    family = zuko.flows.NICE if case.kind == "coupling" else zuko.flows.MAF
    flow = family(case.dim, **options)
    return TorchModel(flow, lambda x: flow().log_prob(x), lambda n: flow().sample((n,)))


if __name__ == "__main__":
    serve(make, PACKAGES)
