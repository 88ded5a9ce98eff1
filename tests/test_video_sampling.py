"""Which frames are looked at."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plfeat.recipe import Take
from plfeat.video.sampling import choose, segment_centres, segment_randoms, thin, uniform, within

TOTAL, COUNT = st.integers(1, 5000), st.integers(1, 64)


def at(rate: float, total: int) -> np.ndarray:
    return np.arange(total) / rate


@given(total=TOTAL, count=COUNT)
def test_centres_are_rising_frames_of_the_video(total: int, count: int) -> None:
    indices = segment_centres(total, count)
    assert len(indices) == count
    assert indices[0] >= 0
    assert indices[-1] < total
    assert (np.diff(indices) >= 0).all()


@given(length=st.integers(1, 50), count=COUNT)
def test_segments_of_odd_length_are_sampled_at_their_exact_middle(length: int, count: int) -> None:
    odd = 2 * length - 1
    indices = segment_centres(odd * count, count)
    assert indices.tolist() == [segment * odd + odd // 2 for segment in range(count)]


@given(total=TOTAL, count=COUNT, key=st.text())
def test_random_frames_lie_each_in_its_own_segment(total: int, count: int, key: str) -> None:
    indices = segment_randoms(total, count, key)
    first = np.floor(np.arange(count) * total / count)
    last = np.ceil((np.arange(count) + 1) * total / count)
    assert ((indices >= first) & (indices < np.minimum(last, total))).all()
    assert indices.tolist() == segment_randoms(total, count, key).tolist()


def test_random_numbers_are_uniform_and_never_change() -> None:
    drawn = uniform("0/1/train/jumping/a.mp4", 100_000)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    counts = np.histogram(drawn, bins=20, range=(0, 1))[0]
    assert abs(counts - 5000).max() < 350  # five standard deviations
    assert uniform("key", 3).tolist() == pytest.approx([0.2138355, 0.6023361, 0.1567829], abs=1e-7)


@given(video=st.text(), seed=st.integers(0, 1 << 62), views=st.integers(2, 12))
def test_every_view_of_every_video_and_seed_has_numbers_of_its_own(video: str, seed: int, views: int) -> None:
    seconds = at(25, 100_000)

    def drawn(seed: int, view: int, key: str) -> tuple[int, ...]:
        return tuple(choose(Take("random", seed=seed, view=view), seconds, key).tolist())

    others = [drawn(seed, 0, video + "x"), drawn(seed + 1, 0, video)]
    assert len({*(drawn(seed, view, video) for view in range(views)), *others}) == views + 2
    assert drawn(seed, 0, video) == drawn(seed, 0, video)


def test_a_random_view_is_drawn_by_its_seed_its_number_and_the_video() -> None:
    take = Take("random", 4, seed=7, view=2)
    assert choose(take, at(25, 99), "abc").tolist() == segment_randoms(99, 4, "7/2/abc").tolist()
    augmented = Take("random", 4, seed=7, view=2, augment="flip")
    assert choose(augmented, at(25, 99), "abc").tolist() == choose(take, at(25, 99), "abc").tolist()


def test_a_centre_is_the_same_for_every_video() -> None:
    assert choose(Take(frames=4), at(10, 40), "a").tolist() == [5, 15, 25, 35]


@given(total=st.integers(1, 9), count=st.integers(1, 40), kind=st.sampled_from(["centre", "random"]))
def test_a_short_video_repeats_frames(total: int, count: int, kind: str) -> None:
    indices = choose(Take(kind, count), at(5, total), "a")
    assert len(indices) == count
    assert set(indices.tolist()) <= set(range(total))


def test_dense_sampling_takes_every_nth_frame_or_so_many_a_second_up_to_a_cap() -> None:
    def dense(seconds: np.ndarray, **how: float) -> list[int]:
        return choose(Take("dense", **how), seconds, "a").tolist()

    assert dense(at(25, 10), every=3) == [0, 3, 6, 9]
    assert dense(at(25, 26), fps=5.0) == [0, 5, 10, 15, 20, 25]
    assert dense(at(25, 4), fps=100.0) == [0, 1, 2, 3]  # no frame twice
    assert dense(at(25, 40), every=1, cap=4) == [5, 15, 25, 35]
    assert dense(at(25, 1), fps=1.0) == [0]


def test_dense_sampling_by_time_follows_uneven_frame_times() -> None:
    seconds = np.array([0.0, 0.1, 0.2, 1.0, 1.9, 2.0])
    assert choose(Take("dense", fps=1.0), seconds, "a").tolist() == [0, 3, 5]


@given(count=st.integers(1, 2000), cap=st.integers(1, 100))
def test_thinning_keeps_at_most_the_cap_and_never_repeats(count: int, cap: int) -> None:
    kept = thin(np.arange(count), cap)
    assert len(kept) == min(count, cap) == len(set(kept.tolist()))


def test_a_trimmed_segment_is_the_frames_that_start_in_it() -> None:
    seconds = at(10, 50)
    assert within(seconds, 1.0, 2.0) == slice(10, 20)
    assert within(seconds, 0.3, None) == slice(3, 50)
    assert within(seconds, 9.0, 10.0) == slice(50, 50)
    assert within(seconds, 2.0, 1.0) == slice(20, 20)


def test_no_frames_is_an_error() -> None:
    with pytest.raises(ValueError, match="no frame to sample"):
        choose(Take(), np.empty(0), "a")
