"""Takes of a video: centre, random views, augmented, dense, trimmed; types; and what is refused."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import odd_videos as odd
import pytest
import torch
from conftest import ONE
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from plfeat.config import ExtractConfig
from plfeat.errors import UsageError
from plfeat.flows.extract import Extraction, extract, prepare
from plfeat.means import Means, parse_part
from plfeat.recipe import Take
from plfeat.records import silent
from plfeat.settings import build
from plfeat.shards.hdf5 import pack, unpack
from plfeat.shards.store import Store, open_store
from plfeat.video.augment import augment
from plfeat.video.sampling import choose


def make(root: Path, cache: Path, **settings: Any) -> Extraction:
    config = build(ExtractConfig, settings={"dataset": "toy", "shard": 24, **settings})
    return extract(config, root, cache, silent, ONE)


def stored(done: Extraction) -> Store:
    return open_store(done.path)


def keys(store: Store, split: str) -> list[str]:
    return [row.video for row in store.read_list("toy").of(split)]


def read(store: Store, split: str, take: Take) -> NDArray[Any]:
    return store.rows(keys(store, split), take).read()


def frame_index(store: Store, key: str, take: Take) -> list[int]:
    found = store.index(take).shard(key)
    assert found
    shard, number = found[0].shard, found[1]
    rows: list[int] = shard.frame_index_R[slice(*shard.video_ptr[number : number + 2])].tolist()
    return rows


def random(view: int, frames: int = 8, augment: str = "none") -> Take:
    return Take("random", frames, view=view, augment=augment)


def test_training_videos_have_random_views_beside_the_centre_that_all_have(small_folder: Path, tmp_path: Path) -> None:
    store = stored(make(small_folder, tmp_path, **{"sample.views": 3, "sample.frames": 4}))
    train, test = keys(store, "train"), keys(store, "test")
    assert set(store.takes) == {Take(frames=4), *(random(view, 4) for view in range(3))}
    assert not store.lacks([*train, *test], Take(frames=4))
    for view in range(3):
        assert store.lacks([*train, *test], random(view, 4)) == test
        expected = choose(random(view, 4), np.arange(24) / 12, train[0]).tolist()
        assert frame_index(store, train[0], random(view, 4)) == expected
    assert store.lists["toy"].takes["train"] == (Take(frames=4), *(random(view, 4) for view in range(3)))
    assert store.lists["toy"].takes["other"] == (Take(frames=4),)


def test_ten_random_views_of_every_test_video(small_folder: Path, tmp_path: Path) -> None:
    store = stored(make(small_folder, tmp_path, **{"sample.test_views": 10}))
    assert not store.lacks(keys(store, "test"), random(9))
    assert store.lacks(keys(store, "train"), random(0)) == keys(store, "train")


def test_more_views_cost_the_training_videos_alone_and_leave_what_is_there_as_it_is(
    small_folder: Path, tmp_path: Path
) -> None:
    """A store that grew, against one that was made at once."""
    decoded, before = [], dict[str, bytes]()
    for views in (1, 2, 5):
        done = make(small_folder, tmp_path / "grown", **{"sample.views": views})
        decoded.append(done.decoded)
        files = {path.name: path.read_bytes() for path in (done.path / "shards").iterdir()}
        assert before.items() <= files.items()
        before = files
    assert decoded == [48, 24, 24]
    grown, whole = stored(done), stored(make(small_folder, tmp_path / "whole", **{"sample.views": 5}))
    assert set(grown.takes) == set(whole.takes)
    for take in whole.takes:
        np.testing.assert_array_equal(read(grown, "train", take), read(whole, "train", take))
    assert make(small_folder, tmp_path / "grown", **{"sample.views": 5}).decoded == 0


def test_dense_frames_are_ragged_and_beside_the_centre(small_folder: Path, tmp_path: Path) -> None:
    store = stored(make(small_folder, tmp_path, **{"sample.every": 5}))
    dense = Take("dense", every=5)
    assert set(store.takes) == {Take(), dense}
    assert set(store.rows(keys(store, "test"), dense).length_N.tolist()) == {5}  # 24 frames: 0, 5, 10, 15, 20
    done = make(small_folder, tmp_path, **{"sample.fps": 12.0, "sample.cap": 7})
    assert done.decoded == 48
    capped = Take("dense", fps=12.0, cap=7)
    assert set(stored(done).rows(keys(store, "train"), capped).length_N.tolist()) == {7}


def test_dense_videos_have_their_own_lengths(tmp_path: Path) -> None:
    for name, length in (("short", 10), ("long", 40)):
        (tmp_path / "videos" / name).mkdir(parents=True)
        odd.video(tmp_path / "videos" / name / "a.mp4", odd.pictures(length))
    config = build(ExtractConfig, dataset="folder", model="toy", settings={"sample.every": 4})
    store = stored(extract(config, tmp_path / "videos", tmp_path / "cache", silent, ONE))
    rows = {row.name: row.video for row in store.read_list("videos").rows}
    dense = Take("dense", every=4)
    assert {name: len(frame_index(store, key, dense)) for name, key in rows.items()} == {
        "long/a.mp4": 10,
        "short/a.mp4": 3,
    }


def test_a_trimmed_list_makes_a_video_of_each_segment(tmp_path: Path) -> None:
    odd.video(tmp_path / "film.mp4", odd.pictures(72))  # 24 frames a second
    rows = ["path,label,start,end", "film.mp4,first,0,1", "film.mp4,last,2,3", "film.mp4,beyond,7,9"]
    (tmp_path / "list.csv").write_text("\n".join(rows))
    config = build(
        ExtractConfig, dataset="csv", model="toy", lists=tmp_path / "list.csv", settings={"sample.frames": 3}
    )
    done = extract(config, tmp_path, tmp_path / "cache", silent, ONE)
    store, take = stored(done), Take(frames=3)
    found = {row.start: row.video for row in store.read_list("list").rows}
    assert found[2.0].endswith("#t=2,3")
    assert frame_index(store, found[0.0], take) == [4, 12, 20]
    assert frame_index(store, found[2.0], take) == [52, 60, 68]
    assert done.reasons == {"no frame starts between #.# s and #.# s": 1}
    (tmp_path / "film.mp4").rename(tmp_path / "other.mp4")
    (tmp_path / "list.csv").write_text("\n".join(rows).replace("film", "other"))
    assert extract(config, tmp_path, tmp_path / "cache", silent, ONE).decoded == 0


def test_features_before_the_projection_lead_to_those_after_it(small_folder: Path, tmp_path: Path) -> None:
    done = make(small_folder, tmp_path, also=["pre"], dtype="float32")
    kit = prepare(build(ExtractConfig, dataset="toy"), small_folder, tmp_path / "none", silent).kit
    after, before = (read(stored(done), "test", take) for take in (Take(), Take(output="pre")))
    projection = kit.backbone.model.visual.proj.numpy()
    np.testing.assert_allclose(before @ projection, after, rtol=1e-4, atol=1e-5)
    assert make(small_folder, tmp_path, dtype="float32").decoded == 0  # the plain features are there
    plain = make(small_folder, tmp_path / "plain", dtype="float32")
    np.testing.assert_allclose(read(stored(plain), "test", Take()), after, rtol=1e-4, atol=1e-5)


def test_every_patch_can_be_kept(small_folder: Path, tmp_path: Path) -> None:
    store = stored(make(small_folder, tmp_path, also=["patch"], **{"sample.frames": 1}))
    patches = read(store, "test", Take(frames=1, output="patch"))
    assert patches.shape == (24, 1, 16, 128)  # the width before the projection


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_other_types_hold_the_same_numbers(small_store: Store, small_folder: Path, tmp_path: Path, dtype: str) -> None:
    other = read(stored(make(small_folder, tmp_path, dtype=dtype)), "test", Take())
    close = {"float32": 2e-3, "bfloat16": 1e-2}[dtype]
    assert other.dtype == np.float32
    np.testing.assert_allclose(other, read(small_store, "test", Take()), rtol=close, atol=close)


@given(st.lists(st.floats(width=32), min_size=1, max_size=20))
@example([1 + 2**-8, 1 + 3 * 2**-8])  # half-way, between an even one below and above
def test_bfloat16_is_rounded_as_torch_rounds_it(values: list[float]) -> None:
    floats = np.array(values, np.float32)
    expected = torch.from_numpy(floats).to(torch.bfloat16).float().numpy()
    assert np.array_equal(unpack(pack(floats, "bfloat16")), expected, equal_nan=True)


def test_a_video_that_only_the_other_decoder_reads_is_recorded_with_it(tmp_path: Path) -> None:
    """Its failure is remembered; the fallback is tried when asked to try again."""
    (tmp_path / "videos" / "act").mkdir(parents=True)
    odd.video(tmp_path / "videos" / "act" / "a.mp4", odd.pictures(12))
    odd.video(tmp_path / "videos" / "act" / "b.mp4", odd.pictures(12), "av1")
    plain, more = (
        build(ExtractConfig, dataset="folder", model="toy", decoder="decord", fallback=fallback)
        for fallback in (False, True)
    )
    retry = Means(workers=1, retry=True)
    found = []
    for config, means in ((plain, ONE), (plain, ONE), (more, ONE), (more, retry), (more, ONE), (plain, retry)):
        done = extract(config, tmp_path / "videos", tmp_path / "c", silent, means)
        found.append((done.decoded, done.failed))
    assert found == [(2, 1), (0, 1), (0, 1), (1, 0), (0, 0), (0, 0)]
    index = stored(done).index(Take())
    decoders = [opened.shard.decoder_N[number] for opened, number in map(index.shard, index.where)]  # type: ignore[misc]
    assert sorted(decoders) == ["decord", "pyav"]


def test_trying_again_makes_only_what_failed(small_folder: Path, tmp_path: Path) -> None:
    """As when a network disk was ill while a file that is sound was read."""
    root = tmp_path / "videos"
    shutil.copytree(small_folder, root)
    victim = sorted((root / "test").rglob("*.mp4"))[0]

    def ill(stage: str, done: int, total: int, note: str = "", /) -> None:
        if stage == "loading the model" and done == total:
            victim.rename(tmp_path / "away.mp4")

    config = build(ExtractConfig, dataset="toy", shard=8)
    first = extract(config, root, tmp_path / "c", ill, ONE)
    (tmp_path / "away.mp4").rename(victim)
    again = extract(config, root, tmp_path / "c", silent, ONE)
    assert (first.decoded, first.failed, again.decoded, again.failed) == (48, 1, 0, 1)
    retried = extract(config, root, tmp_path / "c", silent, Means(workers=1, retry=True))
    assert (retried.decoded, retried.reused, retried.failed) == (1, 47, 0)


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


def test_augmented_views_differ_from_plain_ones_and_stand_beside_them(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / "videos" / split / "act").mkdir(parents=True)
        odd.video(tmp_path / "videos" / split / "act" / "a.mp4", odd.pictures(24, seed=len(split)))
    for kind in ("none", "rand+flip"):
        config = build(ExtractConfig, dataset="folder", model="toy", augment=kind, settings={"sample.views": 2})
        done = extract(config, tmp_path / "videos", tmp_path / "c", silent, ONE)
        assert done.decoded == (2 if kind == "none" else 1)
    store = stored(done)
    (row,) = store.read_list("videos").of("train")
    plain, changed = (store.rows([row.video], random(1, augment=kind)).one(0) for kind in ("none", "rand+flip"))
    assert frame_index(store, row.video, random(1)) == frame_index(store, row.video, random(1, augment="rand+flip"))
    assert not np.allclose(plain, changed, atol=1e-2)


def test_flips_are_refused_where_left_and_right_are_classes(small_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="tells left from right"):
        make(small_folder, tmp_path, augment="flip", **{"sample.views": 2})
    assert not list(tmp_path.iterdir())
    make(small_folder, tmp_path, augment="rand", **{"sample.views": 2})


def test_views_that_no_video_has_are_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "videos" / "act").mkdir(parents=True)
    odd.video(tmp_path / "videos" / "act" / "a.mp4", odd.pictures(24))
    config = build(ExtractConfig, dataset="folder", model="toy", settings={"sample.views": 2})
    with pytest.raises(UsageError, match=r"sample\.views=2: no video of videos has them"):
        extract(config, tmp_path / "videos", tmp_path / "c", silent, ONE)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"augment": "rand"}, "augment changes training views"),
        ({"sample.every": 2, "sample.fps": 3}, "every and fps are two ways"),
        ({"weights": "a.pt", "pretrained": "openai"}, "pretrained and weights both say"),
        ({"also": ["pre", "pre"]}, "also names something twice"),
        ({"device": "tpu"}, "config device: .*tpu"),
        ({"split": "70/10/20", "folds": 5}, "split and folds are two ways"),
        ({"folds": 1}, "config folds: .*1"),
        ({"fold": 2}, "unknown config key 'fold'"),
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
