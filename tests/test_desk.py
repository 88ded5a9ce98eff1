"""A desk: what is read of a store, for which fold of which list, and what is not opened because nobody asks for it."""

import csv
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import extracted, quick

from plfeat.config import DataConfig
from plfeat.desk import Desk, TextSide
from plfeat.errors import CacheError, DataError, UsageError
from plfeat.flows.caches import stores
from plfeat.flows.desks import Wanted, choose_store, folds_of, open_desk
from plfeat.flows.evaluate import evaluate_all
from plfeat.flows.train import train_frozen
from plfeat.presets import train_config
from plfeat.recipe import Take
from plfeat.records import VideoList, silent
from plfeat.report.runs import load_run
from plfeat.shards.growth import Growth
from plfeat.shards.store import Rows, open_store
from plfeat.train.build import resident
from plfeat_cli.main import main

CENTRE = Take("centre", 8)
QUICK = ("optim.epochs=2", "seeds=[0]")


@pytest.fixture
def store(toy_desk: Desk, tmp_path: Path) -> Path:
    """A copy to write to."""
    return Path(shutil.copytree(toy_desk.store.path, tmp_path / "cache" / "toy" / toy_desk.store.path.name))


def put(store: Path, videos: VideoList) -> Desk:
    """The same videos under another list."""
    opened = open_store(store)
    with Growth(store, opened.recipe) as growth:
        growth.put_list(videos, {"train": (CENTRE,), "other": (CENTRE,)})
        growth.finish()
    return open_desk(store, Wanted(videos.name))


def folded(videos: VideoList, name: str = "folded", folds: int = 3) -> VideoList:
    """Every video is tested in one fold and trained on in the others; groups of two."""
    rows = tuple(
        replace(
            row,
            split=tuple("test" if number % folds == fold else "train" for fold in range(folds)),
            group=f"film {number // 2}",
        )
        for number, row in enumerate(videos.rows)
    )
    return replace(videos, name=name, rows=rows)


def unsplit(videos: VideoList, name: str = "plain", label: int | None = None) -> VideoList:
    rows = (replace(row, split=("test",), label=row.label if label is None else label) for row in videos.rows)
    return replace(videos, name=name, rows=tuple(rows))


# ---- features


@pytest.mark.parametrize("split", ["train", "test"])
def test_pooled_features_are_those_that_a_device_would_make_of_all_frames(split: str, toy_desk: Desk) -> None:
    whole, pooled = toy_desk.split(split), toy_desk.split(split, pooled=True)
    assert pooled.features_NVTD.dtype == np.float32
    assert pooled.features_NVTD.shape == (*whole.features_NVTD.shape[:2], 1, whole.features_NVTD.shape[3])
    vit = train_config("vit")
    one, two = (resident(frames, vit, torch.device("cpu")).features_NVTD for frames in (whole, pooled))
    assert torch.equal(one, two)
    assert pooled.id_N == whole.id_N
    np.testing.assert_array_equal(pooled.label_N, whole.label_N)


