"""Weights from a file, all the way: what they do not say themselves is said once, and later commands keep to it."""

import importlib.util
import json
import shutil
from pathlib import Path

import odd_videos as odd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from plfeat.backbone.load import Backbone
from plfeat.desk import Desk
from plfeat.flows.desks import open_desk
from plfeat.report.runs import load_run
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
def desk(home: Path) -> Desk:
    command = ["extract", "--dataset", "folder", "--root", str(home / "videos"), "--cache", str(home / "cache")]
    command += ["--model", "toy", "--weights", str(home / "weights.pt"), "--decoder", "decord", "--quiet"]
    for fact, value in SQUASHED.items():
        command += ["--set", f"preprocess.{fact}={value if isinstance(value, str) else json.dumps(value)}"]
    assert main(command) == 0
    return open_desk(home / "cache")


@pytest.fixture(scope="module")
def run(desk: Desk, home: Path) -> Path:
    command = ["train", "--frozen", "--preset", "vit", "--cache", str(desk.store.path), "--out", str(home / "runs")]
    command += ["--pretrained", str(home / "weights.pt"), "--set", "optim.epochs=1", "--set", "seeds=[0]", "-q"]
    assert main(command) == 0
    return home / "runs" / "seed-0"


def test_what_was_said_of_a_file_is_in_the_fingerprint_and_shown(desk: Desk, capfd) -> None:
    assert {fact: desk.store.recipe.preprocess[fact] for fact in SQUASHED} == SQUASHED
    assert main(["cache", "info", "--cache", str(desk.store.path)]) == 0
    assert "resize squash, interpolation bilinear" in capfd.readouterr().out


def test_verifying_and_repairing_need_not_be_told_again(desk: Desk, home: Path, tmp_path: Path, capfd) -> None:
    copy = Path(shutil.copytree(desk.store.path, tmp_path / "cache" / "videos" / desk.store.path.name))
    shard = next((copy / "shards").iterdir())
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


def test_a_run_over_decords_frames_predicts_with_decord(run: Path, home: Path, tmp_path: Path, capfd) -> None:
    odd.video(tmp_path / "only-pyav.mp4", odd.pictures(12), "av1")
    command = ["predict", str(tmp_path / "only-pyav.mp4"), "--run", str(run), "-q"]
    assert main([*command, "--pretrained", str(home / "weights.pt")]) == 3
    assert "only-pyav.mp4: decord: " in capfd.readouterr().err


def test_a_run_that_does_not_name_its_decoder_is_not_guessed_at(run: Path, home: Path, tmp_path: Path, capfd) -> None:
    old = Path(shutil.copytree(run, tmp_path / "old"))
    with safe_open(run / "model.safetensors", framework="pt") as file:
        about = json.loads(file.metadata()["plfeat"])
    assert about["recipe"].pop("decoder") == "decord"
    save_file(load_file(run / "model.safetensors"), old / "model.safetensors", {"plfeat": json.dumps(about)})
    command = ["predict", str(home / "videos" / "test" / "one" / "c.mp4"), "--run", str(old), "-q"]
    assert main([*command, "--pretrained", str(home / "weights.pt")]) == 3
    assert "its header says nothing about 'decoder'; train it again" in capfd.readouterr().err


def test_random_weights_are_said_to_mean_nothing_before_anything_else(tmp_path: Path, capfd) -> None:
    command = ["extract", "--dataset", "folder", "--model", "toy", "--pretrained", "random:0"]
    assert main([*command, "--root", str(tmp_path / "nowhere"), "--cache", str(tmp_path / "cache")]) == 3
    first, second = capfd.readouterr().err.splitlines()
    assert first == "random weights: these features mean nothing"
    assert "nowhere" in second
