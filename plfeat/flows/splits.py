"""A desk in, what a training may see out: training videos for each seed, validation videos, the videos of the test."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from plfeat.config import TrainConfig
from plfeat.desk import Desk
from plfeat.errors import DataError, UsageError
from plfeat.records import FrameSet
from plfeat.train.build import pools
from plfeat.train.features import SHARE, free_memory
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

    def learned(self, member: int) -> NDArray[np.int64]:
        """The rows of `train` that one seed learns from."""
        rows: NDArray[np.int64] = self.chosen_EN[member].numpy()
        return rows


def splits(config: TrainConfig, seeds: tuple[int, ...], desk: Desk, device: str = "cpu") -> Splits:
    train = read(desk, "train", config, device)
    _check_classes(train, desk, config.data.allow_empty)
    kept, held = np.arange(len(train.label_N)), None
    if config.data.holdout:
        kept, held = hold_out(train.label_N, config.data.holdout, seed=0)
        if not len(held):
            raise DataError(
                f"{desk.where}: no class has two training videos, so data.holdout can keep none of them back"
            )
    label_N = train.label_N[kept]
    shots = config.data.shots
    remarks = () if shots is None else _few(label_N, shots, desk)
    chosen = [kept if shots is None else kept[few_shots(label_N, shots, seed)] for seed in seeds]
    val, where = _validation(config, desk, train, held, device)
    if val is None and config.select == "best":
        raise UsageError(
            f"select=best: {no_val(desk)}; keep some training videos back with --set data.holdout=0.1, "
            "or leave select at last"
        )
    remarks += tuple(frames.remark for frames in (train, val) if frames and frames.remark)
    return Splits(train, torch.from_numpy(np.stack(chosen)), val, where, remarks)


def read(desk: Desk, split: str, config: TrainConfig, device: str = "cpu") -> FrameSet:
    """As much of a split as the method looks at: every frame, or only their mean. What does not fit where it is trained
    on stays in the store."""
    pooled = config.method not in ("match", "linear") or pools(config)
    return desk.split(split, pooled, room=int(SHARE * free_memory(torch.device(device))))


def _few(label_N: NDArray[np.int64], shots: int, desk: Desk) -> tuple[str, ...]:
    """A class that has fewer gives what it has, as in Dassl and the papers that build on it; but where no class has
    so many, a table would name what is not there."""
    counts = np.bincount(label_N, minlength=len(desk.words))
    if counts.max() < shots:
        raise UsageError(
            f"data.shots={shots}: no class of {desk.where} has more than {counts.max()} training videos; "
            "at most that, or leave it out"
        )
    short = np.flatnonzero((counts > 0) & (counts < shots))
    if not len(short):
        return ()
    first = desk.words[short[0]]
    return (
        f"data.shots={shots}: {len(short)} of {len(counts)} classes have fewer training videos and give all of them, "
        f"the first is {first!r} with {counts[short[0]]}",
    )


def _check_classes(train: FrameSet, desk: Desk, allow_empty: bool) -> None:
    counts = np.bincount(train.label_N, minlength=len(desk.words))
    if (counts > 0).sum() < 2:
        raise DataError(f"{desk.where}: training videos of one class only; there is nothing to tell apart")
    if not allow_empty and (counts == 0).any():
        name = desk.words[int(counts.argmin())]
        raise DataError(
            f"{desk.where}: {int((counts == 0).sum())} of {len(counts)} classes have no training video with "
            f"features, the first is {name!r}; --set data.allow_empty=true trains without"
        )


def _validation(
    config: TrainConfig, desk: Desk, train: FrameSet, held: NDArray[np.int64] | None, device: str
) -> tuple[FrameSet | None, str]:
    """Held-out training videos, or the split val where it is not what is reported on."""
    if held is not None:
        frames = FrameSet(
            train.features_NVTD[held], train.label_N[held], tuple(train.id_N[row] for row in held), missing=0
        )
        return frames, f"{len(held)} held-out training videos"
    if desk.evaluation == "val" or not desk.has_features("val"):
        return None, ""
    frames = read(desk, "val", config, device)
    return frames, f"split val ({len(frames.label_N)} videos)"


def no_val(desk: Desk) -> str:
    return f"{desk.where} reports on its split val" if desk.evaluation == "val" else f"{desk.where} has no split val"
