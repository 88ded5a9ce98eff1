"""UCF101: three folds of lists, and one class that its owners spell in two ways."""

from pathlib import Path

import pytest
from layouts import listed, paths, plant, write

from plfeat.datasets import READERS, Place
from plfeat.errors import DataError, UsageError
from plfeat.records import Dataset

MAKEUP, PUSHUPS = "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01", "HandstandPushups/v_HandStandPushups_g01_c01"


def ucf(folder: Path, *videos: str, train: str = "", test: str = "", fold: int = 1, classes: str = "") -> Dataset:
    plant(folder / "UCF-101", "unrelated/other.avi", *videos)
    lists = folder / "ucfTrainTestlist"
    write(lists / "classInd.txt", classes or "1 ApplyEyeMakeup\r\n2 HandstandPushups\r\n3 YoYo\r\n")
    write(lists / f"trainlist0{fold}.txt", train)
    write(lists / f"testlist0{fold}.txt", test)
    return READERS["ucf101"](Place("ucf101", folder / "UCF-101", folder, fold=fold))


def test_the_class_is_the_folder_of_the_line_and_names_are_words(tmp_path: Path) -> None:
    dataset = ucf(tmp_path, train=f"{MAKEUP}.avi 1\r\n", test=f"{PUSHUPS}.avi\r\n")
    assert listed(dataset) == [("train", MAKEUP, "apply eye makeup"), ("test", PUSHUPS, "handstand pushups")]
    assert dataset.classes == ("apply eye makeup", "handstand pushups", "yo yo")


@pytest.mark.parametrize(
    "video",
    [
        f"{PUSHUPS}.avi",
        "HandStandPushups/v_HandstandPushups_g01_c01.avi",
        "v_HandStandPushups_g01_c01.mp4",
        "videos/handstandpushups/v_handstandpushups_g01_c01.mkv",
    ],
)
def test_capitals_suffixes_and_folders_do_not_matter_on_disk(tmp_path: Path, video: str) -> None:
    dataset = ucf(tmp_path, video, test=f"{PUSHUPS}.avi\n")
    assert paths(dataset, tmp_path / "UCF-101") == {PUSHUPS: video}


def test_capitals_do_not_matter_in_the_lists(tmp_path: Path) -> None:
    dataset = ucf(tmp_path, train="HandStandPushups/v_HandStandPushups_g01_c01.avi 2\n")
    assert listed(dataset) == [("train", "HandStandPushups/v_HandStandPushups_g01_c01", "handstand pushups")]


def test_a_video_that_is_not_there_is_listed_where_the_line_says(tmp_path: Path) -> None:
    dataset = ucf(tmp_path, test=f"{MAKEUP}.avi\n")
    assert paths(dataset, tmp_path / "UCF-101") == {MAKEUP: f"{MAKEUP}.avi"}


def test_of_copies_the_one_in_the_class_folder_is_taken(tmp_path: Path) -> None:
    dataset = ucf(tmp_path, "A/v_ApplyEyeMakeup_g08_c01.avi", f"{MAKEUP}.avi", test=f"{MAKEUP}.avi\n")
    assert paths(dataset, tmp_path / "UCF-101") == {MAKEUP: f"{MAKEUP}.avi"}


def test_each_fold_has_its_own_lists(tmp_path: Path) -> None:
    ucf(tmp_path, train=f"{MAKEUP}.avi 1\n", fold=1)
    assert listed(ucf(tmp_path, test=f"{MAKEUP}.avi\n", fold=3)) == [("test", MAKEUP, "apply eye makeup")]


def test_other_folds_than_the_published_are_unknown(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="ucf101: unknown fold 4; 1, 2, 3 are published"):
        ucf(tmp_path, fold=4)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (f"{MAKEUP}.avi 2", "expected 1, the number of ApplyEyeMakeup, found '2'"),
        ("Juggling/v_Juggling_g01_c01.avi 4", "expected a class of classInd.txt, found 'Juggling'"),
        ("v_ApplyEyeMakeup_g08_c01.avi 1", "expected <class>/<video>"),
        ("ApplyEyeMakeup/../x.avi 1", "expected <class>/<video>"),
    ],
)
def test_a_wrong_line_names_file_line_expected_and_found(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(DataError, match=rf"trainlist01.txt:2: {said}"):
        ucf(tmp_path, train=f"{PUSHUPS}.avi 2\n{line}\n")


@pytest.mark.parametrize("classes", ["1 YoYo\n3 TaiChi\n", "1 YoYo\n1 TaiChi\n", "1 YoYo\n2\n", "1 YoYo\nTaiChi\n"])
def test_classes_are_numbered_one_after_the_other(tmp_path: Path, classes: str) -> None:
    with pytest.raises(DataError, match=r"classInd.txt:2: expected 2 and a class"):
        ucf(tmp_path, classes=classes)


def test_a_video_of_both_splits_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"testlist01.txt:1: .* with another class or split at .*trainlist01.txt:1"):
        ucf(tmp_path, train=f"{MAKEUP}.avi 1\n", test=f"{MAKEUP}.avi\n")


def test_lists_without_videos_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"ucf101: the annotation in .* lists no videos"):
        ucf(tmp_path)
