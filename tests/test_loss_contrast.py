"""The supervised contrastive loss (eq. 24) against the paper's sums, and where it has nothing to say."""

import equations
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from plfeat.loss.contrast import contrastive_loss


def unit(seed: int, *shape: int) -> torch.Tensor:
    draw = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return F.normalize(draw, dim=-1)


@settings(deadline=None, max_examples=40)
@given(labels=st.lists(st.integers(0, 3), min_size=2, max_size=8), seed=st.integers(0, 999), tau=st.floats(0.05, 2))
def test_it_is_the_papers_equation(labels: list[int], seed: int, tau: float) -> None:
    J, s0 = unit(seed, 2, len(labels), 4), unit(seed + 1, 2, len(labels), 4)
    found = contrastive_loss(J, s0, torch.tensor([labels, labels]), torch.tensor([tau, 2 * tau]))
    for member in range(2):
        expected = equations.supervised_contrastive(J[member].numpy(), s0[member].numpy(), labels, tau * (1 + member))
        assert float(found[member]) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@settings(deadline=None, max_examples=20)
@given(labels=st.lists(st.integers(0, 2), min_size=2, max_size=6), seed=st.integers(0, 999))
def test_all_pairs_are_the_equation_over_both_views(labels: list[int], seed: int) -> None:
    """With both views as anchors and candidates, eq. 24 over twice as many samples."""
    J, s0 = unit(seed, 1, len(labels), 4), unit(seed + 1, 1, len(labels), 4)
    both = torch.cat([J, s0], dim=1)[0].numpy()
    expected = equations.supervised_contrastive(both, both, labels + labels, 0.07)
    found = contrastive_loss(J, s0, torch.tensor([labels]), 0.07, "all")
    assert float(found[0]) == pytest.approx(expected, rel=1e-6)


def test_without_any_positive_it_is_zero_with_a_zero_gradient() -> None:
    J, s0 = unit(0, 1, 4, 3).requires_grad_(), unit(1, 1, 4, 3).requires_grad_()
    loss = contrastive_loss(J, s0, torch.tensor([[0, 1, 2, 3]]), 0.07)
    loss.sum().backward()
    assert float(loss.detach()) == 0
    for gradient in (J.grad, s0.grad):
        assert gradient is not None
        assert not gradient.any()


def test_an_anchor_without_a_positive_is_left_out() -> None:
    J, s0 = unit(0, 1, 3, 4), unit(1, 1, 3, 4)
    labels = torch.tensor([[0, 0, 1]])
    before = contrastive_loss(J, s0, labels, 0.1)
    J[0, 2] = unit(7, 4)
    assert torch.equal(contrastive_loss(J, s0, labels, 0.1), before)
    assert float(before) > 0
    assert np.isfinite(float(before))
