"""Few shots and held-out videos: seeded, class by class, nested, disjoint."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from plfeat.train.subset import few_shots, hold_out

labels = st.lists(st.integers(0, 4), min_size=1, max_size=40).map(np.array)


@given(labels, st.integers(1, 6), st.integers(0, 99))
def test_shots_are_so_many_of_every_class_and_fewer_are_among_more(label_N, shots: int, seed: int) -> None:
    rows = few_shots(label_N, shots, seed)
    assert list(rows) == sorted(set(rows))
    for label in set(label_N):
        assert (label_N[rows] == label).sum() == min(shots, (label_N == label).sum())
    assert set(rows) <= set(few_shots(label_N, shots + 1, seed))


@given(labels, st.integers(0, 99))
def test_what_is_drawn_of_a_class_does_not_depend_on_the_others(label_N, seed: int) -> None:
    own = np.flatnonzero(label_N == label_N[0])
    alone = few_shots(label_N[own], 2, seed)
    together = [row for row in few_shots(label_N, 2, seed) if label_N[row] == label_N[0]]
    assert own[alone].tolist() == together


def test_another_seed_draws_others() -> None:
    label_N = np.repeat(np.arange(5), 50)
    assert not np.array_equal(few_shots(label_N, 4, 0), few_shots(label_N, 4, 1))
    assert np.array_equal(few_shots(label_N, 4, 0), few_shots(label_N, 4, 0))


@given(labels, st.floats(0.01, 0.9), st.integers(0, 99))
def test_held_out_and_kept_share_nothing_and_every_class_keeps_some(label_N, share: float, seed: int) -> None:
    kept, held = hold_out(label_N, share, seed)
    assert sorted([*kept, *held]) == list(range(len(label_N)))
    for label in set(label_N):
        count, out = (label_N == label).sum(), (label_N[held] == label).sum()
        if count == 1:
            assert out == 0
        else:
            assert 1 <= out <= count - 1
            assert abs(out - share * count) <= 1
