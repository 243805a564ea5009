"""What the libraries on PyTorch share: eager Adam with its fused kernel, on one thread or a GPU."""

import os
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.flows import GPU
from benchmarks.flows.worker import cosine

torch.set_num_threads(1)
if GPU in os.environ:
    torch.set_default_device("cuda")


class TorchModel:
    """A module with its log-density and its sampler."""

    def __init__(
        self,
        module: nn.Module,
        log_prob: Callable[[Tensor], Tensor],
        draw: Callable[[int], Tensor],
    ):
        self.module = module
        self.log_prob = log_prob
        self.draw = draw
        self.trained = [p for p in module.parameters() if p.requires_grad]

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.trained)

    def start(self, data: np.ndarray, batch: int, rate: float, steps: int, clip: bool) -> None:
        self.data = self.put(data)
        self.batch, self.rate, self.steps, self.clip, self.done = batch, rate, steps, clip, 0
        self.adam = torch.optim.Adam(self.trained, lr=rate, fused=True)

    def train(self, steps: int) -> None:
        for _ in range(steps):
            if self.steps:
                self.adam.param_groups[0]["lr"] = cosine(self.rate, self.steps, self.done)
            x = self.data[torch.randint(len(self.data), (self.batch,))]
            self.adam.zero_grad()
            loss = -self.log_prob(x).mean()
            loss.backward()
            if self.clip:
                norm = nn.utils.clip_grad_norm_(self.trained, 1.0)
                if not torch.isfinite(norm):
                    self.adam.zero_grad()
            self.adam.step()
            self.done += 1

        self.wait(self.trained)

    def put(self, x: np.ndarray) -> Tensor:
        return torch.from_numpy(x).to(torch.get_default_device())

    def wait(self, _: object) -> None:
        if torch.get_default_device().type == "cuda":
            torch.cuda.synchronize()

    def density(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self.log_prob(x)

    def sample(self, n: int) -> Tensor:
        with torch.no_grad():
            return self.draw(n)


class Conditioner(nn.Sequential):
    """ReLU network of a coupling, for libraries that take one from outside."""

    def __init__(self, inputs: int, outputs: int, hidden: Sequence[int]):
        sizes = [inputs, *hidden]
        parts: list[nn.Module] = []
        for before, after in pairwise(sizes):
            parts += [nn.Linear(before, after), nn.ReLU()]
        super().__init__(*parts, nn.Linear(sizes[-1], outputs))
        self.hidden_features = hidden[-1]

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return super().forward(x)
