"""AdamW of many members is torch's AdamW of each, with its own rate and decay."""

import pytest
import torch

from plfeat.train.adamw import AdamW, Group


@pytest.mark.parametrize("factor", [1.0, 0.3])
def test_each_member_moves_as_torch_would_move_it(factor: float) -> None:
    draw = torch.Generator().manual_seed(0)
    start = [torch.randn(3, 4, 5, generator=draw), torch.randn(3, generator=draw)]
    rates, decays = torch.tensor([1e-2, 3e-3, 1e-1]), torch.tensor([0.0, 0.2, 5.0])
    ours = [torch.nn.Parameter(value.clone()) for value in start]
    fleet = AdamW([Group("a", (ours[0],), rates, decays), Group("b", (ours[1],), rates, 0 * decays)], 0.9, 0.98)
    alone = []
    for member in range(3):
        parameters = [torch.nn.Parameter(value[member].clone()) for value in start]
        groups = [
            {"params": [parameters[0]], "weight_decay": float(decays[member])},
            {"params": [parameters[1]], "weight_decay": 0.0},
        ]
        alone.append((parameters, torch.optim.AdamW(groups, lr=factor * float(rates[member]), betas=(0.9, 0.98))))
    for _ in range(7):
        gradients = [torch.randn(value.shape, generator=draw) for value in start]
        for parameter, gradient in zip(ours, gradients, strict=True):
            parameter.grad = gradient.clone()
        fleet.step(factor)
        for member, (parameters, optimiser) in enumerate(alone):
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient[member].clone()
            optimiser.step()
    for member, (parameters, _) in enumerate(alone):
        for mine, theirs in zip(ours, parameters, strict=True):
            torch.testing.assert_close(mine[member], theirs, rtol=1e-5, atol=1e-7)


def test_what_no_loss_reached_stays_as_it_is() -> None:
    parameter = torch.nn.Parameter(torch.ones(2, 3))
    AdamW([Group("a", (parameter,), torch.ones(2), torch.ones(2))], 0.9, 0.999).step(1.0)
    assert torch.equal(parameter, torch.ones(2, 3))
