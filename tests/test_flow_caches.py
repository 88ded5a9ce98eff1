"""Caches: described, verified, repaired, merged, cleaned up; and never mixed with what was made differently."""

import json
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import ONE
from plfeat.flows.work import Means, prepare
from plfeat.shards.folder import claim

from plfeat.config import ExtractConfig
from plfeat.errors import CacheError, DataError
from plfeat.files import part_of
from plfeat.flows.backbones import backbone_of
from plfeat.flows.caches import describe
from plfeat.flows.extract import Extraction, extract
from plfeat.flows.verify import again, verify
from plfeat.records import silent
from plfeat.settings import build
from plfeat.shards.reader import Cache, open_cache
from plfeat.shards.schema import differences, expected_shards, fingerprint
from plfeat.shards.upkeep import merge, problems, throw_away, waste
from plfeat_cli.main import main


def run(small_folder: Path, cache: Path, means: Means = ONE, **settings: object) -> Extraction:
    config = build(ExtractConfig, settings={"dataset": "toy", "shard": 8, **settings})
    return extract(config, small_folder, cache, silent, means)


def shards(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "shards").iterdir())}


@pytest.fixture
def copy(small_cache: Cache, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_cache.path, tmp_path / "cache" / "toy" / small_cache.path.name))


def test_a_sound_cache_has_no_problems_and_is_made_the_same_again(small_cache: Cache, small_folder: Path) -> None:
    assert list(problems(small_cache.path)) == []
    live = again(small_cache.path, 7, small_folder, None, ONE)
    assert (live.videos, live.frames, live.failed) == (7, 56, 0)
    assert live.worst_cosine > 0.99999
    assert live.worst_difference < 0.01


DAMAGE = {
    "a flipped bit": lambda c: _flip(c / "shards" / "test-00001.h5"),
    "a shard lost": lambda c: (c / "shards" / "test-00001.h5").unlink(),
    "a shard cut short": lambda c: _cut(c / "shards" / "test-00001.h5"),
    "texts lost": lambda c: (c / "text.h5").unlink(),
    "texts damaged": lambda c: _flip(c / "text.h5"),
    "no manifest": lambda c: (c / "manifest.json").unlink(),
    "a damaged manifest": lambda c: (c / "manifest.json").write_text("{"),
}


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 8
    path.write_bytes(content)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:3000])


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_found_and_repaired_to_the_same_bytes(
    copy: Path, small_cache: Cache, small_folder: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    DAMAGE[kind](copy)
    assert main(["cache", "verify", "--cache", str(copy), "--quiet"]) == 4
    verdict = verify(copy, 0, True, small_folder, None, silent, ONE)
    assert verdict.repaired
    assert verdict.problems
    assert list(problems(copy)) == []
    for name in ("manifest.json", "spec.json", "text.h5", "ledger.jsonl"):
        assert (copy / name).read_bytes() == (small_cache.path / name).read_bytes()
    assert shards(copy) == shards(small_cache.path)
    assert main(["cache", "verify", "--cache", str(copy), "--live", "3", "--root", str(small_folder), "--quiet"]) == 0


def test_live_verification_finds_features_of_other_videos(copy: Path, small_folder: Path, tmp_path: Path) -> None:
    """Two files that changed places, of other sizes: the list is another one then."""
    other = tmp_path / "videos"
    shutil.copytree(small_folder, other)
    one, *others = sorted((other / "test").rglob("*.mp4"))
    content = one.read_bytes()
    two = next(path for path in others if path.stat().st_size != len(content))
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)
    with pytest.raises(CacheError, match=r"dataset\.list_sha256"):
        again(copy, 3, other, None, ONE)
    with pytest.raises(DataError, match="does not exist"):
        again(copy, 3, tmp_path / "nowhere", None, ONE)


