"""A store alone: no videos, no annotations, no weights, no network."""

import json
import shutil
from pathlib import Path

import pytest
import worlds
from worlds import Plfeat, extract, process, store

pytestmark = pytest.mark.acceptance


def without_anything(tmp_path: Path) -> dict[str, str]:
    """A machine that has never seen the model, and reaches nobody."""
    home = tmp_path / "empty home"
    home.mkdir()
    return worlds.pretending(tmp_path / "no network", worlds.NO_NETWORK) | {
        "HF_HUB_OFFLINE": "1",
        "HOME": str(home),
        "HF_HOME": str(home / "hub"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "TORCH_HOME": str(home / "torch"),
    }


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """The toy model's weights as a file of one's own, which is gone later."""
    return worlds.put(worlds.HOME / "plfeat" / "toy" / "toy.safetensors", tmp_path / "weights.safetensors")


@pytest.mark.parametrize("dataset", ["ucf101", "folder"])
def test_a_store_that_was_carried_away_trains_scores_and_reports(
    plfeat: Plfeat, tmp_path: Path, weights: Path, dataset: str
) -> None:
    cache, away = tmp_path / "cache", tmp_path / "another machine"
    if dataset == "ucf101":
        ucf = worlds.ucf101(tmp_path, classes=3)
        asked = ucf.asked
    else:
        root = worlds.with_splits(tmp_path / "mine", classes=3)
        asked = ["--dataset", "folder", "--root", str(root)]
    model = ("--model", "toy", "--weights", str(weights), "--activation", "gelu", "--preprocess", "ViT-B-32:openai")
    said = plfeat("extract", *asked, *model, "--cache", str(cache), "--workers", "1", "--quiet")
    assert said.code == 0, said.err
    away.mkdir()
    shutil.copytree(store(cache), away / store(cache).name)
    for path in (cache, tmp_path / "mine", tmp_path / "UCF-101", tmp_path / "ucf"):
        shutil.rmtree(path, ignore_errors=True)
    weights.unlink()
    (carried,) = away.iterdir()
    alone, before = without_anything(tmp_path), worlds.snapshot(away)
    few = ("--cache", str(carried), "--quiet", "--json")
    for preset in ("prompts", "nearest-mean", "zero-shot"):
        epochs = worlds.ONE_EPOCH if preset == "prompts" else ()
        run = process("train", "--frozen", "--preset", preset, *epochs, *few, "--out", preset, cwd=tmp_path, **alone)
        assert run.code == 0, run.err
        assert len(json.loads(run.out)["rows"]) == 1
    run = process("eval", "--zero-shot", *few, "--out", "scored", cwd=tmp_path, **alone)
    assert run.code == 0, run.err
    run = process("report", "prompts", "nearest-mean", "scored", "--out", "table", "--json", cwd=tmp_path, **alone)
    assert run.code == 0, run.err
    assert len(json.loads(run.out)["rows"]) == 3
    assert worlds.snapshot(away) == before or set(worlds.snapshot(away)) >= set(before), "reading takes nothing away"
    run = process("cache", "verify", str(carried), cwd=tmp_path, **alone)
    assert run.code == 0, run.err


def test_a_store_without_its_text_tower_says_so_where_one_is_needed(
    plfeat: Plfeat, tmp_path: Path, weights: Path
) -> None:
    root, cache = worlds.with_splits(tmp_path / "mine", classes=2), tmp_path / "cache"
    model = ("--model", "toy", "--weights", str(weights), "--activation", "gelu", "--preprocess", "ViT-B-32:openai")
    extract(plfeat, cache, "--dataset", "folder", "--root", str(root), "--no-tower", model=model)
    assert not list((store(cache) / "text").glob("tower-*"))
    weights.unlink()
    worlds.train(plfeat, cache, tmp_path / "means")
    said = plfeat(
        "train", "--frozen", *worlds.ONE_EPOCH, "--cache", str(cache), "--out", str(tmp_path / "runs"), "--quiet"
    )
    worlds.refused(said, codes=(1, 2, 3, 4))


def test_the_text_tower_lies_in_the_store_unless_told_otherwise(plfeat: Plfeat, tmp_path: Path) -> None:
    root, cache = worlds.with_splits(tmp_path / "mine", classes=2), tmp_path / "cache"
    extract(plfeat, cache, "--dataset", "folder", "--root", str(root))
    assert len(list((store(cache) / "text").glob("tower-*.safetensors"))) == 1


def test_a_store_that_is_read_only_is_still_read(plfeat: Plfeat, tmp_path: Path) -> None:
    """As on a mount that one may not write to: nothing in it changes, not even a lock or a time."""
    root, cache = worlds.with_splits(tmp_path / "mine", classes=2), tmp_path / "cache"
    extract(plfeat, cache, "--dataset", "folder", "--root", str(root))
    before = worlds.snapshot(cache)
    worlds.train(plfeat, cache, tmp_path / "runs")
    for verb in ("info", "verify", "ls"):
        assert plfeat("cache", verb, "--cache", str(cache)).code == 0
    assert worlds.snapshot(cache) == before
