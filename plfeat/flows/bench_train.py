"""How fast training over a cache is, against what most cached trainers do, and against encoding frames in every step.

Four ways to take the same step (class-specific contexts, mean frames, the matching loss, AdamW), one after the other in
every round; medians of their ratios:

    naive   a DataLoader over HDF5, every class through all 77 tokens of open_clip's own tower, one member
    one     a fleet of one
    fleet   a fleet of many; its samples are counted for every member
    live    a fleet of one whose frames go through the image tower in every step, already decoded
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

from plfeat.backbone.load import Backbone
from plfeat.backbone.text import TextTower
from plfeat.backbone.vision import choose_device
from plfeat.config import TrainConfig
from plfeat.device import full_precision
from plfeat.errors import UsageError
from plfeat.flows.backbones import open_backbone
from plfeat.flows.bench import counted
from plfeat.loss.match import matching_loss
from plfeat.presets import train_config
from plfeat.records import Tick
from plfeat.settings import changes
from plfeat.train.build import Material, build_learner
from plfeat.train.fleet import Fleet, Samples

_LARGE = {"cpu": 2048, "cuda": 8192}  # rows of a product that nothing but the arithmetic limits
_DOES = "balancing carrying catching cleaning cutting drawing dropping fixing folding holding juggling kicking lifting "
_DOES += "opening painting pouring pushing stacking throwing washing"
_WITH = "apples balls bottles bowls boxes bricks candles chairs clothes coins cups doors eggs flowers knives ladders "
_WITH += "paper plates ropes shoes"


@dataclass(frozen=True)
class Pace:
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


def class_names(count: int) -> tuple[str, ...]:
    names = tuple(f"{does} {thing}" for does, thing in product(_DOES.split(), _WITH.split()))
    if count > len(names):
        raise UsageError(f"--classes {count}: at most {len(names)}")
    return names[:count]


def bench_train(
    config: TrainConfig,
    model: str,
    pretrained: str | None,
    *,
    classes: int,
    frames: int,
    members: int,
    steps: int,
    repeats: int,
    device: str | None,
    tick: Tick,
) -> Pace:
    _require_plain(config)
    on = torch.device(choose_device(device))
    backbone = open_backbone(model, pretrained)
    batch, names = config.optim.batch, class_names(classes)
    draw = np.random.default_rng(0)
    label_N = draw.integers(0, classes, batch * steps)
    width = int(visual_of(backbone).output_dim)
    features_NTD = draw.standard_normal((len(label_N), frames, width), dtype=np.float32).astype(np.float16)
    tower = TextTower(backbone.model.to(on), backbone.tokenizer)
    material = Material(tower, names, (), frames, width, float(backbone.model.logit_scale))  # type: ignore[arg-type]
    samples = Samples(torch.from_numpy(features_NTD)[:, None].to(on), torch.from_numpy(label_N))
    one, many = (_fleet(config, count, material, samples) for count in (1, members))
    with tempfile.TemporaryDirectory() as folder:
        naive = _Naive(backbone, material, features_NTD, label_N, one, Path(folder))
        live = _Live(backbone, _fleet(config, 1, material, samples), batch * frames)
        ways: dict[str, tuple[Callable[[], None], int]] = {
            "naive": (naive.epoch, 1),
            "one": (lambda: one.one_epoch(None), 1),
            "fleet": (lambda: many.one_epoch(None), members),
            "live": (live.epoch, 1),
        }
        difference = abs(naive.loss_of(0) - _first_loss(one, naive))
        flops = {name: counted(way) / steps / count for name, (way, count) in ways.items()}  # warms up as well
        seconds = _rounds({name: way for name, (way, _) in ways.items()}, repeats, on, tick)
    samples_s = {name: batch * steps * ways[name][1] / statistics.median(spent) for name, spent in seconds.items()}

    def ratio(upper: str, lower: str) -> float:
        """How many times as fast as the upper one the lower one is, for a sample of a member."""
        share = ways[lower][1] / ways[upper][1]
        return statistics.median(share * u / b for u, b in zip(seconds[upper], seconds[lower], strict=True))

    matmul = _matmul_flops(on, torch.bfloat16 if one.halved else torch.float32)
    return Pace(
        device=torch.cuda.get_device_name(on) if on.type == "cuda" else f"cpu, {torch.get_num_threads()} threads",
        model=model,
        classes=classes,
        batch=batch,
        frames=frames,
        members=members,
        samples=samples_s,
        one_of_naive=ratio("naive", "one"),
        fleet_of_one=ratio("one", "fleet"),
        one_of_live=ratio("live", "one"),
        flops=flops,
        matmul_flops=matmul,
        one_of_matmul=flops["one"] * samples_s["one"] / batch / matmul,
        loss_difference=difference,
    )


def _require_plain(config: TrainConfig) -> None:
    other = [key for key in changes(config, train_config()) if not key.startswith("optim.")]
    if other:
        raise UsageError(
            f"bench train: {other[0]} would make it another step than the plain trainer's; set optim.* only"
        )


def _rounds(
    ways: dict[str, Callable[[], None]], repeats: int, device: torch.device, tick: Tick
) -> dict[str, list[float]]:
    """Every way once in every round."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats):
        for name, way in ways.items():
            seconds[name].append(_timed(way, device))
        tick("measuring", turn + 1, repeats)
    return seconds


