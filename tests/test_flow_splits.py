"""What a training may see: shots, held-out videos, and features or classes that nobody could learn from."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import extracted

from plfeat.desk import Desk
from plfeat.errors import CacheError, UsageError
from plfeat.flows.splits import splits
from plfeat.flows.train import train_frozen
from plfeat.model.classical import unit
from plfeat.presets import train_config
from plfeat.records import FrameSet, silent
from plfeat.shards.store import Rows
from plfeat.train.build import keys, pool, tip_keys
from plfeat.train.fleet import Samples
from plfeat_cli.main import main


def test_held_out_videos_are_never_learned_from(toy_desk: Desk) -> None:
    seen = splits(train_config(overrides=["data.holdout=0.5", "data.shots=1"]), (0, 1), toy_desk)
    assert seen.val is not None
    for member in range(2):
        learned = {seen.train.id_N[row] for row in seen.chosen_EN[member]}
        assert len(learned) == 24
        assert not learned & set(seen.val.id_N)


def test_shots_differ_by_seed_and_are_the_seeds_own(toy_desk: Desk) -> None:
    config = train_config(overrides=["data.shots=1"])
    both, alone = splits(config, (0, 5), toy_desk), splits(config, (5,), toy_desk)
    assert both.chosen_EN[1].tolist() == alone.chosen_EN[0].tolist()
    assert both.chosen_EN[0].tolist() != both.chosen_EN[1].tolist()


def _changed(monkeypatch: pytest.MonkeyPatch, split: str, change: Callable[[FrameSet], FrameSet]) -> None:
    """What one of the splits reads as is changed, before it is checked for labels and numbers."""
    as_it_is = Desk.split

    def changed(self: Desk, wanted: str, pooled: bool = False, room: int | None = None) -> FrameSet:
        found = as_it_is(self, wanted)
        found = change(found) if wanted == split else found
        means = torch.from_numpy(found.features_NVTD).mean(dim=2, keepdim=True, dtype=torch.float32).numpy()
        return replace(found, features_NVTD=means) if pooled else found

    monkeypatch.setattr(Desk, "split", changed)


def _keep(frames: FrameSet, rows: np.ndarray) -> FrameSet:
    ids = tuple(frames.id_N[row] for row in np.flatnonzero(rows))
    return FrameSet(frames.features_NVTD[rows], frames.label_N[rows], ids, frames.missing)


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("split", ["train", "test"])
def test_features_that_are_not_numbers_are_refused_by_name(
    split: str, pooled: bool, toy_desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, blocks = toy_desk.split(split).id_N, Rows.blocks

    def poisoned(self: Rows, most: int = 4096) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for where, block in blocks(self, most):
            block = block.copy()
            block[where == 7, 3, 5], block[where == 9, 0, 0] = np.nan, np.inf
            yield where, block

    monkeypatch.setattr(Rows, "blocks", poisoned)
    with pytest.raises(CacheError, match="2 videos have features that are not numbers") as refused:
        toy_desk.split(split, pooled)
    assert repr(names[7]) in str(refused.value)


@pytest.mark.parametrize("preset", ["prompts", "linear-probe"])
def test_of_what_is_not_a_number_nothing_is_made(
    preset: str, toy_desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    def refuse(self: Desk, name: str, pooled: bool = False, room: int | None = None) -> FrameSet:
        raise CacheError("not numbers")

    monkeypatch.setattr(Desk, "split", refuse)
    command = ["train", "--frozen", "--preset", preset, "--cache", str(toy_desk.store.path)]
    assert main([*command, "--out", str(tmp_path / "o"), "-q"]) == 4
    assert not (tmp_path / "o").exists()


def test_a_class_without_a_training_video_is_refused_unless_one_says_so(
    toy_desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    _changed(monkeypatch, "train", lambda frames: _keep(frames, frames.label_N != 3))
    command = ["train", "--frozen", "--cache", str(toy_desk.store.path), "--out", str(tmp_path / "o"), "-q"]
    assert main(command) == 3
    assert f"1 of 24 classes have no training video with features, the first is {toy_desk.words[3]!r}" in (
        capfd.readouterr().err
    )
    assert not (tmp_path / "o").exists()
    assert main([*command, "--set", "data.allow_empty=true", "--set", "optim.epochs=1"]) == 0


def test_tip_adapters_keys_are_averaged_over_the_views_and_then_of_length_one(
    toy_desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def three_views(frames: FrameSet) -> FrameSet:
        x = frames.features_NVTD.astype(np.float32)
        views = np.concatenate([x, 3 * x[:, :, ::-1] + 0.5 * x[::-1], x[:, :, :1].repeat(8, axis=2)], axis=1)
        return FrameSet(views, frames.label_N, frames.id_N, frames.missing)

    _changed(monkeypatch, "train", three_views)
    train, test = toy_desk.split("train"), toy_desk.split("test")
    key_ND = unit(train.features_NVTD.mean(axis=(1, 2)))
    apart = pool(torch.from_numpy(train.features_NVTD)).norm(dim=-1)  # as it was: of length 1, then averaged
    assert float(apart.min()) < 0.99
    given = keys(torch.from_numpy(train.features_NVTD))
    np.testing.assert_allclose(given.numpy(), key_ND, atol=1e-6)
    config = train_config("tip-adapter", overrides=["tip.alpha=3", "tip.beta=7"])
    run = train_frozen(config, toy_desk, tmp_path / "tip", silent).runs[0]
    plain = train_frozen(train_config("zero-shot-ensemble"), toy_desk, tmp_path / "zero", silent).runs[0]
    nearness = np.exp(-7 * (1 - pool(torch.from_numpy(test.features_NVTD)).numpy() @ key_ND.T))
    logits = np.log(plain.scores_NC) + 3 * nearness @ np.eye(24)[train.label_N]
    expected = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(run.scores_NC, expected / expected.sum(axis=1, keepdims=True), rtol=1e-3, atol=1e-6)
    learned = Samples(torch.from_numpy(train.features_NVTD), torch.from_numpy(train.label_N))
    key_EKD, _ = tip_keys(learned, torch.arange(len(key_ND))[None])
    np.testing.assert_allclose(key_EKD[0].numpy(), key_ND, atol=1e-6)


def test_the_probe_learns_from_the_split_val_too_if_asked_to(
    toy_desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    command = ["train", "--frozen", "--preset", "linear-probe", "--cache", str(toy_desk.store.path), "-q"]
    assert main([*command, "--out", str(tmp_path / "none"), "--set", "probe.refit=true"]) == 2
    assert "has no split val; the training videos that are chosen on" in capfd.readouterr().err
    runs = {}
    for refit in (False, True):
        config = train_config("linear-probe", overrides=["data.holdout=0.5", *["probe.refit=true"] * refit])
        runs[refit] = train_frozen(config, toy_desk, tmp_path / str(refit), silent).runs[0]
        assert ("which the final fit learned from too" in runs[refit].about["protocol"]) == refit
    assert runs[True].method == "linear-probe, data.holdout=0.5, probe.refit=True"
    assert not np.allclose(runs[True].scores_NC, runs[False].scores_NC)


@pytest.mark.parametrize("preset", ["prompts", "linear-probe", "vit", "tip-adapter"])
def test_one_class_only_is_refused(
    preset: str, toy_desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    _changed(monkeypatch, "train", lambda frames: _keep(frames, frames.label_N == 3))
    command = [
        "train",
        "--frozen",
        "--preset",
        preset,
        "--cache",
        str(toy_desk.store.path),
        "--out",
        str(tmp_path / "o"),
    ]
    assert main(command) == 3
    out, err = capfd.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert "one class only; there is nothing to tell apart" in err
    assert not (tmp_path / "o").exists()


def test_a_cache_with_missing_videos_is_trained_on_and_says_how_many(toy_folder: Path, tmp_path: Path, capfd) -> None:
    shutil.copytree(toy_folder, tmp_path / "toy")
    for others in ("*_00001.mp4", "*_00002.mp4"):
        for video in (tmp_path / "toy" / "test").rglob(others):
            video.unlink()
    for split in ("train", "test"):
        sorted((tmp_path / "toy" / split / "glowing ring").iterdir())[0].write_bytes(b"broken")
    desk = extracted(tmp_path / "toy", tmp_path / "cache", "toy")
    command = ["train", "--frozen", "--cache", str(desk.store.path), "--out", str(tmp_path / "o")]
    assert main([*command, "--set", "optim.epochs=1"]) == 0
    err = capfd.readouterr().err
    assert "1 more have no features and are left out" in err
    assert "1 of 48 training videos have no features" in err
    record = json.loads((tmp_path / "o" / "seed-0" / "record.json").read_text())
    assert (record["n"], record["missing"], record["trained_on"]) == (23, 1, 47)


def test_nothing_can_be_held_back_of_single_videos(toy_folder: Path, tmp_path: Path, capfd) -> None:
    for split in ("train", "test"):
        for name in ("glowing ring", "spinning star"):
            (tmp_path / "videos" / split / name).mkdir(parents=True)
            video = next((toy_folder / split / name).iterdir())
            shutil.copy(video, tmp_path / "videos" / split / name)
    cache = extracted(tmp_path / "videos", tmp_path / "cache").store.path
    command = ["train", "--frozen", "--cache", str(cache), "--set", "data.holdout=0.5", "--set", "select=best"]
    assert main([*command, "--out", str(tmp_path / "out"), "-q"]) == 3
    assert "no class has two training videos" in capfd.readouterr().err


def test_nothing_is_selected_on_the_split_that_is_reported(toy_folder: Path, tmp_path: Path) -> None:
    """Where only val has labels, it is what is reported on, and no validation split."""
    for split, source in (("train", "train"), ("val", "test")):
        for name in ("glowing ring", "spinning star"):
            shutil.copytree(toy_folder / source / name, tmp_path / "videos" / split / name)
    desk = extracted(tmp_path / "videos", tmp_path / "cache")
    assert desk.evaluation == "val"
    assert splits(train_config(), (0,), desk).val is None
    with pytest.raises(UsageError, match="reports on its split val; keep some training videos back"):
        splits(train_config(overrides=["select=best"]), (0,), desk)
