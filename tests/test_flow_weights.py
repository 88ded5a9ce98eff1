"""Weights from a file, all the way: what they do not say themselves is said once, and later commands keep to it."""

import importlib.util
import json
import shutil
from pathlib import Path

import odd_videos as odd
import pytest
import torch

from plfeat.backbone.load import Backbone
from plfeat.report.runs import load_run
from plfeat.shards.reader import Cache, open_cache
from plfeat_cli.main import main

SQUASHED = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "interpolation": "bilinear", "resize": "squash"}

pytestmark = pytest.mark.skipif(importlib.util.find_spec("decord") is None, reason="decord has no wheel here")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, toy_backbone: Backbone) -> Path:
    """A weights file, and a few videos that are not square."""
    home = tmp_path_factory.mktemp("weights")
    torch.save(toy_backbone.model.state_dict(), home / "weights.pt")
    for seed, name in enumerate(
        ("train/one/a", "train/one/b", "train/two/a", "train/two/b", "test/one/c", "test/two/c")
    ):
        (home / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        odd.video(home / "videos" / f"{name}.mp4", odd.pictures(12, seed=seed))
    return home


@pytest.fixture(scope="module")
def cache(home: Path) -> Cache:
    command = ["extract", "--dataset", "folder", "--root", str(home / "videos"), "--cache", str(home / "cache")]
    command += ["--model", "toy", "--weights", str(home / "weights.pt"), "--decoder", "decord", "--quiet"]
    for fact, value in SQUASHED.items():
        command += ["--set", f"preprocess.{fact}={value if isinstance(value, str) else json.dumps(value)}"]
    assert main(command) == 0
    (path,) = (home / "cache" / "folder").iterdir()
    return open_cache(path)


@pytest.fixture(scope="module")
def run(cache: Cache, home: Path) -> Path:
    command = ["train", "--frozen", "--preset", "vit", "--cache", str(cache.path), "--out", str(home / "runs")]
    command += ["--pretrained", str(home / "weights.pt"), "--set", "optim.epochs=1", "--set", "seeds=[0]", "-q"]
    assert main(command) == 0
    return home / "runs" / "seed-0"


def test_what_was_said_of_a_file_is_in_the_fingerprint_and_shown(cache: Cache, capfd) -> None:
    assert {fact: cache.spec["preprocess"][fact] for fact in SQUASHED} == SQUASHED
    assert main(["cache", "info", "--cache", str(cache.path)]) == 0
    assert "resize squash, interpolation bilinear" in capfd.readouterr().out


def test_verifying_and_repairing_need_not_be_told_again(cache: Cache, home: Path, tmp_path: Path, capfd) -> None:
    copy = Path(shutil.copytree(cache.path, tmp_path / "cache" / "folder" / cache.path.name))
    shard = copy / "shards" / "test-00000.h5"
    content = shard.read_bytes()
    moved = Path(shutil.copy(home / "weights.pt", tmp_path / "moved.pt"))
    shard.write_bytes(content[:2000])
    assert main(["cache", "verify", "--cache", str(copy), "--repair", "--live", "2", "--weights", str(moved)]) == 0
    assert shard.read_bytes() == content


def test_predicting_with_a_file_prepares_pictures_as_the_cache_did(run: Path, home: Path, capfd) -> None:
    tested = load_run(run)
    videos = [str(home / "videos" / name) for name in tested.id_N]
    command = ["predict", *videos, "--run", str(run), "--pretrained", str(home / "weights.pt"), "--json", "-q"]
    assert main(command) == 0
    for row, one in zip(tested.scores_NC, json.loads(capfd.readouterr().out), strict=True):
        assert dict(one["best"]) == pytest.approx(dict(zip(tested.classes, map(float, row), strict=True)), abs=1e-4)
