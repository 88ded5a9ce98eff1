"""Layers of E members at once: every parameter has a leading member axis, and the data of member e meets the parameters
of member e alone.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from plfeat.model.draws import Draws


class Linear(nn.Module):
    """x W^T + b for `[E, ..., inputs]`. Starts like `torch.nn.Linear`, or normal with `std` and no offset."""

    def __init__(
        self, draws: Draws, name: str, inputs: int, outputs: int, bias: bool = True, std: float | None = None
    ) -> None:
        super().__init__()
        draws, bound = draws.at(name), 1 / math.sqrt(inputs)
        if std is None:
            weight = draws.uniform("weight", outputs, inputs, bound=bound)
            offset = draws.uniform("bias", outputs, bound=bound)
        else:
            weight = draws.normal("weight", outputs, inputs, std=std)
            offset = torch.zeros(draws.members, outputs)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(offset) if bias else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.flatten(1, -2)
        if self.bias is None:
            out = torch.bmm(rows, self.weight.mT)
        else:
            out = torch.baddbmm(self.bias[:, None], rows, self.weight.mT)
        return out.unflatten(1, x.shape[1:-1])


class LayerNorm(nn.Module):
    """Over the last axis of `[E, ..., width]`."""

    def __init__(self, members: int, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(members, width))
        self.bias = nn.Parameter(torch.zeros(members, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shape = (len(x), *[1] * (x.dim() - 2), -1)
        return F.layer_norm(x, x.shape[-1:]) * self.gain.view(shape) + self.bias.view(shape)


def masked_softmax(score: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Softmax over the last axis, over the real entries alone. A row without real entries is all 0, and never NaN."""
    none = ~real.any(dim=-1, keepdim=True)
    return score.masked_fill(~(real | none), -math.inf).softmax(dim=-1).masked_fill(~real, 0)
