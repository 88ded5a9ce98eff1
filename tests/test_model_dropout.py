"""What is dropped: a share of the numbers, other ones for every seed, step and layer, the same in any company."""

import pytest
import torch

from plfeat.model.draws import Draws
from plfeat.model.dropout import Dropout, mixed


def murmur(h: int) -> int:
    """MurmurHash3's last steps, on Python's integers."""
    h = (h ^ h >> 16) * 0x85EBCA6B & 0xFFFFFFFF
    h = (h ^ h >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
    return h ^ h >> 16


def test_the_hash_is_murmurs() -> None:
    values = torch.randint(-(1 << 31), 1 << 31, (1000,), generator=torch.Generator().manual_seed(0)).int()
    assert [value & 0xFFFFFFFF for value in mixed(values).tolist()] == [
        murmur(value & 0xFFFFFFFF) for value in values.tolist()
    ]


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_share_that_is_dropped_is_the_rate_and_the_mean_stays(rate: float) -> None:
    x = torch.ones(3, 7, 30_001, dtype=torch.float64)  # an odd number of them
    found = Dropout(Draws((0, 1, 2)), "a", rate)(x, 5)
    assert found.shape == x.shape
    assert set(found.unique().tolist()) == {0.0, 1 / (1 - rate)}
    places = found.flatten(1)
    for part in (places[:, ::2], places[:, 1::2], places[:, :100_000], places[:, -100_000:]):
        torch.testing.assert_close((part == 0).double().mean(dim=1), torch.full((3,), rate).double(), rtol=0.03, atol=0)


def test_seeds_steps_layers_and_neighbours_are_dropped_independently() -> None:
    both = Dropout(Draws((0, 1)), "a", 0.5)
    now = both.kept(100_000, 7)
    others = [
        both.kept(100_000, 8)[0],
        now[1],
        Dropout(Draws((0,)), "b", 0.5).kept(100_000, 7)[0],
        now[0].roll(1),
        now[0].roll(2),
        now[0].roll(30_000),
    ]
    for other in others:
        assert float((now[0] == other).double().mean()) == pytest.approx(0.5, abs=0.01)


def test_a_member_drops_the_same_alone_and_in_company_whatever_the_precision() -> None:
    x = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0)).double()
    both, alone = Dropout(Draws((3, 8)), "a", 0.3), Dropout(Draws((8,)), "a", 0.3)
    assert torch.equal(both(x, 4)[1], alone(x[1:], 4)[0])
    assert torch.equal(both(x.float(), 4) == 0, both(x, 4) == 0)


def test_nothing_is_dropped_at_test_or_at_rate_zero() -> None:
    x = torch.randn(1, 50)
    assert Dropout(Draws((0,)), "a", 0.5)(x, None) is x
    assert Dropout(Draws((0,)), "a", 0.0)(x, 3) is x


def test_what_was_dropped_gets_no_gradient_and_the_rest_a_larger_one() -> None:
    x = torch.ones(1, 1000, requires_grad=True)
    found = Dropout(Draws((0,)), "a", 0.2)(x, 0)
    (gradient,) = torch.autograd.grad(found.sum(), x)
    assert torch.equal(gradient, found.detach())
