"""Dropout: while a model learns, some numbers become 0 and the others larger; at test nothing changes.

Which numbers is decided by a hash of a member's seed, the training step, the layer's name and the place. So nothing has
to be saved, a member drops the same numbers alone and in a fleet, a CPU drops the same as a GPU, and nothing waits for
the GPU.
"""

import math

import torch
from torch import nn

from plfeat.model.draws import Draws

_LEVELS = 1 << 16  # one hash decides about two numbers, with 16 bits each


class Dropout(nn.Module):
    key_E: torch.Tensor

    def __init__(self, draws: Draws, name: str, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.register_buffer("key_E", draws.integers(name, below=1 << 31).int(), persistent=False)

    def forward(self, x: torch.Tensor, step: int | None) -> torch.Tensor:
        """`[E, ...]` at a training step; without one it is the test."""
        if step is None or self.rate == 0:
            return x
        kept = self.kept(math.prod(x.shape[1:]), step).view_as(x)
        return x * (kept.to(x.dtype) / (1 - self.rate))

    def kept(self, count: int, step: int) -> torch.Tensor:
        """`[E, count]`."""
        pair = torch.arange((count + 1) // 2, dtype=torch.int32, device=self.key_E.device)
        bits = mixed(mixed(self.key_E + step)[:, None] ^ mixed(pair)).view(torch.int16)[:, :count]
        return bits >= round(self.rate * _LEVELS) - _LEVELS // 2


def mixed(x: torch.Tensor) -> torch.Tensor:
    """Every bit of an int32 depends on every other: the last steps of MurmurHash3."""
    x = (x ^ (x >> 16 & 0xFFFF)).mul_(-0x7A143595)  # 0x85EBCA6B; an int32 wraps around
    x = x.bitwise_xor_(x >> 13 & 0x7FFFF).mul_(-0x3D4D51CB)  # 0xC2B2AE35
    return x.bitwise_xor_(x >> 16 & 0xFFFF)
