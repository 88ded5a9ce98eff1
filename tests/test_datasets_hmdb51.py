"""HMDB51: a list for each class and fold, and file names with every sign there is."""

from pathlib import Path

import pytest
from layouts import listed, paths, plant, write

from plfeat.datasets import READERS, Place
from plfeat.errors import DataError, UsageError
from plfeat.records import Dataset

ODD = [
    "#122_Clap_(a)_clap_u",
    "(Rad)Schlag_die_Bank!_clap_f",
    "a&b___;-)_~[x]_clap_f",
    "Mr._Bean_clap_u",
    "ends.with.mp4",
]


def read(folder: Path, fold: int = 1) -> Dataset:
    return READERS["hmdb51"](Place("hmdb51", folder / "videos", folder, fold=fold))


def hmdb(folder: Path, *videos: str, **lists: str) -> Dataset:
    plant(folder / "videos", "unrelated/other.avi", *videos)
    for name, lines in lists.items():
        write(folder / "testTrainMulti_7030_splits" / f"{name}_test_split1.txt", lines)
    return read(folder)


def test_one_is_train_two_is_test_and_zero_is_neither(tmp_path: Path) -> None:
    dataset = hmdb(tmp_path, draw_sword="a.avi 1 \nb.avi 2 \nc.avi 0 \n", brush_hair="d.avi 1\n")
    assert listed(dataset) == [
        ("train", "brush_hair/d", "brush hair"),
        ("train", "draw_sword/a", "draw sword"),
        ("test", "draw_sword/b", "draw sword"),
    ]


@pytest.mark.parametrize("stem", ODD)
def test_names_with_odd_signs_are_found(tmp_path: Path, stem: str) -> None:
    dataset = hmdb(tmp_path, f"clap/{stem}.avi", clap=f"{stem}.avi 1 \n")
    assert paths(dataset, tmp_path / "videos") == {f"clap/{stem}": f"clap/{stem}.avi"}


def test_the_same_name_in_two_classes_is_two_videos(tmp_path: Path) -> None:
    dataset = hmdb(tmp_path, "sword/a.avi", "draw_sword/a.avi", sword="a.avi 1\n", draw_sword="a.avi 1\n")
    assert paths(dataset, tmp_path / "videos") == {"sword/a": "sword/a.avi", "draw_sword/a": "draw_sword/a.avi"}


def test_recoded_and_nested_copies_are_found_and_absent_ones_listed_where_they_belong(tmp_path: Path) -> None:
    dataset = hmdb(tmp_path, "hmdb51_org/clap/a.mp4", clap="a.avi 1\nb.avi 2\n")
    assert paths(dataset, tmp_path / "videos") == {"clap/a": "hmdb51_org/clap/a.mp4", "clap/b": "clap/b.avi"}


@pytest.mark.parametrize("line", ["a.avi 3", "a.avi", "1", "../a.avi 1"])
def test_a_wrong_line_names_file_and_line(tmp_path: Path, line: str) -> None:
    with pytest.raises(DataError, match=r"clap_test_split1.txt:2: expected a file's name and 0, 1 or 2, found"):
        hmdb(tmp_path, clap=f"b.avi 1\n{line}\n")


def test_a_fold_without_lists_says_what_was_looked_for(tmp_path: Path) -> None:
    hmdb(tmp_path, clap="a.avi 1\n")
    with pytest.raises(
        DataError, match=r"hmdb51: no \*_test_split2.txt in .* testTrainMulti_7030_splits; name another"
    ):
        read(tmp_path, fold=2)
    with pytest.raises(UsageError, match="unknown fold 0"):
        read(tmp_path, fold=0)
