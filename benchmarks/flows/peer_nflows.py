"""nflows: masked autoregressive and coupling transforms, reversals between the former."""

import torch
from nflows.distributions import StandardNormal
from nflows.flows import Flow
from nflows.transforms import (
    AffineCouplingTransform,
    CompositeTransform,
    MaskedAffineAutoregressiveTransform,
    MaskedPiecewiseRationalQuadraticAutoregressiveTransform,
    PiecewiseRationalQuadraticCouplingTransform,
    ReversePermutation,
)
from nflows.utils import create_alternating_binary_mask

from benchmarks.flows.cases import INTERVAL, Case
from benchmarks.flows.torch_model import Conditioner, TorchModel
from benchmarks.flows.worker import serve

PACKAGES = ("nflows", "torch")


def make(case: Case, seed: int) -> TorchModel:
    torch.manual_seed(seed)
    spline = {"num_bins": case.bins, "tails": "linear", "tail_bound": INTERVAL}

    def network(inputs: int, outputs: int) -> Conditioner:
        return Conditioner(inputs, outputs, case.hidden)

    parts = []
    for i in range(case.layers):
        if case.kind == "coupling":
            mask = create_alternating_binary_mask(case.dim, even=bool(i % 2))
            if case.bins:
                parts.append(PiecewiseRationalQuadraticCouplingTransform(mask, network, **spline))
            else:
                parts.append(AffineCouplingTransform(mask, network))
            continue
        sizes = {
            "features": case.dim,
            "hidden_features": case.hidden[0],
            "num_blocks": len(case.hidden) - 1,
            "use_residual_blocks": False,
        }
        if case.bins:
            layer = MaskedPiecewiseRationalQuadraticAutoregressiveTransform(**sizes, **spline)
        else:
            layer = MaskedAffineAutoregressiveTransform(**sizes)
        parts += [layer, ReversePermutation(case.dim)]
    flow = Flow(CompositeTransform(parts), StandardNormal([case.dim]))
    return TorchModel(flow, flow.log_prob, flow.sample)


if __name__ == "__main__":
    serve(make, PACKAGES)
