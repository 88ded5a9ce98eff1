"""The records that rooms hand each other. Plain, frozen, without behaviour worth testing."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

SPLITS = ("train", "val", "test")


class Tick(Protocol):
    """How long work reports itself: `tick("encoding train", done, total, "12 videos/s")`."""

    def __call__(self, stage: str, done: int, total: int, note: str = "", /) -> None: ...


def silent(stage: str, done: int, total: int, note: str = "", /) -> None:
    """The Tick that says nothing."""


@dataclass(frozen=True, slots=True)
class VideoRef:
    """One video of an annotation, or the segment of its file from `start` to `end` seconds. `id` is unique within its
    dataset and independent of where the files lie."""

    id: str
    path: Path
    label: int
    split: str
    start: float | None = None  # the beginning
    end: float | None = None  # the end


@dataclass(frozen=True, slots=True)
class Dataset:
    """An annotation read from disk. `group` and `mirror` are per class: an optional stratum, and the class that shows
    the same frames in another order."""

    name: str
    classes: tuple[str, ...]
    videos: tuple[VideoRef, ...]  # sorted by (split, id)
    group: tuple[str, ...] = ()
    mirror: tuple[int | None, ...] = ()


@dataclass(frozen=True, slots=True)
class FrameSet:
    """The cached features of one split, in memory: N videos in V views of T frames."""

    features_NVTD: NDArray[np.floating[Any]]
    label_N: NDArray[np.int64]
    id_N: tuple[str, ...]
    missing: int  # videos of the annotation that have no features


@dataclass(frozen=True, slots=True)
class Run:
    """One evaluated run: what it was, and what it said about every test video."""

    method: str
    seed: int
    scores_NC: NDArray[np.float32]
    label_N: NDArray[np.int64]
    id_N: tuple[str, ...]
    classes: tuple[str, ...]
    group: tuple[str, ...] = ()
    mirror: tuple[int | None, ...] = ()
    about: dict[str, Any] = field(default_factory=dict)  # config, fingerprint, environment, wall time, missing


@dataclass(frozen=True, slots=True)
class Step:
    """A row against the row above. `changed` counts videos whose hits differ for at least one pair of seeds."""

    gain: float
    low: float
    high: float
    p: float  # over all seeds, sign-flip permutation by video, Holm-corrected over the table
    seed_p: list[float]  # one exact McNemar test per seed, uncorrected
    changed: int


@dataclass(frozen=True, slots=True)
class Contrast:
    """A method against another on the videos of one stratum; `p` as in a Step, corrected over all beside it."""

    method: str
    stratum: str
    n: int
    before: float
    after: float
    low: float
    high: float
    p: float


@dataclass(frozen=True, slots=True)
class Row:
    method: str
    seeds: int
    split: str
    n: int
    missing: int
    top1: float
    low: float
    high: float
    top5: float
    mean_class: float
    groups: dict[str, float]
    mirror: float | None
    mirror_n: int
    step: Step | None = None
