"""HMDB51: a list for each class and fold, and file names with every sign there is."""

from pathlib import Path

import pytest
from layouts import listed, paths, plant, write

from plfeat.datasets import READERS, Place
from plfeat.errors import DataError
from plfeat.records import VideoList

ODD = [
    "#122_Clap_(a)_clap_u",
    "(Rad)Schlag_die_Bank!_clap_f",
    "a&b___;-)_~[x]_clap_f",
    "Mr._Bean_clap_u",
    "ends.with.mp4",
]


def read(folder: Path) -> VideoList:
    return READERS["hmdb51"](Place("hmdb51", folder / "videos", folder))


def hmdb(folder: Path, *videos: str, **lists: str) -> VideoList:
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


def test_the_folds_are_one_list_and_a_video_that_a_fold_leaves_out_has_no_split_there(tmp_path: Path) -> None:
    write(tmp_path / "clap_test_split2.txt", "a.avi 2\nb.avi 0\nd.avi 0\n")
    write(tmp_path / "clap_test_split3.txt", "a.avi 0\nb.avi 1\nd.avi 0\n")
    plant(tmp_path / "videos", "clap/a.avi")
    assert [(row.name, row.split) for row in read(tmp_path).rows] == [
        ("clap/a", ("test", "")),
        ("clap/b", ("", "train")),
    ]


def test_without_any_fold_the_error_says_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    with pytest.raises(DataError, match=r"hmdb51: no \*_test_split1.txt or \*_test_split2.txt or .*; name another"):
        read(tmp_path)


def test_a_class_that_one_fold_lacks_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    for name in ("clap_test_split1", "wave_test_split1", "clap_test_split2"):
        write(tmp_path / f"{name}.txt", "a.avi 1\n")
    (tmp_path / "videos").mkdir()
    with pytest.raises(DataError, match=r"hmdb51: no wave_test_split2.txt in .*, but another fold has one"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("label", "stem", "film"),
    [
        ("brush_hair", "April_09_brush_hair_u_nm_np1_ba_goo_0", "April_09"),
        ("clap", "#122_Clap_(a)_clap_u_nm_np1_fr_med_1", "#122_Clap_(a)"),
        ("cartwheel", "(Rad)Schlag_die_Bank!_cartwheel_f_cm_np1_le_med_0", "(Rad)Schlag_die_Bank!"),
        ("run", "Run_run_Lola_run_f_cm_np1_fr_med_3", "Run_run_Lola"),
        ("sword", "Duel_sword_exercise_u_nm_np1_ba_goo_0", "Duel"),
        ("talk", "a&b___;-)_~[x]_clap_f", "a&b___;-)_~[x]_clap_f"),
        ("run", "run_f_cm_np1_fr_med_3", "run_f_cm_np1_fr_med_3"),
    ],
)
def test_clips_of_a_film_are_a_group(tmp_path: Path, label: str, stem: str, film: str) -> None:
    assert [row.group for row in hmdb(tmp_path, **{label: f"{stem}.avi 1\n"}).rows] == [film]
