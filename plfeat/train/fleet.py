"""Cached features in, trained members out: all members of a fleet as one batched model. A single run is a fleet of one.

Every trainable number belongs to one member, so their losses are summed and each gets exactly the gradient it would get
alone. The order of the data is a pure function of seed and epoch; so a state is parameters, moments and a curve.

Shapes: E members, N videos, V views, T frames, B samples, C classes, D width.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from plfeat.config import OptimConfig, TrainConfig
from plfeat.device import full_precision
from plfeat.errors import DataError
from plfeat.metrics.classify import top_k_hits
from plfeat.records import Tick
from plfeat.train.adamw import AdamW, Group
from plfeat.train.batches import Batch, epoch_plan, steps_of, widened
from plfeat.train.features import Features, fed
from plfeat.train.schedule import rate_factor


class Learner(Protocol):
    """What a fleet trains. All parameters have a leading member axis, except those of a tuned tower, which belongs to
    the only member."""

    @property
    def per_class(self) -> int: ...
    def loss(self, frames_EBTD: torch.Tensor, batch: Batch, /) -> torch.Tensor: ...
    def score(self, features_NVTD: Features, /) -> torch.Tensor: ...
    def named_parameters(self) -> Any: ...


@dataclass(frozen=True)
class Samples:
    """Videos for the device that trains."""

    features_NVTD: Features
    label_N: torch.Tensor  # on the CPU, where batches are planned


@dataclass(frozen=True)
class Epoch:
    """One line of a training curve, a value per member."""

    epoch: int
    rate: float  # the last step's, as a share of the base rate
    loss_E: list[float]
    val_top1_E: list[float] | None


@dataclass
class State:
    """Where training is: all that is needed to go on with the same results."""

    epoch: int = 0
    curve: list[Epoch] = field(default_factory=list)
    stopped: dict[int, int] = field(
        default_factory=dict
    )  # member: the epoch in which its loss or a score was no number
    best_epoch: dict[int, int] = field(default_factory=dict)
    best: dict[str, torch.Tensor] = field(default_factory=dict)  # every member's parameters of its best epoch


def trainable(learner: Learner) -> dict[str, torch.nn.Parameter]:
    return {name: value for name, value in learner.named_parameters() if value.requires_grad}


def is_tower(name: str) -> bool:
    return ".tower." in f".{name}"


def parameter_groups(learner: Learner, optims: list[OptimConfig]) -> list[Group]:
    """Every trainable parameter, in exactly one group. Contexts and matrices decay; scales and offsets do not."""

    def group(name: str, chosen: Callable[[str, torch.nn.Parameter], bool], rate: str, decays: bool) -> Group:
        taken = [key for key, value in left.items() if chosen(key, value)]
        return Group(
            name,
            tuple(left.pop(key) for key in taken),
            torch.tensor([getattr(optim, rate) for optim in optims]),
            torch.tensor([optim.weight_decay if decays else 0.0 for optim in optims]),
        )

    left = trainable(learner)
    groups = [
        group("contexts", lambda key, _: key.endswith("contexts"), "rate", True),
        group("scale", lambda key, _: key.endswith("log_scale_E"), "rate_of_scale", False),
        group("tower matrices", lambda key, value: is_tower(key) and value.dim() > 1, "encoder_rate", True),
        group("tower vectors", lambda key, _: is_tower(key), "encoder_rate", False),
        group("module matrices", lambda key, _: "weight" in key.split(".")[-1] or ".mix." in key, "module_rate", True),
        group("module vectors", lambda *_: True, "module_rate", False),
    ]
    return [found for found in groups if found.parameters]


def precision(wanted: str | None, device: torch.device) -> str:
    """The precision of a step: what `optim.compute` says, else what suits the device."""
    return wanted or ("bfloat16" if device.type == "cuda" else "float32")


class Fleet:
    """Members being trained: the model, its optimiser and its state."""

    def __init__(self, learner: Learner, members: list[TrainConfig], train: Samples, chosen_EN: torch.Tensor) -> None:
        self.learner, self.members, self.train, self.chosen_EN = learner, members, train, chosen_EN
        self.optim = members[0].optim  # what is read from it is the same for all members
        self.seeds = tuple(member.seeds[0] for member in members)
        self.batch = max(2, min(self.optim.batch, chosen_EN.shape[1]))
        self.per_epoch = steps_of(chosen_EN.shape[1], self.batch)
        if self.per_epoch == 0:
            raise DataError(
                f"{chosen_EN.shape[1]} training video has features; at least 2 are needed to match against each other"
            )
        device = train.features_NVTD.device
        self.halved = precision(self.optim.compute, device) == "bfloat16"
        groups = parameter_groups(learner, [member.optim for member in members])
        self.adamw = AdamW(groups, self.optim.beta1, self.optim.beta2)
        self.state = State()

    def run(self, val: Samples | None, tick: Tick, after: Callable[["Fleet"], None] = lambda fleet: None) -> None:
        """Trains to the last epoch; calls `after` when an epoch is done."""
        while self.state.epoch < self.optim.epochs and len(self.state.stopped) < len(self.members):
            self.one_epoch(val)
            after(self)
            tick("training", self.state.epoch, self.optim.epochs, _note(self.state.curve[-1]))

    def one_epoch(self, val: Samples | None) -> None:
        steps = self.optim.epochs * self.per_epoch
        warmup = int(self.optim.warmup * self.per_epoch)
        step, factor = self.state.epoch * self.per_epoch, 0.0
        total_E = torch.zeros(len(self.members), device=self.train.features_NVTD.device)
        for frames_EBTD, batch in self.batches():
            factor = rate_factor(step, steps, warmup)
            total_E += self.step(frames_EBTD, batch, factor)
            step += 1
        self.state.epoch += 1
        self._note_epoch(factor, (total_E / self.per_epoch).tolist(), val)

    def batches(self) -> Iterator[tuple[torch.Tensor, Batch]]:
        """The frames `[E, B, T, D]` of the epoch that comes next, and whose they are."""
        return fed(self.train.features_NVTD, self.plan)

    def plan(self, device: torch.device | None = None) -> Iterator[Batch]:
        """The batches of the epoch that comes next."""
        features = self.train.features_NVTD
        return epoch_plan(
            self.seeds,
            self.state.epoch,
            self.chosen_EN,
            self.train.label_N,
            self.batch,
            features.shape[1],
            self.learner.per_class,
            device or features.device,
        )

    def step(self, frames_EBTD: torch.Tensor, batch: Batch, factor: float) -> torch.Tensor:
        """Every member's loss `[E]`, before the step. Nothing here waits for the device."""
        device = frames_EBTD.device
        with full_precision(device):
            with torch.autocast(device.type, torch.bfloat16) if self.halved else nullcontext():
                loss_E = self.learner.loss(widened(frames_EBTD), batch)
            self.adamw.zero_grad()
            loss_E.sum().backward()
            self.adamw.step(factor)
        return loss_E.detach()

    def _note_epoch(self, factor: float, loss_E: list[float], val: Samples | None) -> None:
        state = self.state
        for member, loss in enumerate(loss_E):
            if not math.isfinite(loss):
                state.stopped.setdefault(member, state.epoch)
        tops = self.top1(val) if val else None
        if tops is not None and self.members[0].select == "best":
            self._keep_best(tops)
        state.curve.append(Epoch(state.epoch, factor, loss_E, tops))

    def top1(self, val: Samples) -> list[float]:
        """The accuracy of every member. A member whose scores are not numbers is stopped: the last step of an epoch may
        have been too large, and then that epoch is not kept as the best."""
        scores_ENC = self.learner.score(val.features_NVTD).cpu().numpy()
        for member in np.flatnonzero(~np.isfinite(scores_ENC).all(axis=(1, 2))).tolist():
            self.state.stopped.setdefault(member, self.state.epoch)
        label_N = val.label_N.numpy()
        return [float(top_k_hits(scores_NC, label_N, 1).mean()) for scores_NC in scores_ENC]

    def _keep_best(self, tops: list[float]) -> None:
        """The earliest of the best epochs, for each member by itself."""
        state, curve = self.state, self.state.curve
        for member, top in enumerate(tops):
            before = [e.val_top1_E[member] for e in curve if e.val_top1_E is not None]
            if member in state.stopped or (before and top <= max(before)):
                continue
            state.best_epoch[member] = state.epoch
            for name, value in trainable(self.learner).items():
                kept = state.best.setdefault(name, value.detach().clone())
                own = slice(None) if is_tower(name) else member
                kept[own] = value.detach()[own]

    def tested_epoch(self, member: int) -> int:
        return self.state.best_epoch.get(member, self.state.epoch)

    def choose(self) -> dict[str, torch.Tensor]:
        """Puts every member's chosen epoch into the model; returns what the last one was."""
        last = {name: value.detach().clone() for name, value in trainable(self.learner).items()}
        for name, value in trainable(self.learner).items():
            if name in self.state.best:
                value.data.copy_(self.state.best[name])
        return last


def score_by_member(learner: Learner, samples: Samples) -> NDArray[np.float32]:
    """Class probabilities `[E, N, C]`."""
    return np.asarray(learner.score(samples.features_NVTD).cpu().numpy())


def _note(epoch: Epoch) -> str:
    finite = [loss for loss in epoch.loss_E if math.isfinite(loss)]
    said = f"loss {np.mean(finite):.3f}" if finite else "diverged"
    tops = "" if epoch.val_top1_E is None else f", val {100 * float(np.mean(epoch.val_top1_E)):.1f} %"
    return said + tops