def _fleet(config: TrainConfig, count: int, material: Material, samples: Samples) -> Fleet:
    members = [config.model_copy(update={"seeds": (seed,)}) for seed in range(count)]
    chosen_EN = torch.arange(len(samples.label_N)).expand(count, -1)
    return Fleet(build_learner(members, material, samples.features_NVTD.device), members, samples, chosen_EN)


class _Rows(Dataset[tuple[Any, int]]):
    """A video's features from an HDF5 file, opened once, read for every sample."""

    def __init__(self, path: Path) -> None:
        self.file = h5py.File(path)

    def __len__(self) -> int:
        return len(self.file["label"])

    def __getitem__(self, row: int) -> tuple[Any, int]:
        return self.file["features"][row].astype(np.float32), int(self.file["label"][row])


class _Naive:
    """What a cached trainer looks like when nobody has looked into it."""

    def __init__(
        self,
        backbone: Backbone,
        material: Material,
        features_NTD: np.ndarray[Any, Any],
        label_N: np.ndarray[Any, Any],
        fleet: Fleet,
        folder: Path,
    ) -> None:
        """Batch, rate, device and precision are the fleet's."""
        path, device, self.halved = folder / "features.h5", fleet.train.features_NVTD.device, fleet.halved
        with h5py.File(path, "w") as file:
            file["features"], file["label"] = features_NTD, label_N
        inner: Any = backbone.model.text if hasattr(backbone.model, "text") else backbone.model
        self.inner, self.device = inner, device
        self.fixed_CLW, self.eot_C = self._prompts(material, inner, device)
        generator = torch.Generator().manual_seed(0)
        shape = (len(material.classes), 16, self.fixed_CLW.shape[-1])
        self.contexts = (0.02 * torch.randn(shape, generator=generator)).to(device).requires_grad_()
        self.log_scale = torch.tensor(material.start_scale, device=device, requires_grad=True)
        self.optimiser = torch.optim.AdamW([self.contexts, self.log_scale], lr=fleet.optim.rate)
        self.loader = DataLoader(_Rows(path), batch_size=fleet.batch, shuffle=True)

    @staticmethod
    def _prompts(material: Material, inner: Any, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        blanks = " ".join(["x"] * 16)
        ids = material.tower.tokenizer([f"{blanks} {name}." for name in material.classes]).to(device)
        with torch.no_grad():
            return inner.token_embedding(ids), ids.argmax(dim=1)

    def text(self) -> torch.Tensor:
        """Every class, all 77 tokens."""
        inner, prompts = self.inner, self.fixed_CLW.clone()
        prompts[:, 1:17] = self.contexts
        hidden = inner.transformer(prompts + inner.positional_embedding, attn_mask=inner.attn_mask)
        last = inner.ln_final(hidden)[torch.arange(len(prompts)), self.eot_C]
        return F.normalize(last @ inner.text_projection, dim=-1)

    def loss(self, frames_BTD: torch.Tensor, label_B: torch.Tensor) -> torch.Tensor:
        video_BD = F.normalize(frames_BTD.mean(dim=1), dim=-1)
        logits = self.log_scale.exp() * video_BD @ self.text()[label_B].T
        return matching_loss(logits[None], label_B[None], 1.0, 1.0)[0]

    def batches(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for frames, label in self.loader:
            yield frames.to(self.device), label.to(self.device)

    def loss_of(self, first: int) -> float:
        """Of the first batch in the file's order."""
        rows: Any = self.loader.dataset
        size = self.loader.batch_size or 1
        frames, label = zip(*(rows[row] for row in range(first, first + size)), strict=True)
        with torch.no_grad():
            return float(self.loss(torch.tensor(np.stack(frames)).to(self.device), torch.tensor(label).to(self.device)))

    def epoch(self) -> None:
        for frames, label in self.batches():
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.halved):
                loss = self.loss(frames, label)
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()


class _Live:
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


def visual_of(backbone: Backbone) -> Any:
    return backbone.model.visual


def _first_loss(fleet: Fleet, naive: _Naive) -> float:
    """The fleet's loss on the naive trainer's first batch, with the naive trainer's contexts."""
    from plfeat.train.plan import Batch, distinct, widened

    learner: Any = fleet.learner
    contexts = learner.source.prompts.contexts
    kept = contexts.detach().clone()
    contexts.data.copy_(naive.contexts.detach()[None])
    texts_EU, own_EB, used = distinct(fleet.train.label_N[None, : fleet.batch])
    label_EB, own_EB = fleet.train.label_N[None, : fleet.batch].to(contexts.device), own_EB.to(contexts.device)
    batch = Batch(label_EB, label_EB, label_EB, texts_EU[:, : int(used.max())], own_EB)
    with torch.no_grad():
        loss = float(learner.loss(widened(fleet.train.features_NVTD[None, : fleet.batch, 0]), batch))
    contexts.data.copy_(kept)
    return loss


def _timed(way: Callable[[], None], device: torch.device) -> float:
    started = time.perf_counter()
    way()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def _matmul_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of one large product in the step's own precision; the best of a few."""
    size = _LARGE[device.type]
    left, right = torch.randn(2, size, size, device=device, dtype=dtype)

    def multiply() -> None:
        for _ in range(4):
            left @ right

    with full_precision(device):
        multiply()
        return 4 * 2 * size**3 / min(_timed(multiply, device) for _ in range(8))
