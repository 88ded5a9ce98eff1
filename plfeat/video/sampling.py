"""Which frames of a video a take looks at: pure functions of (take, the frames' times, the video's key).

A centre looks at the middle of each of T equal segments, a random view at a random frame of each. Dense sampling takes
every n-th frame, or so many a second, thinned evenly to a cap. A video with fewer frames than are wanted repeats some;
it never fails.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

from plfeat.recipe import Take

Indices = NDArray[np.int64]
Seconds = NDArray[np.float64]


def choose(take: Take, seconds_F: Seconds, key: str) -> Indices:
    """Rising indices into the video's frames, which start at `seconds_F`."""
    total = len(seconds_F)
    if total < 1:
        raise ValueError(f"a video of {total} frames has no frame to sample")
    if take.kind == "dense":
        return thin(_dense(seconds_F, take.every, take.fps), take.cap)
    if take.kind == "random":
        return segment_randoms(total, take.frames, draw(take, key))
    return segment_centres(total, take.frames)


def draw(take: Take, key: str) -> str:
    """What all that is random in a view of a video depends on."""
    return f"{take.seed}/{take.view}/{key}"


def segment_centres(total: int, count: int) -> Indices:
    """The middle frame of each of `count` equal segments of `total` frames."""
    return ((2 * np.arange(count) + 1) * total // (2 * count)).astype(np.int64)


def segment_randoms(total: int, count: int, key: str) -> Indices:
    """One frame of each of `count` equal segments, drawn by `key` alone."""
    within = uniform(key, count)
    return np.minimum(((np.arange(count) + within) * total / count).astype(np.int64), total - 1)


def uniform(key: str, count: int) -> NDArray[np.float64]:
    """`count` numbers in [0, 1) that depend on `key` and on no library's version."""
    words = np.frombuffer(hashlib.shake_256(key.encode()).digest(8 * count), dtype="<u8")
    return (words >> np.uint64(11)) / 2.0**53


def within(seconds_F: Seconds, start: float, end: float | None) -> slice:
    """The frames of a trimmed segment: those that start in [start, end)."""
    first = int(np.searchsorted(seconds_F, start - 1e-6))
    last = len(seconds_F) if end is None else int(np.searchsorted(seconds_F, end - 1e-6))
    return slice(first, max(first, last))


def thin(indices: Indices, cap: int) -> Indices:
    """At most `cap` of them, evenly spread."""
    return indices if len(indices) <= cap else indices[segment_centres(len(indices), cap)]


def _dense(seconds_F: Seconds, every: int | None, fps: float | None) -> Indices:
    if every is not None:
        return np.arange(0, len(seconds_F), every, dtype=np.int64)
    assert fps is not None
    length = seconds_F[-1] - seconds_F[0]
    wanted = seconds_F[0] + np.arange(int(np.floor(length * fps + 1e-6)) + 1) / fps
    return np.unique(np.searchsorted(seconds_F, wanted - 1e-6).clip(0, len(seconds_F) - 1)).astype(np.int64)
