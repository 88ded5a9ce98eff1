"""A cache in, what a training may see out: training videos for each seed, validation videos, the videos of the test."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from plfeat.config import TrainConfig
from plfeat.errors import CacheError, DataError, UsageError
from plfeat.records import FrameSet
from plfeat.shards.reader import Cache
from plfeat.train.subset import few_shots, hold_out


@dataclass(frozen=True)
class Splits:
    """`chosen_EN` are the rows of `train` that each seed learns from; `val` shares none of them."""

    train: FrameSet
    chosen_EN: torch.Tensor
    val: FrameSet | None
    where_val: str  # what the validation videos are, in words; empty where there are none
    remarks: tuple[str, ...] = ()  # what a reader of the results should know

    @property
    def label_EN(self) -> NDArray[np.int64]:
        return self.train.label_N[self.chosen_EN.numpy()]

    def learned(self, member: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Features `[N, V, T, D]` and labels that one seed learns from."""
        rows = self.chosen_EN[member].numpy()
        return self.train.features_NVTD[rows].astype(np.float32), self.train.label_N[rows]


def splits(config: TrainConfig, seeds: tuple[int, ...], cache: Cache) -> Splits:
    train = read(cache, "train")
    _check_classes(train, cache, config.data.allow_empty)
    kept, held = np.arange(len(train.label_N)), None
    if config.data.holdout:
        kept, held = hold_out(train.label_N, config.data.holdout, seed=0)
        if not len(held):
            raise DataError(
                f"cache {cache.path}: no class has two training videos, so data.holdout can keep none of them back"
            )
    label_N = train.label_N[kept]
    shots = config.data.shots
    remarks = () if shots is None else _few(label_N, shots, cache)
    chosen = [kept if shots is None else kept[few_shots(label_N, shots, seed)] for seed in seeds]
    val, where = _validation(cache, train, held)
    if val is None and config.select == "best":
        raise UsageError(
            f"select=best: {_no_val(cache)}; keep some training videos back with --set data.holdout=0.1, "
            "or leave select at last"
        )
    return Splits(train, torch.from_numpy(np.stack(chosen)), val, where, remarks)


def _few(label_N: NDArray[np.int64], shots: int, cache: Cache) -> tuple[str, ...]:
    """A class that has fewer gives what it has, as in Dassl and the papers that build on it; but where no class has
    so many, a table would name what is not there."""
    counts = np.bincount(label_N, minlength=len(cache.classes))
    if counts.max() < shots:
        raise UsageError(
            f"data.shots={shots}: no class of {cache.path} has more than {counts.max()} training videos; "
            "at most that, or leave it out"
        )
    short = np.flatnonzero((counts > 0) & (counts < shots))
    if not len(short):
        return ()
    first = cache.classes[short[0]]
    return (
        f"data.shots={shots}: {len(short)} of {len(counts)} classes have fewer training videos and give all of them, "
        f"the first is {first!r} with {counts[short[0]]}",
    )


def read(cache: Cache, split: str) -> FrameSet:
    """A split's features, all of them numbers, and labels, all of them classes."""
    frames = cache.read(split)
    bad = ~np.isfinite(frames.features_NVTD).all(axis=(1, 2, 3))
    if bad.any():
        first = frames.id_N[int(bad.argmax())]
        raise CacheError(
            f"cache {cache.path}, split {split!r}: {int(bad.sum())} videos have features that are not numbers, "
            f"the first is {first!r}; extract them again, in float32 if float16 was too small"
        )
    odd = (frames.label_N < 0) | (frames.label_N >= len(cache.classes))
    if odd.any():
        raise CacheError(
            f"cache {cache.path}, split {split!r}: {int(odd.sum())} videos have labels outside 0 to "
            f"{len(cache.classes) - 1}, the first is {frames.id_N[int(odd.argmax())]!r} with "
            f"{frames.label_N[odd.argmax()]}; extract again from lists that say every video's class"
        )
    return frames


def _check_classes(train: FrameSet, cache: Cache, allow_empty: bool) -> None:
    counts = np.bincount(train.label_N, minlength=len(cache.classes))
    if (counts > 0).sum() < 2:
        raise DataError(f"cache {cache.path}: training videos of one class only; there is nothing to tell apart")
    if not allow_empty and (counts == 0).any():
        name = cache.classes[int(counts.argmin())]
        raise DataError(
            f"cache {cache.path}: {int((counts == 0).sum())} of {len(counts)} classes have no training video with "
            f"features, the first is {name!r}; --set data.allow_empty=true trains without"
        )


def _validation(cache: Cache, train: FrameSet, held: NDArray[np.int64] | None) -> tuple[FrameSet | None, str]:
    """Held-out training videos, or the split val where it is not what is reported on."""
    if held is not None:
        frames = FrameSet(
            train.features_NVTD[held], train.label_N[held], tuple(train.id_N[row] for row in held), missing=0
        )
        return frames, f"{len(held)} held-out training videos"
    entries = [entry for entry in cache.manifest["shards"] if entry["split"] == "val"]
    if cache.evaluation == "val" or not any(entry["failed"] < entry["videos"] for entry in entries):
        return None, ""
    frames = read(cache, "val")
    return frames, f"split val ({len(frames.label_N)} videos)"


def _no_val(cache: Cache) -> str:
    return (
        f"cache {cache.path} reports on its split val"
        if cache.evaluation == "val"
        else f"cache {cache.path} has no split val"
    )
