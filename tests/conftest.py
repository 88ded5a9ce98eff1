"""Shared parts, all real: toy videos on disk, the shipped toy CLIP, one cache, one whole demo."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from plfeat.backbone.load import Backbone
from plfeat.backbone.text import TextTower
from plfeat.config import ExtractConfig, TrainConfig, build
from plfeat.flows.backbones import open_backbone
from plfeat.flows.demo import Demo, demo
from plfeat.flows.extract import extract
from plfeat.flows.splits import splits
from plfeat.model.templates import TEMPLATES
from plfeat.presets import idle_keys, train_config
from plfeat.records import silent
from plfeat.shards.reader import Cache, open_cache
from plfeat.toy.videos import make
from plfeat.train.build import Material, build_learner, build_tip, resident, tip_keys
from plfeat.train.fleet import Learner, Samples

HOME = Path(__file__).resolve().parents[1]
ENVIRONMENT = os.environ | {"PYTHONPATH": f"{HOME}:{HOME / 'cli'}", "OMP_NUM_THREADS": "1"}
"""For commands run as processes of their own, from any folder."""

torch.set_num_threads(1)  # what is computed here is small: beside other work two threads only wait for each other


def quick(preset: str, wanted: Sequence[str], *sure: str) -> TrainConfig:
    """A preset with `sure` overrides, and those of the `wanted` ones that would change anything."""
    idle = idle_keys(train_config(preset, overrides=sure))
    kept = [override for override in wanted if override.partition("=")[0] not in idle]
    return train_config(preset, overrides=[*kept, *sure])


@pytest.fixture(scope="session")
def toy_backbone() -> Backbone:
    return open_backbone("toy", None)


@pytest.fixture
def toy_tower(toy_backbone: Backbone) -> TextTower:
    return TextTower(toy_backbone.model, toy_backbone.tokenizer)


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 toy videos, five a class."""
    folder = tmp_path_factory.mktemp("data") / "toy"
    make(folder, videos=120, seed=3, tick=silent, workers=1)
    return folder


@pytest.fixture(scope="session")
def toy_cache(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Cache:
    config = build(ExtractConfig, dataset="toy", model="toy", shard=32)
    return open_cache(extract(config, toy_folder, tmp_path_factory.mktemp("cache"), silent).path)


def learner_of(
    config: TrainConfig, cache: Cache, tower: TextTower, own: dict[str, list[Any]], device: str = "cpu"
) -> tuple[Learner, Samples, torch.Tensor, list[TrainConfig]]:
    """A fleet's parts over a cache, a member a seed; `own` gives every member its value of a dotted setting."""
    seen, members = splits(config.model_copy(update={"select": "last"}), config.seeds, cache), []
    for place, seed in enumerate(config.seeds):
        tree = config.model_dump() | {"seeds": (seed,)}
        for key, values in own.items():
            section, name = key.split(".")
            tree[section] |= {name: values[place]}
        members.append(TrainConfig.model_validate(tree))
    train = resident(seen.train, config, torch.device(device))
    material = Material(tower, cache.classes, TEMPLATES, *seen.train.features_NVTD.shape[2:], start_scale=2.0)
    learner = (
        build_tip(members, material, *tip_keys(train, seen.chosen_EN))
        if config.method == "tip-adapter-f"
        else build_learner(members, material, torch.device(device))
    )
    return learner, train, seen.chosen_EN, members


@dataclass(frozen=True)
class DemoRun:
    demo: Demo
    out: Path
    work: Path


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory: pytest.TempPathFactory) -> DemoRun:
    """The demo as the README runs it, in folders of its own."""
    base = tmp_path_factory.mktemp("demo")
    done = demo(base / "runs", base / "reports", base / "cache", 960, train_config(), silent)
    return DemoRun(done, base / "reports", base / "runs")
