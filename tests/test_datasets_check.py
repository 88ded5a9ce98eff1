"""Checking a dataset: what is listed, what is there, and what the owners published."""

import json
from pathlib import Path

import pytest
from layouts import plant, write

from plfeat.datasets import READERS, Place
from plfeat.datasets.check import Check, Count, check
from plfeat.datasets.counts import published
from plfeat.flows.catalog import check_remarks, check_table
from plfeat_cli.main import main

NOWHERE = Path("nowhere")


def check_hmdb(folder: Path, *videos: str, **lists: str) -> Check:
    plant(folder / "videos", *videos)
    for name, lines in lists.items():
        write(folder / f"{name}.txt", lines)
    write(folder / "clap_test_split2.txt", "a.avi 1\nb.avi 1\nc.avi 2\nd.avi 0\n")
    write(folder / "wave_test_split2.txt", "e.avi 2\n")
    place = Place("hmdb51", folder / "videos", folder)
    return check(READERS["hmdb51"](place), place)


def test_splits_and_classes_are_counted_beside_what_was_published(tmp_path: Path) -> None:
    done = check_hmdb(tmp_path, "clap/a.avi", "clap/c.avi", "clap/d.avi", "notes/x.mp4")
    assert done.splits == (Count("train", 2, 1, 1, 3570), Count("test", 2, 1, 1, 1530))
    assert done.classes == (Count("clap", 3, 2, 1, 100), Count("wave", 1, 0, 1, 100))
    assert (done.name, done.canonical_classes) == ("hmdb51", 51)


def test_all_missing_empty_and_unexpected_videos_are_named(tmp_path: Path) -> None:
    (tmp_path / "videos" / "clap").mkdir(parents=True)
    (tmp_path / "videos" / "clap" / "b.avi").write_bytes(b"")
    done = check_hmdb(tmp_path, "wave/e.avi", "clap/d.avi", "wave/e.mp4", "wave/readme.txt")
    assert done.missing == ("clap/a", "clap/c")
    assert done.empty == ("clap/b",)
    assert done.unexpected == ("clap/d.avi", "wave/e.mp4")
    assert done.splits[0].found == 1  # an empty file is there


def test_a_folder_named_like_a_missing_video_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "videos" / "clap" / "a.avi").mkdir(parents=True)
    assert "clap/a" in check_hmdb(tmp_path).missing


def test_each_published_fold_is_counted_for_itself(tmp_path: Path) -> None:
    more = {"clap_test_split3": "a.avi 2\nc.avi 0\n", "wave_test_split3": "e.avi 1\n"}
    done = check_hmdb(tmp_path, "clap/a.avi", **more)
    assert done.splits == (
        Count("train", 2, 1, 1, 3570, fold=2),
        Count("test", 2, 0, 2, 1530, fold=2),
        Count("train", 1, 0, 1, 3570, fold=3),
        Count("test", 1, 1, 0, 1530, fold=3),
    )
    assert done.classes == (Count("clap", 3, 1, 2, None), Count("wave", 1, 0, 1, None))
    assert done.missing == ("clap/b", "clap/c", "wave/e")
    assert [line[0] for line in check_table(done)] == [
        *["", "fold 2 train", "fold 2 test", "fold 3 train", "fold 3 test"],
        *["clap", "wave"],
    ]


def test_two_names_for_a_file_are_told(tmp_path: Path) -> None:
    plant(tmp_path, "a.mp4")
    text = f"path,start,end\na.mp4,,\n{tmp_path}/a.mp4,,\na.mp4,1,2\na.mp4,2,3\n"
    place = Place("csv", tmp_path, write(tmp_path / "list.csv", text))
    done = check(READERS["csv"](place), place)
    assert done.twice == (f"{tmp_path}/a.mp4", "a.mp4")
    assert done.unlabelled == 4
    assert check_remarks(done)[:2] == [
        "4 without a label",
        f"2 listed twice, under several names: {tmp_path}/a.mp4, a.mp4",
    ]


def test_files_that_hold_the_same_are_one_video_under_two_names(tmp_path: Path, capfd) -> None:
    for name, content in (("a", "one film"), ("b", "one film"), ("c", "two film"), ("d", ""), ("e", "")):
        write(tmp_path / "jump" / f"{name}.mp4", content)
    assert main(["datasets", "check", "folder", str(tmp_path)]) == 3
    assert "2 listed twice, under several names: jump/a.mp4, jump/b.mp4\n" in capfd.readouterr().err


