"""PyTorch alone: a masked autoregressive flow and a RealNVP as one would write them by hand."""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.flows.cases import Case
from benchmarks.flows.torch_model import Conditioner, TorchModel
from benchmarks.flows.worker import serve

PACKAGES = ("torch",)


class MaskedLinear(nn.Linear):
    def __init__(self, inputs: Tensor, outputs: Tensor, strict: bool = False):
        super().__init__(len(inputs), len(outputs))
        seen = outputs[:, None] > inputs if strict else outputs[:, None] >= inputs
        self.register_buffer("mask", seen.float())

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.mask * self.weight, self.bias)


class MaskedAffine(nn.Module):
    """Coordinate ``i`` is scaled and shifted as those before it say (1705.07057)."""

    def __init__(self, dim: int, hidden: tuple[int, ...], reverse: bool):
        super().__init__()
        order = torch.arange(1, dim + 1)
        order = order.flip(0) if reverse else order
        degrees = [order, *(torch.arange(h) % (dim - 1) + 1 for h in hidden)]
        parts: list[nn.Module] = []
        for before, after in pairwise(degrees):
            parts += [MaskedLinear(before, after), nn.ReLU()]
        self.net = nn.Sequential(*parts, MaskedLinear(degrees[-1], order.repeat(2), strict=True))

    def inverse(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self.net(x).chunk(2, dim=1)
        return (x - shift) * torch.exp(-log_scale), -log_scale.sum(1)

    def forward(self, z: Tensor) -> Tensor:
        x = torch.zeros_like(z)
        for _ in range(z.shape[1]):
            log_scale, shift = self.net(x).chunk(2, dim=1)
            x = z * torch.exp(log_scale) + shift
        return x


class AffineCoupling(nn.Module):
    """One half is scaled and shifted as the other says (1605.08803)."""

    def __init__(self, dim: int, hidden: tuple[int, ...], reverse: bool):
        super().__init__()
        self.reverse = reverse
        self.net = Conditioner(dim // 2, dim // 2 * 2, hidden)

    def _halves(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        kept, moved = x.chunk(2, dim=1)
        if self.reverse:
            kept, moved = moved, kept
        log_scale, shift = self.net(kept).chunk(2, dim=1)
        return kept, moved, log_scale, shift

    def _join(self, kept: Tensor, moved: Tensor) -> Tensor:
        return torch.cat([moved, kept] if self.reverse else [kept, moved], dim=1)

    def inverse(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kept, moved, log_scale, shift = self._halves(x)
        return self._join(kept, (moved - shift) * torch.exp(-log_scale)), -log_scale.sum(1)

    def forward(self, z: Tensor) -> Tensor:
        kept, moved, log_scale, shift = self._halves(z)
        return self._join(kept, moved * torch.exp(log_scale) + shift)


def make(case: Case, seed: int) -> TorchModel:
    if case.bins or (case.kind == "coupling" and case.dim % 2):
        raise NotImplementedError
    torch.manual_seed(seed)
    layer = AffineCoupling if case.kind == "coupling" else MaskedAffine
    layers = nn.ModuleList(layer(case.dim, case.hidden, bool(i % 2)) for i in range(case.layers))

    def log_prob(x: Tensor) -> Tensor:
        total = torch.full((len(x),), -0.5 * case.dim * math.log(2 * math.pi))
        for part in reversed(layers):
            x, log_det = part.inverse(x)
            total = total + log_det
        return total - 0.5 * (x * x).sum(1)

    def draw(n: int) -> Tensor:
        x = torch.randn(n, case.dim)
        for part in layers:
            x = part(x)
        return x

    return TorchModel(layers, log_prob, draw)


if __name__ == "__main__":
    serve(make, PACKAGES)
