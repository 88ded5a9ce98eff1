"""Extraction: deterministic, resumable, and never stopped by a bad video."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from conftest import ENVIRONMENT, ONE

from plfeat.config import ExtractConfig
from plfeat.errors import CacheError, DataError, UsageError
from plfeat.flows.extract import extract
from plfeat.flows.work import Means, prepare
from plfeat.records import silent
from plfeat.settings import build
from plfeat.shards.reader import Cache, open_cache
from plfeat.toy import videos

CONFIG = build(ExtractConfig, dataset="toy", model="toy", shard=8)


def _shards(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted((path / "shards").iterdir())}


def test_the_same_videos_give_the_same_bytes_with_any_number_of_workers_and_threads(
    small_cache: Cache, small_folder: Path, tmp_path: Path
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1 if before > 1 else 3)
    try:
        again = extract(CONFIG, small_folder, tmp_path, silent, Means(workers=3))
    finally:
        torch.set_num_threads(before)
    assert again.path.name == small_cache.path.name
    assert _shards(again.path) == _shards(small_cache.path)
    assert (again.path / "manifest.json").read_bytes() == (small_cache.path / "manifest.json").read_bytes()


def test_interrupted_and_continued_it_gives_the_same_bytes(
    small_cache: Cache, small_folder: Path, tmp_path: Path
) -> None:
    class PowerCutError(Exception):
        pass

    def cut(stage: str, done: int, total: int, note: str = "", /) -> None:
        if stage == "encoding videos" and done >= 30:
            raise PowerCutError

    with pytest.raises(PowerCutError):
        extract(CONFIG, small_folder, tmp_path, cut, ONE)
    (folder,) = tmp_path.glob("toy/*")
    assert not (folder / "manifest.json").exists()
    assert 0 < len(_shards(folder)) < len(_shards(small_cache.path))
    done = extract(CONFIG, small_folder, tmp_path, silent, ONE)
    assert done.reused > 0
    assert _shards(done.path) == _shards(small_cache.path)
    assert (done.path / "manifest.json").read_bytes() == (small_cache.path / "manifest.json").read_bytes()


def test_bad_videos_are_counted_and_named_and_the_rest_is_unharmed(
    small_cache: Cache, small_folder: Path, tmp_path: Path
) -> None:
    root = tmp_path / "videos"
    shutil.copytree(small_folder, root)
    victims = sorted((root / "train").rglob("*.mp4"))[2:20:7]
    for victim, content in zip(victims, (b"", b"garbage", victims[2].read_bytes()[:900]), strict=True):
        victim.write_bytes(content)
    done = extract(CONFIG, root, tmp_path / "cache", silent, ONE)
    assert (done.tally.videos, done.tally.failed) == (48, 3)
    ledger = [json.loads(line) for line in (done.path / "ledger.jsonl").read_text().splitlines()]
    assert [line["id"] for line in ledger] == [victim.relative_to(root).as_posix() for victim in victims]
    assert all(line["stage"] == "decode" and line["error"] for line in ledger)
    frames = open_cache(done.path).read("train")
    assert (len(frames.id_N), frames.missing) == (21, 3)
    clean = small_cache.read("train")
    kept = [clean.id_N.index(name) for name in frames.id_N]
    assert np.array_equal(frames.features_NVTD, clean.features_NVTD[kept])


def test_all_videos_bad_is_still_a_cache_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "videos" / "jumping").mkdir(parents=True)
    (tmp_path / "videos" / "jumping" / "a.mp4").write_bytes(b"x")
    config = build(ExtractConfig, dataset="folder", model="toy")
    done = extract(config, tmp_path / "videos", tmp_path / "c", silent, ONE)
    assert (done.tally.videos, done.tally.failed) == (1, 1)
    with pytest.raises(CacheError, match="split 'test': no video has features"):
        open_cache(done.path).read("test")


def test_other_contents_under_the_same_names_are_another_cache(small_cache: Cache, tmp_path: Path) -> None:
    videos.make(tmp_path / "toy", 48, seed=4, tick=silent, workers=1)
    assert prepare(CONFIG, tmp_path / "toy").folder(tmp_path).name != small_cache.path.name


@pytest.mark.parametrize(
    "change", [{"sample": {"frames": 4}}, {"dtype": "float32"}, {"decoder": "decord"}, {"batch": 64}]
)
def test_another_way_of_making_features_is_another_cache(
    small_cache: Cache, small_folder: Path, tmp_path: Path, change
) -> None:
    other = build(ExtractConfig, dataset="toy", model="toy", shard=8, **change)
    assert prepare(CONFIG, small_folder).folder(tmp_path).name == small_cache.path.name
    assert prepare(other, small_folder).folder(tmp_path).name != small_cache.path.name


def test_the_spec_names_everything_that_made_the_features(small_cache: Cache) -> None:
    spec = small_cache.spec
    assert spec["model"]["activation"] == "gelu"
    assert len(spec["model"]["weights_sha256"]) == 64
    assert spec["preprocess"]["interpolation"] == "bicubic"
    assert set(spec["decoder"]) == {"name", "version"}
    assert spec["sampler"] == {"kind": "segments", "frames": 8, "seed": 0, "views": 1, "test_views": 1}


def test_cached_features_are_the_live_ones(small_cache: Cache, small_folder: Path, toy_backbone) -> None:
    from plfeat.backbone.vision import FrameEncoder
    from plfeat.video.decode import DEFAULT, read_frames
    from plfeat.video.sampling import segment_centres

    frames = small_cache.read("test")
    encoder = FrameEncoder(toy_backbone.model, toy_backbone.preprocess)
    for index in (0, 11, 23):
        clip = read_frames(small_folder / frames.id_N[index], lambda t: segment_centres(len(t), 8), DEFAULT)
        live = encoder.encode(encoder.fit(clip.frames_UHWC), batch=8).numpy()
        np.testing.assert_allclose(frames.features_NVTD[index, 0], live, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda root: None, "does not exist"),
        (lambda root: root.mkdir(), "no videos under"),
        (lambda root: root.write_text("x"), "is a file"),
        (lambda root: (root / "jumping").mkdir(parents=True), "no videos under"),
    ],
)
def test_a_missing_or_empty_folder_is_a_data_error_and_leaves_nothing(tmp_path: Path, make, said: str) -> None:
    root = tmp_path / "videos"
    make(root)
    with pytest.raises(DataError, match=said) as caught:
        extract(CONFIG, root, tmp_path / "cache", silent, ONE)
    assert said == "is a file" or "plfeat datasets make toy" in str(caught.value)
    assert not (tmp_path / "cache").exists()


def test_an_unknown_model_is_found_out_before_anything_is_written(small_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'toy'"):
        extract(build(ExtractConfig, dataset="toy", model="tooy"), small_folder, tmp_path / "cache", silent, ONE)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("damage", ["bits", "label", "another shard", "half", "link"])
def test_a_damaged_shard_is_made_again_and_never_taken_over(
    small_cache: Cache, small_folder: Path, tmp_path: Path, damage: str
) -> None:
    root = tmp_path / "cache"
    folder = root / "toy" / small_cache.path.name
    shutil.copytree(small_cache.path, folder)
    (folder / "manifest.json").unlink()  # the harder case: no hash to compare with
    victim, other = (folder / "shards" / name for name in ("test-00000.h5", "train-00000.h5"))
    if damage == "bits":
        with h5py.File(victim) as file:
            offset = file["features"].id.get_offset()
        content = bytearray(victim.read_bytes())
        content[offset + 1000] ^= 4
        victim.write_bytes(bytes(content))
    elif damage == "label":
        with h5py.File(victim, "r+") as file:
            file["label"][0] = 23
    elif damage == "half":
        victim.write_bytes(victim.read_bytes()[:5000])
    else:
        victim.unlink()
        victim.symlink_to(other) if damage == "link" else shutil.copy(other, victim)
    done = extract(CONFIG, small_folder, root, silent, ONE)
    assert (done.shards, done.reused) == (6, 5)
    assert _shards(done.path) == _shards(small_cache.path)


def test_a_damaged_video_gives_the_same_bytes_wherever_it_lies(small_folder: Path, tmp_path: Path) -> None:
    shards = []
    for name in ("a", "a longer name"):
        (tmp_path / name / "jumping").mkdir(parents=True)
        content = bytearray(sorted(small_folder.rglob("*.mp4"))[0].read_bytes())
        (tmp_path / name / "jumping" / "1.mp4").write_bytes(bytes(content))
        (tmp_path / name / "jumping" / "2.mp4").write_bytes(bytes(content[:4000]))
        config = build(ExtractConfig, dataset="folder", model="toy", batch=8)
        shards.append(_shards(extract(config, tmp_path / name, tmp_path / "cache" / name, silent, ONE).path))
        time.sleep(1.1)  # a clock in an error text would show
    assert shards[0] == shards[1]


def test_a_full_disk_is_an_error_and_not_a_crash(small_folder: Path, tmp_path: Path) -> None:
    """A limit on the size of written files stands in for the disk; the process must live to tell."""
    code = f"""
