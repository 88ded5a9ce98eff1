"""Shared parts, all real: toy videos on disk, the shipped toy CLIP, two caches."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import first_cases
import open_clip
import pytest
import torch
from by_file import ByFile, spread
from hypothesis import HealthCheck, settings

from plfeat.backbone import load as loading
from plfeat.backbone.load import Backbone
from plfeat.backbone.text import TextTower
from plfeat.config import ExtractConfig, TrainConfig
from plfeat.desk import Desk
from plfeat.flows.backbones import open_backbone
from plfeat.flows.desks import open_desk
from plfeat.flows.extract import extract
from plfeat.flows.splits import splits
from plfeat.means import Means
from plfeat.model.templates import TEMPLATES
from plfeat.presets import idle_keys, train_config
from plfeat.records import silent
from plfeat.settings import build
from plfeat.shards.store import Store, open_store
from plfeat.toy.videos import make
from plfeat.train.build import Bare, Material, build_learner, build_tip, resident, tip_keys
from plfeat.train.fleet import Learner, Samples

HOME = Path(__file__).resolve().parents[1]
ENVIRONMENT = os.environ | {"PYTHONPATH": f"{HOME}:{HOME / 'cli'}", "OMP_NUM_THREADS": "1"}
"""For commands run as processes of their own, from any folder."""

torch.set_num_threads(1)  # what is computed here is small: beside other work two threads only wait for each other

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")  # how long an example takes says how busy the machine is

# pure functions, asked for the same by every command: once a process is enough
loading.token_table, open_clip.get_tokenizer = cache(loading.token_table), cache(open_clip.get_tokenizer)

ONE = Means(workers=1)
"""A second decoder takes longer to start than it has to do here."""


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    spread(config)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    first_cases.mark(items)


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and config.get_verbosity() == 0:  # the processes of xdist have no reporter
        config.pluginmanager.register(ByFile(reporter))


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
def toy_store(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    config = build(ExtractConfig, dataset="toy", model="toy", shard=32)
    return open_store(extract(config, toy_folder, tmp_path_factory.mktemp("cache"), silent, ONE).path)


@pytest.fixture(scope="session")
def toy_desk(toy_store: Store) -> Desk:
    return open_desk(toy_store.path)


@pytest.fixture(scope="session")
def small_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 toy videos: of every class one to train on and one to test on."""
    folder = tmp_path_factory.mktemp("data") / "toy"
    make(folder, videos=48, seed=3, tick=silent, workers=1)
    return folder


@pytest.fixture(scope="session")
def small_store(small_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Six shards of eight videos."""
    config = build(ExtractConfig, dataset="toy", model="toy", shard=8)
    return open_store(extract(config, small_folder, tmp_path_factory.mktemp("cache"), silent, ONE).path)


@pytest.fixture(scope="session")
def small_desk(small_store: Store) -> Desk:
    return open_desk(small_store.path)


def extracted(folder: Path, cache: Path, dataset: str = "folder", **settings: Any) -> Desk:
    """A desk over what an extraction makes of a folder of videos."""
    config = build(ExtractConfig, dataset=dataset, model="toy", settings=settings)
    return open_desk(extract(config, folder, cache, silent, ONE).path)


@dataclass(frozen=True)
class Said:
    """What a shell would see of a command."""

    code: int
    out: str
    err: str


@pytest.fixture
def plfeat(capfd: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """A command, in this process: one of its own imports torch for seconds, and is worth it where only a process shows
    what is claimed (signals, a closed stderr, what is imported)."""

    def run(*arguments: str) -> Said:
        capfd.readouterr()
        from plfeat_cli.main import main

        return Said(main(list(arguments)), *capfd.readouterr())

    return run


def learner_of(
    config: TrainConfig, desk: Desk, tower: TextTower, own: dict[str, list[Any]], device: str = "cpu"
) -> tuple[Learner, Samples, torch.Tensor, list[TrainConfig]]:
    """A fleet's parts over a desk, a member a seed; `own` gives every member its value of a dotted setting."""
    seen, members = splits(config.model_copy(update={"select": "last"}), config.seeds, desk), []
    for place, seed in enumerate(config.seeds):
        tree = config.model_dump() | {"seeds": (seed,)}
        for key, values in own.items():
            section, name = key.split(".")
            tree[section] |= {name: values[place]}
        members.append(TrainConfig.model_validate(tree))
    train = resident(seen.train, config, torch.device(device))
    material = Material(Bare(tower), desk.words, TEMPLATES, *seen.train.features_NVTD.shape[2:], scale=2.0)
    learner = (
        build_tip(members, material, *tip_keys(train, seen.chosen_EN))
        if config.method == "tip-adapter-f"
        else build_learner(members, material, torch.device(device))
    )
    return learner, train, seen.chosen_EN, members
