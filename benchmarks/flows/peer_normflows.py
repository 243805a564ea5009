"""normflows: its layers map base to data, so that `Reverse` gives them a fast density."""

import normflows as nf
import torch
from normflows.flows.base import Reverse
from normflows.flows.neural_spline.autoregressive import (
    MaskedPiecewiseRationalQuadraticAutoregressive,
)
from normflows.flows.neural_spline.coupling import PiecewiseRationalQuadraticCoupling
from normflows.utils.masks import create_alternating_binary_mask

from benchmarks.flows.cases import INTERVAL, Case
from benchmarks.flows.torch_model import Conditioner, TorchModel
from benchmarks.flows.worker import serve

PACKAGES = ("normflows", "torch")


def make(case: Case, seed: int) -> TorchModel:
    torch.manual_seed(seed)
    spline = {"num_bins": case.bins, "tails": "linear", "tail_bound": INTERVAL}

    def network(inputs: int, outputs: int) -> Conditioner:
        return Conditioner(inputs, outputs, case.hidden)

    flows: list[torch.nn.Module] = []
    for i in range(case.layers):
        if case.kind == "coupling" and case.bins:
            mask = create_alternating_binary_mask(case.dim, even=bool(i % 2))
            flows.append(Reverse(PiecewiseRationalQuadraticCoupling(mask, network, **spline)))
        elif case.kind == "coupling":
            if case.dim % 2:
                raise NotImplementedError
            half = case.dim // 2
            net = nf.nets.MLP([half, *case.hidden, 2 * half], init_zeros=True)
            flows += [nf.flows.AffineCouplingBlock(net), nf.flows.Permute(case.dim, mode="swap")]
        else:
            sizes = {
                "features": case.dim,
                "hidden_features": case.hidden[0],
                "num_blocks": len(case.hidden) - 1,
                "use_residual_blocks": False,
            }
            if case.bins:
                layer = MaskedPiecewiseRationalQuadraticAutoregressive(**sizes, **spline)
            else:
                layer = nf.flows.MaskedAffineAutoregressive(**sizes)
            flows += [Reverse(layer), nf.flows.Permute(case.dim, mode="swap")]
    base = nf.distributions.base.DiagGaussian(case.dim, trainable=False)
    model = nf.NormalizingFlow(base, flows)
    return TorchModel(model, model.log_prob, lambda n: model.sample(n)[0])


if __name__ == "__main__":
    serve(make, PACKAGES)
