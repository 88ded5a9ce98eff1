"""Stored features made again: to see that they still would be, and where files are damaged."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ONE

from plfeat.config import ExtractConfig
from plfeat.errors import CacheError, DataError
from plfeat.extract.again import Live
from plfeat.flows.extract import extract
from plfeat.flows.verify import again, verify
from plfeat.records import silent
from plfeat.settings import build
from plfeat.shards.growth import Growth
from plfeat.shards.store import Store, open_store
from plfeat.shards.writer import shard_bytes


@pytest.fixture
def root(small_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_folder, tmp_path / "videos" / "toy"))


@pytest.fixture
def store(root: Path, tmp_path: Path) -> Path:
    """With two takes of the training videos beside the centres."""
    config = build(ExtractConfig, settings={"dataset": "toy", "sample.views": 2})
    return extract(config, root, tmp_path / "c", silent, ONE).path


def look(store: Path, count: int, root: Path | None = None) -> Live:
    return again(store, count, root, None, ONE)


def mend(store: Path, root: Path | None = None) -> Any:
    return verify(store, 0, True, root, None, silent, ONE)


def files(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in sorted(store.rglob("*")) if path.is_file()}


def test_made_again_they_are_the_same_whatever_the_annotations_became(store: Path, root: Path) -> None:
    (root / "classes.csv").unlink()
    found = look(store, 10)
    assert (found.videos, found.failed, found.worst_cosine, found.worst_difference) == (10, 0, 1.0, 0.0)
    assert found.frames == 80


def test_videos_that_moved_are_found_under_another_root(store: Path, root: Path, tmp_path: Path) -> None:
    root.rename(tmp_path / "moved")
    with pytest.raises(DataError, match="name their folder with --root"):
        look(store, 4)
    assert look(store, 4, tmp_path / "moved").failed == 0


def test_a_file_that_is_another_video_by_now_is_not_compared(store: Path, root: Path) -> None:
    for path in sorted(root.rglob("*.mp4"))[1:]:
        path.write_bytes(bytes(path.stat().st_size))
    assert look(store, 50).videos <= 3  # the takes of one video


@pytest.mark.parametrize("damage", ["bits", "half", "gone", "manifest", "ledger", "text", "tower"])
def test_what_is_damaged_is_made_again_from_the_store_alone(store: Path, root: Path, damage: str) -> None:
    (root / "classes.csv").unlink()
    before = files(store)
    shards, texts = (sorted((store / folder).iterdir()) for folder in ("shards", "text"))
    if damage in ("bits", "half"):
        content = bytearray(shards[3].read_bytes())
        content[len(content) // 2] ^= 8
        shards[3].write_bytes(content[: 4000 if damage == "half" else None])
    elif damage == "gone":
        shards[2].unlink()
    elif damage in ("manifest", "ledger"):
        (store / {"manifest": "manifest.json", "ledger": "ledger.jsonl"}[damage]).write_text("x")
    else:
        path = texts[0 if damage == "text" else 1]
        path.write_bytes(path.read_bytes()[:-100])
    assert verify(store, 0, False, None, None, silent, ONE).problems
    assert mend(store).repaired
    assert not verify(store, 0, False, None, None, silent, ONE).problems
    after = files(store)
    assert after.keys() == before.keys()
    assert {name for name in before if before[name] != after[name]} <= {"manifest.json"}


def test_what_cannot_be_made_again_is_said(store: Path, root: Path) -> None:
    shutil.rmtree(root)
    sorted((store / "shards").iterdir())[0].unlink()
    with pytest.raises(CacheError, match="videos have to be made again and are not where they were seen"):
        mend(store)


def test_a_sound_store_is_left_alone(small_store: Store) -> None:
    before = {path: path.stat().st_mtime_ns for path in small_store.path.rglob("*")}
    verdict = verify(small_store.path, 2, True, None, None, silent, ONE)
    assert (verdict.problems, verdict.repaired) == ([], False)
    assert verdict.live
    assert verdict.live.equal
    assert {path: path.stat().st_mtime_ns for path in small_store.path.rglob("*")} == before


def test_how_far_features_of_other_videos_are_off_is_measured(store: Path) -> None:
    """Shards that are sound in themselves, whose videos have changed places."""
    there = open_store(store)
    for entry in there.manifest["shards"]:
        shard, path = there.shard(entry).shard, store / "shards" / entry["name"]
        path.write_bytes(shard_bytes(replace(shard, features_RX=np.roll(np.asarray(shard.features_RX), 8, axis=0))))
    (store / "manifest.json").unlink()
    with Growth(store, there.recipe) as growth:
        growth.finish()
    assert look(store, 200).worst_cosine < 0.9
