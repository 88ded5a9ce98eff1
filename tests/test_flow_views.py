"""What an extraction can be asked for: views, augmentation, dense frames, other types, features not projected."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ONE
from hypothesis import example, given
from hypothesis import strategies as st

from plfeat.config import ExtractConfig
from plfeat.errors import CacheError, UsageError
from plfeat.flows.extract import extract
from plfeat.means import Means, parse_part
from plfeat.flows.work import prepare
from plfeat.records import silent
from plfeat.settings import build
from plfeat.shards.hdf5 import pack, unpack
from plfeat.shards.reader import Cache, open_cache
from plfeat.shards.schema import Shard
from plfeat.train.build import pool
from plfeat.video.augment import augment
from plfeat.video.sampling import Sampler


def make(small_folder: Path, cache: Path, **settings: Any) -> Cache:
    config = build(ExtractConfig, settings={"dataset": "toy", "shard": 24, **settings})
    return open_cache(extract(config, small_folder, cache, silent, ONE).path)


def shard(cache: Cache, split: str) -> Shard:
    return cache.shard(next(entry for entry in cache.manifest["shards"] if entry["split"] == split))


def test_training_videos_have_views_and_the_others_one_plain_look(small_folder: Path, tmp_path: Path) -> None:
    cache = make(small_folder, tmp_path, **{"sample.views": 3, "sample.frames": 4})
    train, test = cache.read("train"), cache.read("test")
    assert train.features_NVTD.shape[1:3] == (3, 4)
    assert test.features_NVTD.shape[1:3] == (1, 4)
    held = shard(cache, "train")
    rows = slice(*held.video_ptr[:2])
    assert held.view_R[rows].tolist() == [0] * 4 + [1] * 4 + [2] * 4
    chosen = Sampler(frames=4).choose(np.arange(24) / 12, held.id_N[0], 3)
    assert held.frame_index_R[rows].tolist() == np.concatenate(chosen).tolist()
    average = pool(torch.from_numpy(train.features_NVTD))
    parts = [torch.nn.functional.normalize(torch.from_numpy(v).float().mean(1), dim=-1) for v in _views(train)]
    torch.testing.assert_close(average, sum(parts) / 3)


def _views(frames: Any) -> list[np.ndarray]:
    return [frames.features_NVTD[:, view] for view in range(frames.features_NVTD.shape[1])]


def test_ten_random_samples_of_every_test_video(small_folder: Path, tmp_path: Path) -> None:
    cache = make(small_folder, tmp_path, **{"sample.test_views": 10})
    assert cache.read("test").features_NVTD.shape[1:3] == (10, 8)
    assert cache.read("train").features_NVTD.shape[1:3] == (1, 8)


def test_more_views_leave_the_first_ones_as_they_are(small_folder: Path, tmp_path: Path) -> None:
    few, more = (make(small_folder, tmp_path, **{"sample.views": count}).read("train") for count in (2, 4))
    np.testing.assert_allclose(few.features_NVTD, more.features_NVTD[:, :2], rtol=2e-3, atol=2e-3)


def test_dense_frames_are_ragged_and_read_video_by_video(small_folder: Path, tmp_path: Path) -> None:
    cache = make(small_folder, tmp_path, **{"sample.every": 5})
    videos = cache.videos("test")
    assert len(videos) == 24
    assert {len(rows) for rows in videos.values()} == {5}  # 24 frames: 0, 5, 10, 15, 20
    capped = make(small_folder, tmp_path, **{"sample.fps": 12.0, "sample.cap": 7})
    assert {len(rows) for rows in capped.videos("train").values()} == {7}


def test_videos_of_different_length_are_not_trained_on_in_silence(tmp_path: Path) -> None:
    import odd_videos as odd

    for name, length in (("short", 10), ("long", 40)):
        (tmp_path / "videos" / name).mkdir(parents=True)
        odd.video(tmp_path / "videos" / name / "a.mp4", odd.pictures(length))
    config = build(ExtractConfig, dataset="folder", model="toy", settings={"sample.every": 4})
    cache = open_cache(extract(config, tmp_path / "videos", tmp_path / "cache", silent, ONE).path)
    assert {name: len(rows) for name, rows in cache.videos("test").items()} == {"long/a.mp4": 10, "short/a.mp4": 3}
    with pytest.raises(CacheError, match="3 to 10 frames"):
        cache.read("test")


def test_a_trimmed_list_makes_a_video_of_each_segment(tmp_path: Path) -> None:
    import odd_videos as odd

    odd.video(tmp_path / "film.mp4", odd.pictures(72))  # 24 frames a second
    rows = ["path,label,start,end", "film.mp4,first,0,1", "film.mp4,last,2,3", "film.mp4,beyond,7,9"]
    (tmp_path / "list.csv").write_text("\n".join(rows))
    config = build(
        ExtractConfig, dataset="csv", model="toy", lists=tmp_path / "list.csv", settings={"sample.frames": 3}
    )
    done = extract(config, tmp_path, tmp_path / "cache", silent, ONE)
    held = shard(open_cache(done.path), "test")
    found = dict(zip(held.id_N, np.split(held.frame_index_R, held.video_ptr[1:-1]), strict=True))
    assert found["film.mp4#t=0,1"].tolist() == [4, 12, 20]
    assert found["film.mp4#t=2,3"].tolist() == [52, 60, 68]
    assert done.tally.reasons == {"no frame starts between #.# s and #.# s": 1}


def test_features_before_the_projection_lead_to_those_after_it(small_folder: Path, tmp_path: Path) -> None:
    cache = make(small_folder, tmp_path, also=["pre"], dtype="float32")
    kit = prepare(build(ExtractConfig, dataset="toy"), small_folder).kit
    held = shard(cache, "test")
    projection = kit.backbone.model.visual.proj.numpy()
    np.testing.assert_allclose(held.more["pre"] @ projection, held.features_RD, rtol=1e-4, atol=1e-5)
    plain = make(small_folder, tmp_path, dtype="float32")
    np.testing.assert_allclose(shard(plain, "test").features_RD, held.features_RD, rtol=1e-4, atol=1e-5)


def test_every_patch_can_be_kept(small_folder: Path, tmp_path: Path) -> None:
    cache = make(small_folder, tmp_path, also=["patch"], **{"sample.frames": 1})
    held = shard(cache, "test")
    assert held.more["patch"].shape == (24, 16, 128)  # the width before the projection


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_other_types_hold_the_same_numbers(small_cache: Cache, small_folder: Path, tmp_path: Path, dtype: str) -> None:
    other = make(small_folder, tmp_path, dtype=dtype).read("test")
    close = {"float32": 2e-3, "bfloat16": 1e-2}[dtype]
    assert other.features_NVTD.dtype == np.float32
    np.testing.assert_allclose(other.features_NVTD, small_cache.read("test").features_NVTD, rtol=close, atol=close)


@given(st.lists(st.floats(width=32), min_size=1, max_size=20))
@example([1 + 2**-8, 1 + 3 * 2**-8])  # half-way, between an even one below and above
def test_bfloat16_is_rounded_as_torch_rounds_it(values: list[float]) -> None:
    floats = np.array(values, np.float32)
    expected = torch.from_numpy(floats).to(torch.bfloat16).float().numpy()
    assert np.array_equal(unpack(pack(floats, "bfloat16")), expected, equal_nan=True)


def test_a_video_that_only_the_other_decoder_reads_is_recorded_with_it(small_folder: Path, tmp_path: Path) -> None:
    import odd_videos as odd

    (tmp_path / "videos" / "act").mkdir(parents=True)
    odd.video(tmp_path / "videos" / "act" / "a.mp4", odd.pictures(12))
    odd.video(tmp_path / "videos" / "act" / "b.mp4", odd.pictures(12), "av1")
    for fallback, failed, decoders in ((False, 1, ("decord", "decord")), (True, 0, ("decord", "pyav"))):
        config = build(ExtractConfig, dataset="folder", model="toy", decoder="decord", fallback=fallback)
        done = extract(config, tmp_path / "videos", tmp_path / str(fallback), silent, ONE)
        assert done.tally.failed == failed
        assert shard(open_cache(done.path), "test").decoder_N == decoders


def test_retrying_makes_only_shards_with_failures_again(small_folder: Path, tmp_path: Path) -> None:
    import shutil

    root = tmp_path / "videos"
    shutil.copytree(small_folder, root)
    victim = sorted((root / "test").rglob("*.mp4"))[0]
    content = victim.read_bytes()
    victim.write_bytes(bytes(len(content)))  # a disk that was briefly ill: the size is right
    config = build(ExtractConfig, dataset="toy", shard=8)
    first = extract(config, root, tmp_path / "c", silent, ONE)
    victim.write_bytes(content)
    again = extract(config, root, tmp_path / "c", silent, ONE)
    assert (first.tally.failed, again.tally.failed, again.reused) == (1, 1, again.shards)
    retried = extract(config, root, tmp_path / "c", silent, Means(workers=1, retry=True))
    assert (retried.tally.failed, retried.reused) == (0, retried.shards - 1)


PICTURES = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", ["flip", "rand", "rand+flip"])
def test_augmentation_is_a_pure_function_of_its_key_and_alike_for_all_frames(kind: str) -> None:
    state = torch.random.get_rng_state()
    results = [augment(PICTURES, kind, str(key)) for key in range(12)]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(augment(PICTURES, kind, str(key)), results[key]) for key in range(12))
    assert len({tuple(result.flatten().tolist()) for result in results}) > 1
    alike = augment(PICTURES[:1].repeat(4, 1, 1, 1), kind, "5")
    assert all(torch.equal(frame, alike[0]) for frame in alike)


def test_a_flip_is_a_flip_about_half_of_the_time() -> None:
    flipped = [torch.equal(augment(PICTURES, "flip", str(key)), PICTURES.flip(-1)) for key in range(200)]
    assert 70 < sum(flipped) < 130


def test_augmented_views_differ_from_plain_ones(tmp_path: Path) -> None:
    import odd_videos as odd

    for split in ("train", "test"):
        (tmp_path / "videos" / split / "act").mkdir(parents=True)
        odd.video(tmp_path / "videos" / split / "act" / "a.mp4", odd.pictures(24))
    found = {}
    for kind in ("none", "rand+flip"):
        config = build(ExtractConfig, dataset="folder", model="toy", augment=kind, settings={"sample.views": 2})
        cache = open_cache(extract(config, tmp_path / "videos", tmp_path / "c", silent, ONE).path)
        found[kind] = cache.read("train").features_NVTD, cache.read("test").features_NVTD
    assert not np.allclose(found["none"][0], found["rand+flip"][0], atol=1e-2)
    np.testing.assert_allclose(found["none"][1], found["rand+flip"][1], atol=2e-3)


def test_flips_are_refused_where_left_and_right_are_classes(small_folder: Path) -> None:
    with pytest.raises(UsageError, match="tells left from right"):
        prepare(build(ExtractConfig, dataset="toy", augment="flip", settings={"sample.views": 2}), small_folder)
    prepare(build(ExtractConfig, dataset="toy", augment="rand", settings={"sample.views": 2}), small_folder)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"augment": "rand"}, "augment changes training views"),
        ({"sample.every": 2, "sample.fps": 3}, "every and fps are two ways"),
        ({"sample.every": 2, "sample.views": 2}, "dense sampling has one view"),
        ({"weights": "a.pt", "pretrained": "openai"}, "pretrained and weights both say"),
        ({"also": ["pre", "pre"]}, "also names something twice"),
        ({"device": "tpu"}, "config device: .*tpu"),
        ({"fold": 4}, "config fold: .*4"),
    ],
    ids=str,
)
def test_settings_that_contradict_each_other_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        build(ExtractConfig, settings={"dataset": "toy", **wrong})


@pytest.mark.parametrize(
    ("said", "environment", "part"),
    [
        (None, {"RANK": "1", "WORLD_SIZE": "4"}, (1, 1)),
        ("2/3", {}, (2, 3)),
        ("auto", {}, (1, 1)),
        ("auto", {"RANK": "1", "WORLD_SIZE": "4"}, (2, 4)),
        ("auto", {"SLURM_PROCID": "3", "SLURM_NTASKS": "4"}, (4, 4)),
        (
            "auto",
            {
                "SLURM_PROCID": "0",
                "SLURM_NTASKS": "1",
                "SLURM_ARRAY_TASK_ID": "7",
                "SLURM_ARRAY_TASK_COUNT": "4",
                "SLURM_ARRAY_TASK_MIN": "5",
            },
            (3, 4),
        ),
    ],
)
def test_parts_are_said_or_come_from_the_scheduler(said: str | None, environment: dict[str, str], part: Any) -> None:
    assert parse_part(said, environment) == part


@pytest.mark.parametrize("said", ["0/3", "4/3", "1", "a/b", "1/0", "-1/2"])
def test_parts_that_do_not_exist_are_refused(said: str) -> None:
    with pytest.raises(UsageError, match="--part"):
        parse_part(said)