import resource, signal, sys
from plfeat_cli.main import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
sys.exit(main(["extract", "--dataset", "toy", "--root", {str(small_folder)!r}, "--quiet"]))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "File too large" in done.stderr
    assert not list(tmp_path.rglob("*.part"))
    assert not list(tmp_path.rglob("*.h5"))


def test_two_extractions_of_the_same_thing_at_once_both_succeed(
    small_cache: Cache, small_folder: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "plfeat_cli.main", "extract", "--dataset", "toy", "--root", str(small_folder)]
    command += ["--set", "shard=8", "--quiet", "--workers", "1"]
    other = subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.PIPE)
    while not list(tmp_path.glob("cache/toy/*")) and other.poll() is None:
        time.sleep(0.01)
    extract(CONFIG, small_folder, tmp_path / "cache", silent, ONE)
    _, err = other.communicate(timeout=200)
    assert other.returncode == 0, err
    (folder,) = (tmp_path / "cache" / "toy").iterdir()
    assert _shards(folder) == _shards(small_cache.path)


def test_a_finished_cache_is_left_alone(small_cache: Cache, small_folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in small_cache.path.rglob("*")}
    done = extract(CONFIG, small_folder, small_cache.path.parents[1], silent, ONE)
    assert done.reused == done.shards
    assert {path: path.stat().st_mtime_ns for path in small_cache.path.rglob("*")} == before


def test_a_video_that_is_not_the_listed_one_any_more_fails(small_folder: Path, tmp_path: Path) -> None:
    """As when the videos are still being copied while they are extracted."""
    from plfeat.flows.make import make_here
    from plfeat.progress import Progress
    from plfeat.shards.reader import read_shard

    root = tmp_path / "videos"
    shutil.copytree(small_folder, root)
    work = prepare(CONFIG, root)
    victims = sorted((root / "train").rglob("*.mp4"))[:2]
    victims[0].write_bytes(victims[1].read_bytes() + b"more")
    made = next(iter(make_here(work, work.portions[:1], Means(workers=1), Progress(silent, 0))))
    (tmp_path / made.name).write_bytes(made.image)
    shard = read_shard(tmp_path / made.name)
    assert [error for error in shard.error_N if error] == ["the file changed during the run"]


def test_a_closed_stderr_is_no_reason_to_fail(small_folder: Path, tmp_path: Path) -> None:
    command = f"exec {sys.executable} -m plfeat_cli.main extract --dataset toy --root {small_folder} --workers 1 2>&-"
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0
    assert (tmp_path / done.stdout.strip() / "manifest.json").is_file()