def test_live_verification_measures_how_far_features_are_off(copy: Path, small_folder: Path) -> None:
    from dataclasses import replace

    from plfeat.files import sha256_of
    from plfeat.shards.writer import write_shard

    cache = open_cache(copy)
    entry = next(entry for entry in cache.manifest["shards"] if entry["split"] == "train")
    shard = cache.shard(entry)
    write_shard(copy / "shards" / entry["name"], replace(shard, features_RD=np.roll(shard.features_RD, 8, axis=0)))
    manifest = json.loads((copy / "manifest.json").read_text())
    for listed in manifest["shards"]:
        listed["sha256"] = sha256_of(copy / "shards" / listed["name"])
    (copy / "manifest.json").write_text(json.dumps(manifest))
    assert list(problems(copy)) == []
    assert again(copy, 200, small_folder, None, ONE).worst_cosine < 0.9


OTHERWISE = {
    "model.activation": {"activation": "quick_gelu"},
    "sampler.frames": {"sample.frames": 4},
    "sampler.views": {"sample.views": 2},
    "decoder.name": {"decoder": "decord"},
    "features.dtype": {"dtype": "float32"},
    "features.batch": {"batch": 64},
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model's weights as a file, which does not say what activation they were trained with."""
    import torch

    from plfeat.flows.backbones import open_backbone

    backbone = open_backbone("toy", None)
    path = tmp_path_factory.mktemp("weights") / "toy.pt"
    torch.save(backbone.model.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def of_weights(weights: Path, small_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """A cache made with them, and with which settings."""
    base = {"weights": str(weights), "activation": "gelu", "shard": 8, "model": "toy"}
    return run(small_folder, tmp_path_factory.mktemp("one"), **base).path, base


@pytest.mark.parametrize("key", OTHERWISE)
def test_a_cache_is_never_resumed_or_merged_with_what_was_made_differently(
    of_weights: tuple[Path, dict], small_folder: Path, tmp_path: Path, key: str, capfd: pytest.CaptureFixture[str]
) -> None:
    one, base = of_weights
    work = prepare(build(ExtractConfig, settings={"dataset": "toy", **base, **OTHERWISE[key]}), small_folder)
    other = work.folder(tmp_path / "other")
    claim(other, work.spec)
    assert one.name != other.name
    specs = [json.loads((folder / "spec.json").read_text()) for folder in (one, other)]
    found = {name: (here, there) for name, here, there in differences(*specs)}
    here, there = found[key]
    settings = [f"{name}={json.dumps(value)}" for name, value in (base | OTHERWISE[key]).items() if name != "weights"]
    command = ["extract", "--dataset", "toy", "--root", str(small_folder), "--weights", base["weights"], "--quiet"]
    for setting in settings:
        command += ["--set", setting]
    before = shards(one)
    capfd.readouterr()
    assert main([*command, "--cache", str(one)]) == 4
    said = capfd.readouterr().err
    assert key in said
    if len(found) == 1:
        assert json.dumps(here) in said
        assert json.dumps(there) in said
    for parts in ((one, other), (other, one)):
        assert main(["cache", "merge", *map(str, parts), "--cache", str(tmp_path / "both")]) == 4
    assert not (tmp_path / "both").exists()
    assert shards(one) == before


def test_a_cache_of_other_weights_or_activation_is_not_trained_on(
    small_folder: Path, tmp_path: Path, weights: Path
) -> None:
    made = run(small_folder, tmp_path, weights=str(weights), activation="quick_gelu", model="toy")
    cache = open_cache(made.path)
    assert cache.spec["model"]["activation"] == "quick_gelu"
    assert backbone_of(cache, str(weights)).about["activation"] == "quick_gelu"
    with pytest.raises(CacheError, match="name that file"):
        backbone_of(cache)
    spec = json.loads((made.path / "spec.json").read_text())
    spec["model"]["activation"] = "gelu"
    assert fingerprint(spec) != cache.fingerprint


def test_another_list_is_another_cache_and_both_hashes_are_named(
    small_cache: Cache, small_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "videos"
    shutil.copytree(small_folder, other)
    next(iter(sorted(other.rglob("*.mp4")))).unlink()
    command = ["extract", "--dataset", "toy", "--root", str(other), "--set", "shard=8", "--quiet"]
    assert main([*command, "--cache", str(small_cache.path)]) == 4
    said = capfd.readouterr().err
    assert "dataset." in said
    assert "features made differently are never mixed" in said


@pytest.mark.parametrize("count", [2, 3])
def test_parts_made_apart_merge_to_the_same_bytes(
    small_cache: Cache, small_folder: Path, tmp_path: Path, count: int
) -> None:
    parts = []
    for number in range(1, count + 1):
        done = run(small_folder, tmp_path / str(number), Means(workers=1, part=(number, count)))
        assert not done.tally.complete
        assert not (done.path / "manifest.json").exists()
        parts.append(done.path)
    folder, tally = merge(parts, tmp_path / "whole")
    assert tally.complete
    assert shards(folder) == shards(small_cache.path)
    for name in ("manifest.json", "text.h5", "ledger.jsonl"):
        assert (folder / name).read_bytes() == (small_cache.path / name).read_bytes()


def test_parts_made_into_one_folder_need_no_merge(small_cache: Cache, small_folder: Path, tmp_path: Path) -> None:
    done = [run(small_folder, tmp_path, Means(workers=1, part=(number, 2))) for number in (2, 1)]
    assert [d.tally.complete for d in done] == [False, True]
    assert shards(done[1].path) == shards(small_cache.path)
    assert (done[1].path / "manifest.json").read_bytes() == (small_cache.path / "manifest.json").read_bytes()


def test_merging_too_little_or_what_contradicts_itself_is_an_error(
    small_cache: Cache, small_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    part = run(small_folder, tmp_path / "1", Means(workers=1, part=(1, 2))).path
    assert main(["cache", "merge", str(part), "--cache", str(tmp_path / "whole")]) == 4
    assert "3 shards are in none of the parts" in capfd.readouterr().err
    other = run(small_folder, tmp_path / "2", Means(workers=1, part=(1, 2))).path
    same = next((other / "shards").glob("test-*.h5"))
    shutil.copy(next(path for path in (small_cache.path / "shards").glob("test-*.h5") if path.name != same.name), same)
    assert main(["cache", "merge", str(part), str(other), "--cache", str(tmp_path / "both")]) == 4
    assert "should be the same bytes" in capfd.readouterr().err
    assert main(["cache", "merge", str(tmp_path), "--cache", str(tmp_path / "both")]) == 4


def test_garbage_is_named_first_and_thrown_away_on_request(copy: Path, tmp_path: Path) -> None:
    root = tmp_path / "cache"
    broken = Path(shutil.copytree(copy, root / "toy" / "broken"))
    (broken / "spec.json").write_text("{")
    gone, elsewhere = copy / ".text.h5.host-1.part", copy / "shards" / "train-99999.h5"
    gone.write_bytes(b"xy")
    os.utime(gone, (0, 0))
    elsewhere.write_bytes(b"x")
    live = part_of(copy / "text.h5")
    live.write_bytes(b"being written")
    (copy / "notes").mkdir()
    (copy / "a link").symlink_to("nowhere")
    assert {item.path for item in waste(root, days=0)} == {gone, elsewhere}
    throw_away(waste(root, days=0))
    assert waste(root, days=0) == []
    assert broken.exists()
    assert live.exists()
    assert list(problems(copy)) == []


def test_only_folders_named_by_their_fingerprint_are_ever_thrown_away(copy: Path, tmp_path: Path) -> None:
    (copy / "manifest.json").unlink()
    other = tmp_path / "cache" / "toy" / "thesis"
    other.mkdir()
    (other / "spec.json").write_text('{"x": 1}')
    (other / "thesis.tex").write_text("years of work")
    assert [item.path for item in waste(tmp_path / "cache", days=0)] == [copy]
    assert waste(tmp_path / "cache", days=7) == []


def test_a_description_says_how_it_was_made_and_what_became_of_the_videos(
    small_cache: Cache, capfd: pytest.CaptureFixture[str]
) -> None:
    about = describe(small_cache)
    assert about["splits"] == {
        "train": {"videos": 24, "rows": 192, "failed": 0, "doubtful": 0},
        "test": {"videos": 24, "rows": 192, "failed": 0, "doubtful": 0},
    }
    assert main(["cache", "info", "--cache", str(small_cache.path)]) == 0
    said = capfd.readouterr().out
    for fact in ("gelu", "bicubic", "pyav", "16", small_cache.spec["model"]["weights_sha256"], "cosine_min"):
        assert str(fact) in said
    assert main(["cache", "info", "--cache", str(small_cache.path), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["fingerprint"] == small_cache.fingerprint


def test_the_fast_preprocess_says_how_close_it_is_and_that_is_not_in_the_fingerprint(small_cache: Cache) -> None:
    measured = small_cache.spec["measured"]["preprocess"]
    assert measured["pictures"] == 8
    assert 0.999 < measured["cosine_min"] <= measured["cosine_mean"] <= 1.0
    assert fingerprint(small_cache.spec | {"measured": None}) == small_cache.fingerprint


def test_the_shards_of_a_spec_can_be_counted_without_its_videos(small_cache: Cache) -> None:
    found = {entry["name"]: (entry["split"], entry["videos"]) for entry in small_cache.manifest["shards"]}
    assert expected_shards(small_cache.spec) == found


def _wrong_labels(shard: Path) -> None:
    with h5py.File(shard, "r+") as file:
        file["label"][:] = file["label"][:][::-1]


def test_a_part_never_vouches_for_the_shards_of_others(copy: Path, small_cache: Cache, small_folder: Path) -> None:
    _wrong_labels(copy / "shards" / "test-00001.h5")
    config = build(ExtractConfig, dataset="toy", shard=8)
    done = extract(config, small_folder, copy, silent, Means(workers=1, part=(1, 5)))
    assert not done.tally.complete
    assert (copy / "manifest.json").read_bytes() == (small_cache.path / "manifest.json").read_bytes()
    with pytest.raises(CacheError, match="expected sha256"):
        open_cache(copy).read("test")
    assert extract(config, small_folder, copy, silent, ONE).tally.complete
    assert shards(copy) == shards(small_cache.path)


def test_merging_takes_no_damaged_shard_of_a_finished_cache(copy: Path, tmp_path: Path) -> None:
    _wrong_labels(copy / "shards" / "test-00001.h5")
    assert main(["cache", "merge", str(copy), "--cache", str(tmp_path / "whole"), "--quiet"]) == 4
    assert not list((tmp_path / "whole").rglob("test-00001.h5"))


def test_a_label_that_changed_is_noticed_even_without_a_manifest(copy: Path) -> None:
    from plfeat.shards.reader import read_shard

    _wrong_labels(copy / "shards" / "test-00001.h5")
    with pytest.raises(CacheError, match="checksums"):
        read_shard(copy / "shards" / "test-00001.h5", verify=True)


def test_parts_from_machines_with_other_folders_merge_into_either(small_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").symlink_to(small_folder)
    one = run(small_folder, tmp_path / "1", Means(workers=1, part=(1, 2))).path
    two = run(tmp_path / "elsewhere", tmp_path / "2", Means(workers=1, part=(2, 2))).path
    assert (one / "made.json").read_bytes() != (two / "made.json").read_bytes()
    folder, tally = merge([two], tmp_path / "1")
    assert folder == one
    assert tally.complete


def test_the_ledger_of_merged_parts_says_where_the_videos_lay(small_folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "videos"
    shutil.copytree(small_folder, root)
    for victim in sorted(root.rglob("*.mp4"))[::16]:
        victim.write_bytes(b"rubbish")
    parts = [run(root, tmp_path / str(n), Means(workers=1, part=(n, 2))).path for n in (1, 2)]
    folder, _ = merge(parts, tmp_path / "whole")
    ledger = [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]
    assert len(ledger) == 3
    assert all(Path(line["path"]).is_file() for line in ledger)


def test_a_folder_in_place_of_a_shard_is_named(
    copy: Path, small_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (copy / "shards" / "test-00000.h5").unlink()
    (copy / "shards" / "test-00000.h5").mkdir()
    command = ["extract", "--dataset", "toy", "--root", str(small_folder), "--set", "shard=8", "--quiet"]
    assert main([*command, "--cache", str(copy)]) == 4
    assert "a folder lies where a shard should be" in capfd.readouterr().err
