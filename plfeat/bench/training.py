"""How fast training over cached features is, against what most such trainers do, and against encoding frames in every
step.

Four ways to take the same step (class-specific contexts, mean frames, the matching loss, AdamW), one after the other in
every round; medians of their ratios:

    naive   the plain trainer of naive.py
    one     a fleet of one
    fleet   a fleet of many; its samples are counted for every member
    live    a fleet of one whose frames go through the image tower in every step, already decoded

Shapes: E members, B samples, N videos, T frames, U texts, D width.
"""

import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from plfeat.backbone.load import Backbone
from plfeat.backbone.text import TextTower
from plfeat.backbone.vision import choose_device
from plfeat.bench.naive import NaiveTrainer
from plfeat.bench.timing import Ways, counted, device_name, product_rate, rounds
from plfeat.config import TrainConfig
from plfeat.errors import UsageError
from plfeat.presets import train_config
from plfeat.records import Tick
from plfeat.settings import changes
from plfeat.train.batches import Batch, distinct, widened
from plfeat.train.build import Bare, Material, build_learner
from plfeat.train.fleet import Fleet, Samples

_DOES = "balancing carrying catching cleaning cutting drawing dropping fixing folding holding juggling kicking lifting "
_DOES += "opening painting pouring pushing stacking throwing washing"
_WITH = "apples balls bottles bowls boxes bricks candles chairs clothes coins cups doors eggs flowers knives ladders "
_WITH += "paper plates ropes shoes"


@dataclass(frozen=True)
class Task:
    """What is trained: so many `steps` in a round, over so many `classes`, with a fleet of so many `members`."""

    classes: int
    frames: int
    members: int
    steps: int


@dataclass(frozen=True)
class TrainRates:
    """Medians over the rounds. `samples` a second, over all members; `flops` of one step of one member."""

    device: str
    model: str
    classes: int
    batch: int
    frames: int
    members: int
    samples: dict[str, float]
    one_of_naive: float
    fleet_of_one: float
    one_of_live: float
    flops: dict[str, float]
    matmul_flops: float  # a second, of one large product
    one_of_matmul: float  # the share of it that a fleet of one reaches
    loss_difference: float  # between naive and one, on their first step


def bench_train(
    config: TrainConfig, load: Callable[[], Backbone], task: Task, repeats: int, device: str | None, tick: Tick
) -> TrainRates:
    """`load` opens the model, once everything else is known to be in order."""
    _require_plain(config)
    class_names(task.classes)
    on, backbone = torch.device(choose_device(device)), load()
    with tempfile.TemporaryDirectory() as folder:
        trainers = make_trainers(config, backbone, task, on, Path(folder))
        difference = abs(trainers.naive.first_loss() - _first_loss(trainers.one, trainers.naive))
        return _measure(trainers, task, str(backbone.about["model"]), difference, repeats, tick)


@dataclass(frozen=True)
class Trainers:
    """All that take part, over the same made-up videos."""

    naive: NaiveTrainer
    one: Fleet
    many: Fleet
    live: "LiveTrainer"

    @property
    def ways(self) -> Ways:
        return {
            "naive": self.naive.epoch,
            "one": lambda: self.one.one_epoch(None),
            "fleet": lambda: self.many.one_epoch(None),
            "live": self.live.epoch,
        }


def make_trainers(config: TrainConfig, backbone: Backbone, task: Task, on: torch.device, folder: Path) -> Trainers:
    names, draw = class_names(task.classes), np.random.default_rng(0)
    label_N = draw.integers(0, task.classes, config.optim.batch * task.steps)
    width = int(visual_of(backbone).output_dim)
    features_NTD = draw.standard_normal((len(label_N), task.frames, width), dtype=np.float32).astype(np.float16)
    tower = TextTower(backbone.model.to(on), backbone.tokenizer)
    material = Material(Bare(tower), names, (), task.frames, width)
    samples = Samples(torch.from_numpy(features_NTD)[:, None].to(on), torch.from_numpy(label_N))
    one = _fleet(config, 1, material, samples)
    return Trainers(
        naive=NaiveTrainer(backbone, material, features_NTD, label_N, one, folder),
        one=one,
        many=_fleet(config, task.members, material, samples),
        live=LiveTrainer(backbone, _fleet(config, 1, material, samples), config.optim.batch * task.frames),
    )


