"""Which frames are looked at."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plfeat.video.sampling import segment_centres


@given(total=st.integers(1, 5000), count=st.integers(1, 64))
def test_centres_are_rising_frames_of_the_video(total: int, count: int) -> None:
    indices = segment_centres(total, count)
    assert len(indices) == count
    assert indices[0] >= 0
    assert indices[-1] < total
    assert (np.diff(indices) >= 0).all()


@given(length=st.integers(1, 50), count=st.integers(1, 64))
def test_segments_of_odd_length_are_sampled_at_their_exact_middle(length: int, count: int) -> None:
    odd = 2 * length - 1
    indices = segment_centres(odd * count, count)
    assert indices.tolist() == [segment * odd + odd // 2 for segment in range(count)]


def test_a_short_video_repeats_frames() -> None:
    assert segment_centres(1, 4).tolist() == [0, 0, 0, 0]
    assert segment_centres(3, 6).tolist() == [0, 0, 1, 1, 2, 2]


def test_no_frames_is_an_error() -> None:
    with pytest.raises(ValueError, match="no frame to sample"):
        segment_centres(0, 4)
