"""Which frames are looked at."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plfeat.video.sampling import Sampler, segment_centres, segment_randoms, thin, uniform, within

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
def test_any_view_can_be_computed_alone_and_no_two_share_their_numbers(video: str, seed: int, views: int) -> None:
    sampler, seconds = Sampler(frames=8, seed=seed), at(25, 100_000)
    chosen = sampler.choose(seconds, video, views)
    assert len({tuple(indices.tolist()) for indices in chosen}) == views
    longer = sampler.choose(seconds, video, views + 3)
    assert [a.tolist() for a in longer[:views]] == [a.tolist() for a in chosen]
    assert sampler.choose(seconds, video + "x", views)[0].tolist() != chosen[0].tolist()
    assert Sampler(frames=8, seed=seed + 1).choose(seconds, video, views)[0].tolist() != chosen[0].tolist()


def test_one_view_is_the_centres_whatever_the_seed() -> None:
    for seed in (0, 1):
        assert Sampler(frames=4, seed=seed).choose(at(10, 40), "a", 1)[0].tolist() == [5, 15, 25, 35]


@given(total=st.integers(1, 9), count=st.integers(1, 40), views=st.integers(1, 3))
def test_a_short_video_repeats_frames(total: int, count: int, views: int) -> None:
    for indices in Sampler(frames=count).choose(at(5, total), "a", views):
        assert len(indices) == count
        assert set(indices.tolist()) <= set(range(total))


def test_dense_sampling_takes_every_nth_frame_or_so_many_a_second_up_to_a_cap() -> None:
    assert Sampler(every=3).choose(at(25, 10), "a")[0].tolist() == [0, 3, 6, 9]
    assert Sampler(fps=5).choose(at(25, 26), "a")[0].tolist() == [0, 5, 10, 15, 20, 25]
    assert Sampler(fps=100).choose(at(25, 4), "a")[0].tolist() == [0, 1, 2, 3]  # no frame twice
    assert Sampler(every=1, cap=4).choose(at(25, 40), "a")[0].tolist() == [5, 15, 25, 35]
    assert Sampler(fps=1).choose(at(25, 1), "a")[0].tolist() == [0]


def test_dense_sampling_by_time_follows_uneven_frame_times() -> None:
    seconds = np.array([0.0, 0.1, 0.2, 1.0, 1.9, 2.0])
    assert Sampler(fps=1).choose(seconds, "a")[0].tolist() == [0, 3, 5]


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
        Sampler().choose(np.empty(0), "a")


def test_a_fingerprint_holds_only_what_matters_for_the_kind_of_sampling() -> None:
    assert Sampler(frames=4, seed=2).about == {"kind": "segments", "frames": 4, "seed": 2}
    assert Sampler(fps=2.0, cap=64, seed=5).about == {"kind": "dense", "every": None, "fps": 2.0, "cap": 64}
