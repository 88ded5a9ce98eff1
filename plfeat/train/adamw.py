"""AdamW for members side by side: every parameter has a leading member axis, every member its own rate and decay.

What `torch.optim.AdamW` does, for each member alone; torch's own knows one rate for a whole tensor.
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Group:
    """`rate_E` and `decay_E` are `[E]`; with one member they fit parameters without a member axis, too."""

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
        """One step, every rate multiplied by `factor`. A parameter that no loss reached stays as it is."""
        self.count += 1
        correct1, correct2 = 1 - self.beta1**self.count, (1 - self.beta2**self.count) ** 0.5
        moments = iter(zip(self.first, self.second, strict=True))
        for group in self.groups:
            for p in group.parameters:
                first, second = next(moments)
                if p.grad is None:
                    continue
                rate = factor * group.rate_E.view(-1, *[1] * (p.dim() - 1))
                decay = group.decay_E.view(-1, *[1] * (p.dim() - 1))
                first.lerp_(p.grad, 1 - self.beta1)
                second.mul_(self.beta2).addcmul_(p.grad, p.grad, value=1 - self.beta2)
                p.mul_(1 - rate * decay)
                p.sub_(first.div(second.sqrt().div_(correct2).add_(1e-8)).mul_(rate / correct1))