def test_a_remark_never_acts_on_the_terminal(tmp_path: Path) -> None:
    plant(tmp_path, "jump/1.mp4", "jump/deep/\x1b[2J.mp4")
    place = Place("folder", tmp_path, tmp_path)
    assert check_remarks(check(READERS["folder"](place), place)) == ["1 unexpected: jump/deep/?[2J.mp4"]


def test_the_command_takes_the_folder_or_the_file_as_people_type_it(tmp_path: Path, capfd) -> None:
    plant(tmp_path, "jump/1.mp4")
    write(tmp_path / "mine.csv", "path,label\njump/1.mp4,jump\n")
    for command in (
        ["folder", str(tmp_path)],
        ["folder", "--root", str(tmp_path)],
        ["csv", str(tmp_path / "mine.csv")],
    ):
        assert main(["datasets", "check", *command, "--json"]) == 0
        assert json.loads(capfd.readouterr().out)["splits"][0]["found"] == 1
    assert main(["datasets", "check", "folder", str(tmp_path), "--root", "other"]) == 2
    assert "but --root says other; give one" in capfd.readouterr().err


def test_a_published_split_that_is_not_listed_at_all_shows(tmp_path: Path) -> None:
    write(tmp_path / "val.csv", "label,youtube_id,time_start,time_end\nyoga,aaaaaaaaaaa,1,11\n")
    place = Place("k400", tmp_path, tmp_path)
    assert check(READERS["k400"](place), place).splits == (
        Count("train", 0, 0, 0, 246_245),
        Count("val", 1, 0, 1, 20_000),
    )


def test_a_list_of_ones_own_is_checked_wherever_its_videos_lie(tmp_path: Path, monkeypatch) -> None:
    plant(tmp_path, "in/a.ts", "in/b.mp4", "in/d.mp4", "out/c.mp4")
    monkeypatch.chdir(tmp_path)
    rows = f"d.mp4,x,,\na.ts,x,0,1\na.ts,x,1,2\n{tmp_path}/in/b.mp4,x,,\n{tmp_path}/out/c.mp4,x,,\n"
    place = Place("csv", Path("in"), write(tmp_path / "list.csv", "path,label,start,end\n" + rows))
    done = check(READERS["csv"](place), place)
    assert (done.splits, done.missing, done.unexpected) == ((Count("test", 5, 5, 0, None),), (), ())
    assert done.canonical_classes is None


def test_without_a_root_there_is_nothing_unexpected(tmp_path: Path) -> None:
    place = Place("csv", tmp_path / "none", write(tmp_path / "list.csv", "path,label\n/none/a.mp4,x\n"))
    done = check(READERS["csv"](place), place)
    assert (done.missing, done.unexpected) == (("/none/a.mp4",), ())


def test_a_check_is_json(tmp_path: Path) -> None:
    done = json.loads(json.dumps(check_hmdb(tmp_path, "clap/a.avi").as_dict()))
    assert done["splits"][0] == {
        "name": "train",
        "listed": 2,
        "found": 1,
        "missing": 1,
        "canonical": 3570,
        "fold": None,
    }
    assert done["missing"] == ["clap/b", "clap/c", "wave/e"]


@pytest.mark.parametrize("fold", [1, 2, 3])
def test_every_fold_of_ucf101_holds_all_its_videos(fold: int) -> None:
    counts = published(Place("ucf101", NOWHERE, NOWHERE), fold)
    assert counts is not None
    assert sum(counts.videos.values()) == 13_320


@pytest.mark.parametrize(
    ("lists", "total"),
    [
        ("hmdb51", 6_766),
        ("ucf101", 13_320),
        ("kinetics100", 10_000),
        ("ssv2_small", 10_000),
        ("SSv2_Full", 71_796),
    ],
)
def test_few_shot_lists_are_known_by_their_published_folder(tmp_path: Path, lists: str, total: int) -> None:
    file = write(tmp_path / lists / "test_few_shot.txt", "x")
    for path in (file, file.parent):
        counts = published(Place("few-shot", NOWHERE, path))
        assert counts is not None
        assert sum(counts.videos.values()) == total


def test_where_every_class_has_the_same_the_counts_agree() -> None:
    names = [("mini-k200", "x"), ("hmdb51", "x"), ("few-shot", "kinetics100"), ("few-shot", "ssv2_small")]
    for name, lists in names:
        counts = published(Place(name, NOWHERE, Path(lists)))
        assert counts is not None
        assert counts.each is not None
        assert counts.classes * counts.each == sum(counts.videos.values()), name


@pytest.mark.parametrize("name", ["folder", "csv", "toy", "few-shot"])
def test_what_has_no_owner_has_no_published_counts(name: str) -> None:
    assert published(Place(name, NOWHERE, NOWHERE)) is None