def _measure(trainers: Trainers, task: Task, model: str, difference: float, repeats: int, tick: Tick) -> TrainRates:
    one, ways = trainers.one, trainers.ways
    on = one.train.features_NVTD.device
    members = {name: task.members if name == "fleet" else 1 for name in ways}
    flops = {name: counted(way) / task.steps / members[name] for name, way in ways.items()}  # warms up as well
    seconds = rounds(ways, repeats, tick, on)
    samples = {
        name: one.batch * task.steps * members[name] / statistics.median(spent) for name, spent in seconds.items()
    }

    def ratio(upper: str, lower: str) -> float:
        """How many times as fast as the upper one the lower one is, for a sample of a member."""
        share = members[lower] / members[upper]
        return statistics.median(share * u / b for u, b in zip(seconds[upper], seconds[lower], strict=True))

    matmul = product_rate(on, torch.bfloat16 if one.halved else torch.float32)
    return TrainRates(
        device=device_name(on) if on.type == "cuda" else f"cpu, {torch.get_num_threads()} threads",
        model=model,
        classes=task.classes,
        batch=one.batch,
        frames=task.frames,
        members=task.members,
        samples=samples,
        one_of_naive=ratio("naive", "one"),
        fleet_of_one=ratio("one", "fleet"),
        one_of_live=ratio("live", "one"),
        flops=flops,
        matmul_flops=matmul,
        one_of_matmul=flops["one"] * samples["one"] / one.batch / matmul,
        loss_difference=difference,
    )


class LiveTrainer:
    """A fleet of one that sees pictures, not features."""

    def __init__(self, backbone: Backbone, fleet: Fleet, frames: int) -> None:
        self.fleet, self.visual = fleet, visual_of(backbone)
        size: Any = self.visual.image_size
        height, width = size if isinstance(size, tuple) else (size, size)
        self.pictures = torch.zeros(frames, 3, int(height), int(width), device=fleet.train.features_NVTD.device)

    def epoch(self) -> None:
        for _ in range(self.fleet.per_epoch):
            pictures, halved = self.pictures, self.fleet.halved
            with torch.no_grad(), torch.autocast(pictures.device.type, torch.bfloat16, enabled=halved):
                self.visual(pictures)
        self.fleet.one_epoch(None)


def class_names(count: int) -> tuple[str, ...]:
    names = tuple(f"{does} {thing}" for does, thing in product(_DOES.split(), _WITH.split()))
    if count > len(names):
        raise UsageError(f"--classes {count}: at most {len(names)}")
    return names[:count]


def visual_of(backbone: Backbone) -> Any:
    return backbone.model.visual


def _require_plain(config: TrainConfig) -> None:
    other = [key for key in changes(config, train_config()) if not key.startswith("optim.")]
    if other:
        raise UsageError(
            f"bench train: {other[0]} would make it another step than the plain trainer's; set optim.* only"
        )


def _fleet(config: TrainConfig, count: int, material: Material, samples: Samples) -> Fleet:
    members = [config.model_copy(update={"seeds": (seed,)}) for seed in range(count)]
    chosen_EN = torch.arange(len(samples.label_N)).expand(count, -1)
    return Fleet(build_learner(members, material, samples.features_NVTD.device), members, samples, chosen_EN)


def _first_loss(fleet: Fleet, naive: NaiveTrainer) -> float:
    """The fleet's loss on the naive trainer's first batch, with the naive trainer's contexts."""
    learner: Any = fleet.learner
    contexts = learner.source.prompts.contexts
    kept = contexts.detach().clone()
    contexts.data.copy_(naive.contexts.detach()[None])
    texts_EU, own_EB, used = distinct(fleet.train.label_N[None, : fleet.batch])
    label_EB, own_EB = fleet.train.label_N[None, : fleet.batch].to(contexts.device), own_EB.to(contexts.device)
    batch = Batch(label_EB, label_EB, label_EB, texts_EU[:, : int(used.max())], own_EB)
    first_BVTD = next(iter(fleet.train.features_NVTD.split(fleet.batch)))
    with torch.no_grad():
        loss = float(learner.loss(widened(first_BVTD[None, :, 0]), batch))
    contexts.data.copy_(kept)
    return loss
