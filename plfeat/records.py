"""The records that rooms hand each other. Plain, frozen, without behaviour worth testing."""

import re
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
class Listed:
    """One line of a list: a video, or the segment of its file from `start` to `end` seconds.

    `name` is what the annotation calls it, once in a list and independent of where the files lie. `split` has an entry
    for each fold: train, val, test, or nothing where the fold leaves it out. `group`: videos that belong together, such
    as all clips of one film; without one it is a group of its own. `video` is the digest of what the file holds (and
    the segment); nothing where there is no file."""

    name: str
    label: int  # UNLABELLED where nobody has said
    split: tuple[str, ...] = ("test",)
    group: str = ""
    start: float | None = None  # the beginning
    end: float | None = None  # the end
    path: Path | None = None  # where its file lies or should lie; no part of the list
    video: str = ""


UNLABELLED = -1

LIST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,80}")
"""What a list may be called: a name, never a path."""

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""What no name of a video, a class or a group may hold: it would act on the terminal, or end the line that says it."""


@dataclass(frozen=True, slots=True)
class VideoList:
    """Which videos there are, and which of them has which label, split and group. `classes` are called as their owner
    writes them, `words` are what a text encoder reads unless it is given others. `stratum` and `mirror` are per class:
    an optional kind of class, and the class that shows the same frames in another order. `how` says how the splits
    were drawn; nothing where they are the owner's."""

    name: str
    rows: tuple[Listed, ...]  # sorted by name
    classes: tuple[str, ...]
    words: tuple[str, ...]
    stratum: tuple[str, ...] = ()
    mirror: tuple[int | None, ...] = ()
    how: str = ""

    @property
    def folds(self) -> int:
        return len(self.rows[0].split) if self.rows else 1

    def of(self, split: str, fold: int = 1) -> list[Listed]:
        """The rows that a fold, counted from 1, has in a split."""
        return [row for row in self.rows if row.split[fold - 1] == split]

    def splits(self, fold: int = 1) -> list[str]:
        """Those that have videos."""
        there = {row.split[fold - 1] for row in self.rows}
        return [split for split in SPLITS if split in there]

    def evaluation(self, fold: int = 1) -> str:
        """The split that is reported on: test, or val where the test labels are not public."""
        there = self.splits(fold)
        return "val" if "val" in there and "test" not in there else "test"


class Stored(Protocol):
    """Features that are left in the store until they are asked for, chosen as rows of an array are."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, some: NDArray[np.int64], /) -> "Stored": ...


@dataclass(frozen=True, slots=True)
class FrameSet:
    """The features of one split: N videos in V views of T frames (one frame, where only their mean is wanted). In
    memory, or in the store, where they would not fit."""

    features_NVTD: NDArray[np.floating[Any]] | Stored
    label_N: NDArray[np.int64]
    id_N: tuple[str, ...]  # their names in the list
    missing: int  # videos of the list that have no features
    group_N: tuple[str, ...] = ()  # what each belongs to; empty: nothing is known
    remark: str = ""  # where the features are, if not in memory


@dataclass(frozen=True, slots=True)
class Run:
    """One evaluated run: what it was, and what it said about every test video."""

    method: str
    seed: int
    scores_NC: NDArray[np.float32]
    label_N: NDArray[np.int64]
    id_N: tuple[str, ...]
    classes: tuple[str, ...]
    stratum: tuple[str, ...] = ()  # of each class
    mirror: tuple[int | None, ...] = ()
    group_N: tuple[str, ...] = ()  # of each video: the film it was cut from, the person; empty: nothing is known
    about: dict[str, Any] = field(default_factory=dict)  # list, fold, config, fingerprint, environment, missing, …


@dataclass(frozen=True, slots=True)
class Step:
    """A row against the row above. `changed` counts videos whose hits differ for at least one pair of seeds."""

    gain: float
    low: float
    high: float
    p: float  # over all seeds, sign-flip permutation by video, Holm-corrected over the table
    seed_p: list[float]  # per seed, uncorrected: McNemar's exact test, or as `p` where videos do not stand alone
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
    strata: dict[str, float]
    folds: dict[int, float]  # top1 of each fold, where there are several; `top1` is their mean
    mirror: float | None
    mirror_n: int
    step: Step | None = None
