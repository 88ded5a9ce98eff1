"""AdamW for members side by side: every parameter has a leading member axis, every member its own rate and decay.

Each member is updated as `torch.optim.AdamW` would update it alone. torch's own has one rate for a whole tensor.
"""

from dataclasses import dataclass
from typing import Any

import torch

from plfeat.device import sent


@dataclass(frozen=True)
class Group:
    """`rate_E` and `decay_E` are `[E]`, on the CPU; with one member they fit parameters without a member axis, too."""

    name: str
    parameters: tuple[torch.nn.Parameter, ...]
    rate_E: torch.Tensor
    decay_E: torch.Tensor


class AdamW:
    def __init__(self, groups: list[Group], beta1: float, beta2: float) -> None:
        self.groups, self.beta1, self.beta2, self.count = groups, beta1, beta2, 0
        self.first = [torch.zeros_like(p) for group in groups for p in group.parameters]
        self.second = [torch.zeros_like(p) for group in groups for p in group.parameters]

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        return [p for group in self.groups for p in group.parameters]

    def zero_grad(self) -> None:
        for p in self.parameters:
            p.grad = None

    @torch.no_grad()
    def step(self, factor: float) -> None:
        """One step, every rate multiplied by `factor`. A parameter without a gradient stays as it is. Each operation is
        done for all parameters together: if they were updated one by one, a GPU would wait for the launches."""
        self.count += 1
        correct1, correct2 = 1 - self.beta1**self.count, (1 - self.beta2**self.count) ** 0.5
        own: list[torch.Tensor] = []
        gradient, first, second, shrink_E, stride_E = [], [], [], [], []
        moments = iter(zip(self.first, self.second, strict=True))
        for group in self.groups:
            rate_E = factor * group.rate_E
            for p in group.parameters:
                means = next(moments)
                if p.grad is None:
                    continue
                own.append(p)
                gradient.append(p.grad)
                first.append(means[0])
                second.append(means[1])
                shrink_E.append(1 - rate_E * group.decay_E)
                stride_E.append(rate_E / correct1)
        if not own:
            return
        torch._foreach_lerp_(first, gradient, 1 - self.beta1)
        torch._foreach_mul_(second, self.beta2)
        torch._foreach_addcmul_(second, gradient, gradient, 1 - self.beta2)
        root = torch._foreach_sqrt(second)
        torch._foreach_div_(root, correct2)
        torch._foreach_add_(root, 1e-8)
        move = torch._foreach_div(first, root)
        torch._foreach_mul_(move, _factors(stride_E, own))
        torch._foreach_mul_(own, _factors(shrink_E, own))
        torch._foreach_sub_(own, move)


def _factors(value_E: list[torch.Tensor], own: list[torch.Tensor]) -> list[Any]:
    """What each parameter is multiplied with: numbers where all members have the same, which is quicker, or tensors."""
    if all(bool((value == value[0]).all()) for value in value_E):
        return [float(value[0]) for value in value_E]
    return [sent(value, p.device).view(-1, *[1] * (p.dim() - 1)) for value, p in zip(value_E, own, strict=True)]
