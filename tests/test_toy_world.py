"""The toy world: its classes have the truth they declare, and nothing leaks between splits or into pretraining."""

import csv
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest
from open_clip import SimpleTokenizer

from plfeat.datasets import READERS, Place
from plfeat.errors import DataError, UsageError
from plfeat.records import SPLITS, silent
from plfeat.toy.captions import caption, pictures, stray_vocabulary
from plfeat.toy.draw import draw
from plfeat.toy.motion import film
from plfeat.toy.pretrain import PICTURES
from plfeat.toy.videos import VIDEOS, frames_of, make, plan
from plfeat.toy.world import ACTIONS, CLASS_NAMES, NOUNS, STRATA, mirror_of


def test_there_are_24_classes_in_three_equal_strata() -> None:
    assert len(set(CLASS_NAMES)) == len(ACTIONS) == 24
    assert Counter(action.stratum for action in ACTIONS) == dict.fromkeys(STRATA, 8)


def test_naming_the_object_is_never_enough() -> None:
    verbs = Counter(action.noun for action in ACTIONS)
    assert set(verbs) == set(NOUNS)
    assert min(verbs.values()) >= 4


def test_only_order_classes_have_mirrors_and_they_are_mutual() -> None:
    for action in ACTIONS:
        twin = mirror_of(action)
        assert (twin is not None) == (action.stratum == "order")
        if twin is not None:
            assert mirror_of(twin) == action


@pytest.mark.parametrize("action", [a for a in ACTIONS if a.stratum == "order"], ids=lambda a: a.name)
def test_a_mirrored_pair_shows_the_same_frames_backwards(action) -> None:
    twin = mirror_of(action)
    scene, other = (film(a, np.random.default_rng(5)) for a in (action, twin))
    blank = {"noise": np.zeros(len(scene), np.float32)}
    from dataclasses import replace

    frames, reverse = (draw(replace(s, **blank), np.random.default_rng(0)) for s in (scene, other))
    assert np.array_equal(frames, reverse[::-1])
    assert not np.array_equal(frames, reverse)


@pytest.mark.parametrize("action", [a for a in ACTIONS if a.stratum == "appearance"], ids=lambda a: a.name)
def test_an_appearance_action_looks_the_same_in_every_frame(action) -> None:
    scene = film(action, np.random.default_rng(2))
    for part in ("x", "y", "radius", "angle", "colour", "glow", "split"):
        assert np.ptp(getattr(scene, part), axis=0).max() == 0
    assert (scene.glow + scene.split).min() == 1


@pytest.mark.parametrize("action", [a for a in ACTIONS if a.stratum == "set"], ids=lambda a: a.name)
def test_a_set_action_changes_over_time(action) -> None:
    scene = film(action, np.random.default_rng(2))
    assert sum(np.ptp(getattr(scene, part), axis=0).max() > 0 for part in ("y", "angle", "colour")) == 1


def test_every_noun_draws_a_different_picture() -> None:
    scene, _ = pictures(np.random.default_rng(0), len(NOUNS))
    same = {name: np.repeat(getattr(scene, name)[:1], len(NOUNS), axis=0) for name in vars(scene)}
    same |= {"noun": np.arange(len(NOUNS)), "radius": np.full(len(NOUNS), 15.0, np.float32)}
    images = draw(type(scene)(**same), np.random.default_rng(0))
    assert len({image.tobytes() for image in images}) == len(NOUNS)


def test_videos_are_the_same_for_the_same_seed_and_different_otherwise() -> None:
    assert np.array_equal(frames_of("test", 3, 7, seed=0), frames_of("test", 3, 7, seed=0))
    others = [frames_of(split, 3, number, seed) for split in SPLITS for number in (0, 1) for seed in (0, 1)]
    assert len({video.tobytes() for video in others}) == len(others)


def test_no_frame_of_one_split_is_in_another(toy_folder: Path) -> None:
    seen: dict[bytes, str] = {}
    for split, index, number in plan(120):
        for frame in frames_of(split, index, number, seed=3):
            assert seen.setdefault(frame.tobytes(), split) == split


def test_pretraining_pictures_and_videos_come_from_different_seeds() -> None:
    assert PICTURES != VIDEOS


def test_captions_never_contain_a_class_name_nor_any_classes_verb() -> None:
    rng = np.random.default_rng(0)
    stray = stray_vocabulary(SimpleTokenizer().encoder)
    verbs = {word for action in ACTIONS for word in action.verb.split()} - {"left", "right"}
    _, truth = pictures(rng, 4000)
    captions = [caption(rng, {key: int(value[i]) for key, value in truth.items()}, stray) for i in range(4000)]
    for text in captions:
        words = text.rstrip(".").split()
        assert not verbs & set(words), text
        assert not any(f" {name} " in f" {' '.join(words)} " for name in CLASS_NAMES), text
    assert any("with a halo" in text for text in captions)
    assert any("top left" in text for text in captions)


def test_files_are_real_h264_in_the_folder_layout(toy_folder: Path) -> None:
    dataset = READERS["toy"](Place("toy", toy_folder, toy_folder))
    assert set(dataset.classes) == set(CLASS_NAMES)
    assert Counter(row.split for row in dataset.rows) == {("train",): 48, ("test",): 72}
    assert dict(zip(dataset.classes, dataset.stratum, strict=True)) == {a.name: a.stratum for a in ACTIONS}
    with av.open(str(dataset.rows[0].path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.frames, stream.width) == ("h264", 24, 64)


def test_the_same_dataset_is_the_same_bytes_with_any_number_of_workers(toy_folder: Path, tmp_path: Path) -> None:
    make(tmp_path / "two", 120, seed=3, tick=silent, workers=2)
    first, second = (sorted(p for p in root.rglob("*") if p.is_file()) for root in (toy_folder, tmp_path / "two"))
    assert [p.relative_to(toy_folder) for p in first] == [p.relative_to(tmp_path / "two") for p in second]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("videos", [24, 25, 100, 961])
def test_any_number_of_videos_is_spread_over_all_classes(videos: int) -> None:
    jobs = plan(videos)
    assert len(jobs) == len(set(jobs)) == videos
    each = Counter(index for _, index, _ in jobs)
    assert max(each.values()) - min(each.values()) <= 1


def test_making_it_twice_keeps_the_first_and_never_overwrites_something_else(tmp_path: Path) -> None:
    assert make(tmp_path / "toy", 24, 0, silent, workers=1)
    assert not make(tmp_path / "toy", 24, 0, silent, workers=1)
    with pytest.raises(DataError, match="something else"):
        make(tmp_path / "toy", 48, 0, silent, workers=1)
    with pytest.raises(UsageError, match="at least one for each"):
        make(tmp_path / "few", 5, 0, silent)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["toy"]


def test_the_class_table_names_the_twins(toy_folder: Path) -> None:
    with (toy_folder / "classes.csv").open() as file:
        rows = {row["class"]: row for row in csv.DictReader(file)}
    assert rows["growing ring"] == {"class": "growing ring", "stratum": "order", "mirror": "shrinking ring"}
