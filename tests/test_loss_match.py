"""The matching loss (eq. 23) against a float64 reference written from the paper, one sample at a time."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy

from plfeat.loss.match import label_matrix, matching_loss


def reference(logits: np.ndarray, labels: list[int], video_to_text: float, text_to_video: float) -> float:
    """1/2 of the mean KL(q || p) of both directions; q is the 0/1 label row divided by its sum."""
    count = len(labels)
    directions = []
    for matrix in (logits, logits.T):
        total = 0.0
        for i in range(count):
            exponents = np.exp(matrix[i] - matrix[i].max())
            positives = np.array([float(labels[j] == labels[i]) for j in range(count)])
            total += entropy(positives / positives.sum(), exponents / exponents.sum())
        directions.append(total / count)
    return 0.5 * (video_to_text * directions[0] + text_to_video * directions[1])


@given(
    labels=st.lists(st.integers(0, 3), min_size=2, max_size=9),
    scale=st.floats(0.1, 100),
    seed=st.integers(0, 99),
    weights=st.tuples(st.floats(0, 2), st.floats(0, 2)),
)
def test_it_is_the_papers_equation(labels: list[int], scale: float, seed: int, weights: tuple[float, float]) -> None:
    cosines = np.random.default_rng(seed).uniform(-1, 1, (2, len(labels), len(labels)))
    found = matching_loss(torch.tensor(scale * cosines), torch.tensor([labels, labels]), *weights)
    for member in range(2):
        expected = reference(scale * cosines[member], labels, *weights)
        assert float(found[member]) == pytest.approx(expected, rel=1e-6, abs=1e-7)


def test_it_is_zero_exactly_when_the_similarities_say_what_the_labels_say() -> None:
    labels = torch.tensor([[0, 1, 1, 2]])
    perfect = label_matrix(labels).clamp_min(1e-30).log()
    assert float(matching_loss(perfect, labels, 1, 1)) == pytest.approx(0, abs=1e-5)


def test_rows_of_the_label_matrix_sum_to_one() -> None:
    matrix = label_matrix(torch.tensor([[0, 1, 1, 2]]))[0]
    assert matrix.sum(dim=1).tolist() == [1, 1, 1, 1]
    assert matrix[1].tolist() == [0, 0.5, 0.5, 0]


def test_the_released_label_matrix_is_a_softmax_of_ten_times_the_labels() -> None:
    """64 samples: a single positive gets .9971; of k positives each gets about 1/k."""
    labels = torch.tensor([[*range(62), 62, 62]])
    matrix = label_matrix(labels, "softmax")[0]
    assert float(matrix[0, 0]) == pytest.approx(np.exp(10) / (np.exp(10) + 63), rel=1e-6)
    assert float(matrix[0, 0]) == pytest.approx(0.9971, abs=1e-4)
    assert matrix[63, 62:].tolist() == pytest.approx([0.4993, 0.4993], abs=1e-4)
    logits = torch.randn(1, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = [
        np.mean([entropy(matrix[i].double().numpy(), m[i].softmax(dim=0).numpy()) for i in range(64)])
        for m in (logits[0], logits[0].T)
    ]
    assert float(matching_loss(logits, labels, 2.0, 1.0, "softmax")[0]) == pytest.approx(
        (2 * expected[0] + expected[1]) / 2, rel=1e-6
    )


def test_every_member_has_its_own_coefficients() -> None:
    labels = torch.tensor([[0, 1, 1], [0, 1, 1]])
    logits = torch.randn(1, 3, 3, generator=torch.Generator().manual_seed(1)).expand(2, -1, -1)
    found = matching_loss(logits, labels, torch.tensor([1.0, 0.0]), torch.tensor([0.0, 3.0]))
    torch.testing.assert_close(found[:1], matching_loss(logits[:1], labels[:1], 1.0, 0.0))
    torch.testing.assert_close(found[1:], matching_loss(logits[:1], labels[:1], 0.0, 3.0))