def test_no_more_than_a_block_of_frames_is_in_memory(toy_desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks, read = Rows.blocks, []

    def few(self: Rows, most: int = 4096) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for where, block in blocks(self, 5):
            read.append(len(block))
            yield where, block

    whole = toy_desk.split("test", pooled=True)
    monkeypatch.setattr(Rows, "blocks", few)
    monkeypatch.setattr(Rows, "read", lambda self: pytest.fail("all frames at once"))
    np.testing.assert_array_equal(toy_desk.split("test", pooled=True).features_NVTD, whole.features_NVTD)
    assert max(read) == 5


def test_rows_are_sorted_by_name_whatever_the_order_of_the_shards(toy_desk: Desk) -> None:
    for split in ("train", "test"):
        assert list(toy_desk.split(split).id_N) == sorted(toy_desk.split(split).id_N)


def test_groups_and_missing_videos_are_those_of_the_list(store: Path, toy_desk: Desk) -> None:
    videos = folded(toy_desk.videos)
    lost = videos.rows[0]
    rows = (replace(lost, video=""), *videos.rows[1:])
    frames = put(store, replace(videos, rows=rows)).split("test")
    assert (frames.missing, len(frames.id_N)) == (1, 39)
    group = {row.name: row.group for row in rows}
    assert frames.group_N == tuple(group[name] for name in frames.id_N)
    assert toy_desk.split("test").group_N == ()


def test_a_list_that_names_videos_the_store_lacks_is_refused_in_one_line(store: Path, toy_desk: Desk, capfd) -> None:
    rows = toy_desk.videos.rows
    desk = put(store, replace(toy_desk.videos, name="other", rows=(replace(rows[0], video="0" * 32), *rows[1:])))
    with pytest.raises(CacheError, match=r"has no centre-8 of 1 videos of list other@\w+, the first is"):
        desk.split(rows[0].split[0])
    command = ["train", "--frozen", "--cache", str(store), "--dataset", "other", "--out", str(store.parent / "out")]
    assert main([*command, "-q"]) == 4
    assert len(capfd.readouterr().err.splitlines()) == 1


def test_the_most_views_that_every_video_has_are_read_else_the_centre(small_folder: Path, tmp_path: Path) -> None:
    desk = extracted(small_folder, tmp_path, "toy", **{"sample.views": 3, "sample.frames": 4})
    three = tuple(Take("random", 4, 0, view) for view in range(3))
    assert desk.takes == {"train": three, "test": (Take("centre", 4),)}
    assert desk.split("train").features_NVTD.shape[:3] == (24, 3, 4)
    assert replace(desk, data=DataConfig(views=2)).takes["train"] == three[:2]
    assert replace(desk, data=DataConfig(views=1)).takes["train"] == (Take("centre", 4),)
    with pytest.raises(UsageError, match=r"data.views=4: .* has 3 of every such video"):
        _ = replace(desk, data=DataConfig(views=4)).takes
    with pytest.raises(UsageError, match=r"data.frames=8: .* has 4 frames of a video"):
        _ = replace(desk, data=DataConfig(frames=8)).takes


def test_of_several_numbers_of_frames_one_has_to_be_named(small_folder: Path, tmp_path: Path, capfd) -> None:
    extracted(small_folder, tmp_path, "toy", **{"sample.frames": 4})
    desk = extracted(small_folder, tmp_path, "toy")
    command = ["train", "--frozen", "--preset", "nearest-mean", "--cache", str(tmp_path), "--out", str(tmp_path / "o")]
    assert main([*command, "-q"]) == 2
    assert "several numbers of frames; say --set data.frames=4 or data.frames=8" in capfd.readouterr().err
    assert main([*command, "-q", "--set", "data.frames=4"]) == 0
    assert replace(desk, data=DataConfig(frames=4)).read["frames"] == 4
    assert load_run(tmp_path / "o" / "seed-0").method == "nearest-mean, data.frames=4"


# ---- text


@pytest.mark.parametrize("preset", ["vit", "nearest-mean", "linear-probe"])
def test_what_reads_no_text_opens_no_text_tower(preset: str, store: Path, tmp_path: Path) -> None:
    """No tower, no texts, no weights: the features are enough."""
    shutil.rmtree(store / "text")
    recipe = json.loads((store / "recipe.json").read_text())
    recipe["source"] = {"pretrained": "file", "weights": "/nowhere.pt"}
    (store / "recipe.json").write_text(json.dumps(recipe))
    desk = open_desk(store)
    train_frozen(quick(preset, QUICK), desk, tmp_path / "out", silent)
    with pytest.raises(CacheError, match="keeps no text tower; name that file with --pretrained FILE"):
        train_frozen(train_config("zero-shot"), desk, tmp_path / "zero", silent)


def test_zero_shot_with_stored_texts_needs_the_scale_and_not_the_tower(
    toy_desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = open_desk(toy_desk.store.path)
    monkeypatch.setattr(TextSide, "_opened", lambda *_: pytest.fail("the tower was opened"))
    train_frozen(train_config("zero-shot-ensemble"), desk, tmp_path, silent)


def test_a_store_without_its_tower_takes_the_weights_that_made_it(store: Path, toy_desk: Desk) -> None:
    texts = toy_desk.texts
    for path in (store / "text").iterdir():
        path.unlink()
    again = open_desk(store)
    np.testing.assert_array_equal(again.texts.sentence_ND, texts.sentence_ND)
    assert again.log_scale == toy_desk.log_scale
    assert [path.name for path in (store / "text").iterdir()] == [texts.name]


@pytest.mark.parametrize(("beginning", "preset"), [("", "zero-shot-ensemble"), ("tower-", "prompts")])
def test_texts_and_towers_are_those_of_which_the_manifest_tells(
    store: Path, toy_desk: Desk, tmp_path: Path, beginning: str, preset: str
) -> None:
    """A file of other contents is refused, however whole it is; so is a link, which nobody passes over."""
    path = store / "text" / (toy_desk.texts.name if not beginning else toy_desk.text._file.name)
    content = path.read_bytes()
    path.write_bytes(content + b"\0")
    with pytest.raises(CacheError, match=r"its sha256 is not the one that manifest.json tells of"):
        train_frozen(quick(preset, QUICK), open_desk(store), tmp_path / "out", silent)
    path.unlink()
    (tmp_path / "elsewhere").write_bytes(content)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CacheError, match="a link; a store holds its own files"):
        train_frozen(quick(preset, QUICK), open_desk(store), tmp_path / "out", silent)


def test_a_list_whose_takes_were_never_made_is_not_trained_on(store: Path, toy_desk: Desk) -> None:
    views = tuple(Take("random", 8, 0, view) for view in range(2))
    with Growth(store, toy_desk.store.recipe) as growth:
        growth.put_list(toy_desk.videos, {"train": (CENTRE, *views), "other": (CENTRE,)})
        growth.finish()
    with pytest.raises(CacheError, match=r"has no random-8-seed0-view0 of any video, which list .* should have"):
        _ = open_desk(store).takes


# ---- folds


def test_every_fold_is_trained_and_a_run_is_tested_again_on_its_own(
    store: Path, toy_desk: Desk, tmp_path: Path
) -> None:
    desk = put(store, folded(toy_desk.videos))
    config = quick("prompts", QUICK)
    done = train_frozen(config, desk.folds(), tmp_path / "out", silent)
    assert [(run.about["fold"], run.about["folds"]) for run in done.runs] == [(1, 3), (2, 3), (3, 3)]
    assert sorted(path.parent.parent.name for path in (tmp_path / "out").rglob("record.json")) == [
        "fold-1",
        "fold-2",
        "fold-3",
    ]
    assert len({run.about["rows_sha256"] for run in done.runs}) == 3
    assert sorted(name for run in done.runs for name in run.id_N) == [row.name for row in desk.videos.rows]
    again = evaluate_all([tmp_path / "out"], desk, tmp_path / "again")
    for first, second in zip(done.runs, again, strict=True):
        assert (second.method, second.id_N, second.about["fold"]) == (first.method, first.id_N, first.about["fold"])
        np.testing.assert_allclose(second.scores_NC, first.scores_NC, rtol=1e-5, atol=1e-7)
    alone = train_frozen(config, folds_of(desk, 2), tmp_path / "alone", silent).runs
    np.testing.assert_array_equal(alone[0].scores_NC, done.runs[1].scores_NC)
    assert (tmp_path / "alone" / "fold-2" / "seed-0").is_dir()


def test_over_another_list_every_fold_is_tested(store: Path, toy_desk: Desk, tmp_path: Path) -> None:
    train_frozen(quick("prompts", QUICK), toy_desk, tmp_path / "out", silent)
    runs = evaluate_all([tmp_path / "out"], put(store, folded(toy_desk.videos)), tmp_path / "again")
    assert [run.about["fold"] for run in runs] == [1, 2, 3]
    assert {run.method for run in runs} == {f"prompts, optim.epochs=2, from {toy_desk.title}"}


def test_one_tower_serves_all_folds(store: Path, toy_desk: Desk, tmp_path: Path, monkeypatch) -> None:
    opened, open_it = [], TextSide._opened
    monkeypatch.setattr(TextSide, "_opened", lambda side, file: (opened.append(file), open_it(side, file))[1])
    train_frozen(quick("prompts", QUICK), put(store, folded(toy_desk.videos)).folds(), tmp_path, silent)
    assert len(opened) == 1


def test_a_list_that_has_grown_is_another_training(store: Path, toy_desk: Desk, tmp_path: Path) -> None:
    videos = toy_desk.videos
    few = put(store, replace(videos, name="few", rows=videos.rows[1:]))
    train_frozen(quick("prompts", QUICK), few, tmp_path, silent)
    grown = put(store, replace(videos, name="few"))
    with pytest.raises(UsageError, match="is of another training"):
        train_frozen(quick("prompts", QUICK), grown, tmp_path, silent, resume=True)


def test_runs_over_folds_do_not_stand_beside_others(store: Path, toy_desk: Desk, tmp_path: Path) -> None:
    train_frozen(quick("prompts", QUICK), toy_desk, tmp_path, silent)
    with pytest.raises(UsageError, match="is of another training"):
        train_frozen(quick("prompts", QUICK), put(store, folded(toy_desk.videos)).folds(), tmp_path, silent)


# ---- dividing


def test_an_undivided_list_is_divided_when_training_and_in_a_second_way_beside_it(
    store: Path, toy_desk: Desk, tmp_path: Path, capfd
) -> None:
    put(store, unsplit(toy_desk.videos))
    train = ["train", "--frozen", "--preset", "nearest-mean", "--cache", str(store), "--dataset", "plain", "--json"]
    assert main([*train, "--out", str(tmp_path / "none"), "-q"]) == 3
    assert "no split 'train'; it has test; --split 70/10/20 divides the videos" in capfd.readouterr().err
    assert main([*train, "--out", str(tmp_path / "one"), "-q", "--split", "60/0/40"]) == 0
    assert json.loads(capfd.readouterr().out)["rows"][0]["n"] == 48
    assert open_store(store).read_list("plain").splits() == ["train", "test"]
    assert main([*train, "--out", str(tmp_path / "five"), "-q", "--folds", "5"]) == 0
    assert json.loads(capfd.readouterr().out)["rows"][0]["n"] == 120
    assert sorted(open_store(store).lists) == ["plain", "plain-5-folds", "toy"]
    before = (store / "manifest.json").read_bytes()
    assert main([*train, "--out", str(tmp_path / "five"), "-q", "--folds", "5"]) == 0
    assert (store / "manifest.json").read_bytes() == before
    with pytest.raises(UsageError, match="two ways to divide"):
        open_desk(store, Wanted("plain", split="60/0/40", folds=5))


def test_what_its_owner_has_divided_is_not_divided_again(store: Path) -> None:
    with pytest.raises(UsageError, match="has splits of its own"):
        open_desk(store, Wanted("toy", folds=5))


# ---- names


def test_other_names_are_another_row(store: Path, toy_desk: Desk, tmp_path: Path, capfd) -> None:
    names = tmp_path / "names.csv"
    names.write_text("class,name\n" + "".join(f"{name},the {name} thing\n" for name in toy_desk.videos.classes))
    command = ["eval", "--zero-shot", "--cache", str(store), "--names", str(names), "--json"]
    assert main([*command, "--out", str(tmp_path / "out"), "-q"]) == 0
    (row,) = json.loads(capfd.readouterr().out)["rows"]
    assert row["method"].startswith("zero-shot, names @")
    assert row["n"] == 72
    assert load_run(tmp_path / "out" / "zero-shot").classes[0] == f"the {toy_desk.words[0]} thing"
    for preset, said in (("prompts", True), ("nearest-mean", False)):
        desk = open_desk(store, Wanted(names=names))
        run = train_frozen(quick(preset, QUICK), desk, tmp_path / preset, silent).runs[0]
        assert ("names @" in run.method) == said
    (again,) = evaluate_all([tmp_path / "prompts"], open_desk(store), tmp_path / "again")
    first = load_run(tmp_path / "prompts" / "seed-0")
    assert (again.method, again.classes) == (first.method, first.classes)
    np.testing.assert_allclose(again.scores_NC, first.scores_NC, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("labelled", [True, False])
def test_any_names_say_what_they_see_and_no_accuracy(
    labelled: bool, store: Path, toy_desk: Desk, tmp_path: Path, capfd
) -> None:
    put(store, unsplit(toy_desk.videos, label=None if labelled else -1))
    names = tmp_path / "names.csv"
    names.write_text("name\nspinning star\nglowing ring\nsomething else\n")
    command = ["eval", "--zero-shot", "--cache", str(store), "--dataset", "plain", "--out", str(tmp_path / "out"), "-q"]
    if labelled:
        command += ["--names", str(names)]
    assert main([*command, "--json"]) == 0
    said = json.loads(capfd.readouterr().out)
    with (tmp_path / "out" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert said["videos"] == len(rows) == sum(said["counts"].values()) == 120
    assert list(rows[0])[:3] == ["video", "name1", "share1"]
    assert {row["name1"] for row in rows} == said["counts"].keys()
    if labelled:
        assert said["counts"].keys() <= {"spinning star", "glowing ring", "something else"}
        seen = [row["name1"] == "spinning star" for row in rows if "/spinning star/" in row["video"]]
        assert np.mean(seen) > 0.5
    assert not (tmp_path / "out" / "record.json").exists()
    assert main(command) == 0
    assert capfd.readouterr().out.splitlines()[0].split() == ["name", "videos"]


def test_videos_without_labels_are_not_trained_on_and_stay_as_they_are(store: Path, toy_desk: Desk, capfd) -> None:
    bare = replace(unsplit(toy_desk.videos, label=-1), classes=(), words=(), stratum=(), mirror=())
    put(store, bare)
    before = open_store(store).lists["plain"].hash
    for wanted in ([], ["--split", "70/10/20"]):
        command = ["train", "--frozen", "--cache", str(store), "--dataset", "plain", "--out", str(store.parent / "out")]
        assert main([*command, *wanted, "-q"]) == 3
        assert "list plain: no video has a label; `plfeat eval --zero-shot --names FILE`" in capfd.readouterr().err
    assert main(["eval", "--zero-shot", "--cache", str(store), "--dataset", "plain", "-q"]) == 2
    assert "its videos have no classes; name some with --names FILE" in capfd.readouterr().err
    assert open_store(store).lists["plain"].hash == before


def test_a_list_that_came_of_dividing_another_is_not_one_to_divide(store: Path, toy_desk: Desk) -> None:
    put(store, unsplit(toy_desk.videos, "mine-2-3"))
    ways = (("70/10/20", "mine-2-3"), ("50/0/50", "mine-2-3-50-0-50"), ("80/20", "mine-2-3-80-20"))
    for shares, name in ways:
        desk = open_desk(store, Wanted("mine-2-3", split=shares))
        assert desk.videos.name == name
        assert desk.facts["divided"] == desk.videos.how
    assert len(open_store(store).lists) == 4
    with pytest.raises(UsageError, match=r"2 lists in .*: mine-2-3 \([^;]*; toy \("):
        open_desk(store, Wanted(folds=3))


# ---- choosing


def test_what_stores_differ_in_is_said_and_what_chooses(store: Path, small_folder: Path, tmp_path: Path, capfd) -> None:
    root = tmp_path / "cache"
    extracted(small_folder, root, "toy", dtype="float32")
    with pytest.raises(UsageError) as refused:
        choose_store(root)
    said = str(refused.value)
    assert said.startswith(f"2 stores under {root}; choose one with --cache: ")
    assert "pyav, float32, float16" in said
    assert "pyav, float32, float32" in said
    assert "centre-8" not in said  # both have it
    put(store, unsplit(open_store(store).read_list("toy"), "mine"))
    assert choose_store(root, "mine").path == store
    with pytest.raises(UsageError, match="unknown list 'mime'; did you mean 'mine'"):
        choose_store(root, "mime")
    with pytest.raises(
        UsageError, match=r"2 lists in .*; choose one with --dataset: mine \(24 classes, 120 test\); toy"
    ):
        open_desk(store)
    assert main(["cache", "ls", "--cache", str(root), "--json"]) == 0
    listed = json.loads(capfd.readouterr().out)
    assert [entry["videos"] for entry in listed] == [entry["videos"] for entry in stores(root)]


def test_a_damaged_store_is_a_line_and_no_end(store: Path, tmp_path: Path, capfd) -> None:
    root = tmp_path / "cache"
    for name, content in (("bad", "{"), ("odd", '{"format": 3}'), ("list", "[]")):
        (root / "toy" / name).mkdir()
        (root / "toy" / name / "recipe.json").write_text(content)
    (root / "old" / "x").mkdir(parents=True)
    (root / "old" / "x" / "spec.json").write_text("{}")
    assert main(["cache", "ls", "--cache", str(root)]) == 0
    out, err = capfd.readouterr()
    assert sum(line.split()[-1] == "damaged" for line in out.splitlines()) == 4
    assert "format 2 is not read; extract again" in err
    assert choose_store(root).path == store
    for path in (store, root / "toy"):
        assert main(["cache", "info", str(path)]) == 0
        told = capfd.readouterr().out
        for word in (
            "centre-8: 120 videos, 960 rows",
            "48 train, 72 test",
            "image_sha256",
            "24 classes in 16 templates",
        ):
            assert word in told


def test_a_store_alone_trains_tests_and_reports(store: Path, tmp_path: Path, monkeypatch, capfd) -> None:
    """No videos, no annotations, no weights, no network."""
    alone = Path(shutil.copytree(store, tmp_path / "elsewhere" / "store"))
    shutil.rmtree(tmp_path / "cache")
    monkeypatch.setattr("plfeat.backbone.load.load", lambda *_: pytest.fail("weights were asked for"))
    command = ["train", "--frozen", "--cache", str(alone), "--set", "seeds=[0]", "--set", "optim.epochs=2", "-q"]
    assert main([*command, "--out", str(tmp_path / "runs" / "a")]) == 0
    assert main(["eval", "--zero-shot", "--cache", str(alone), "--out", str(tmp_path / "runs" / "b"), "-q"]) == 0
    assert main(["report", str(tmp_path / "runs"), "--out", str(tmp_path / "table"), "-q"]) == 0
    assert "zero-shot" in capfd.readouterr().out


def test_a_split_that_is_not_there_is_named_with_those_that_are(toy_desk: Desk) -> None:
    with pytest.raises(DataError, match=r"list toy@\w+: no split 'val'; it has train, test$"):
        toy_desk.split("val")
    with pytest.raises(UsageError, match="no fold 2; it has 1"):
        toy_desk.at(2)
