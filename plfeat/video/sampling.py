"""Which frames of a video to look at: pure functions of (sampler, video id, view, the frames' times).

One view looks at the centre of each of K equal segments; of several, each looks at a random frame of every segment.
Dense sampling takes every n-th frame, or so many a second, thinned evenly to a cap. A video with fewer frames than are
wanted repeats some; it never fails.
"""

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
Seconds = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sampler:
    """`every` or `fps` make it dense; otherwise `frames` segments."""

    frames: int = 8
    seed: int = 0
    every: int | None = None
    fps: float | None = None
    cap: int = 512

    @property
    def dense(self) -> bool:
        return self.every is not None or self.fps is not None

    @property
    def about(self) -> dict[str, Any]:
        """What goes into a fingerprint: only what matters for this kind of sampling."""
        own = ("every", "fps", "cap") if self.dense else ("frames", "seed")
        return {"kind": "dense" if self.dense else "segments"} | {key: asdict(self)[key] for key in own}

    def choose(self, seconds_T: Seconds, video: str, views: int = 1) -> list[Indices]:
        """For each view, rising indices into the video's frames, which start at `seconds_T`."""
        total = len(seconds_T)
        if total < 1:
            raise ValueError(f"a video of {total} frames has no frame to sample")
        if self.dense:
            return [thin(_dense(seconds_T, self.every, self.fps), self.cap)] * views
        if views == 1:
            return [segment_centres(total, self.frames)]
        return [segment_randoms(total, self.frames, f"{self.seed}/{view}/{video}") for view in range(views)]


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


def within(seconds_T: Seconds, start: float, end: float | None) -> slice:
    """The frames of a trimmed segment: those that start in [start, end)."""
    first = int(np.searchsorted(seconds_T, start - 1e-6))
    last = len(seconds_T) if end is None else int(np.searchsorted(seconds_T, end - 1e-6))
    return slice(first, max(first, last))


def thin(indices: Indices, cap: int) -> Indices:
    """At most `cap` of them, evenly spread."""
    return indices if len(indices) <= cap else indices[segment_centres(len(indices), cap)]


def _dense(seconds_T: Seconds, every: int | None, fps: float | None) -> Indices:
    if every is not None:
        return np.arange(0, len(seconds_T), every, dtype=np.int64)
    assert fps is not None
    length = seconds_T[-1] - seconds_T[0]
    wanted = seconds_T[0] + np.arange(int(np.floor(length * fps + 1e-6)) + 1) / fps
    return np.unique(np.searchsorted(seconds_T, wanted - 1e-6).clip(0, len(seconds_T) - 1)).astype(np.int64)
