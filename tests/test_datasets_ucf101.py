"""UCF101: three folds of lists, and one class that its owners spell in two ways."""

from pathlib import Path

import pytest
from layouts import listed, paths, plant, write

from plfeat.datasets import READERS, Place
from plfeat.datasets.listing import Listing
from plfeat.errors import DataError
from plfeat.records import Listed, VideoList

MAKEUP, PUSHUPS = "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01", "HandstandPushups/v_HandStandPushups_g01_c01"


def ucf(
    folder: Path, *videos: str, train: str = "", test: str = "", fold: int = 1, classes: str = "", seen: tuple = ()
) -> VideoList:
    if videos or not seen:
        plant(folder / "UCF-101", "unrelated/other.avi", *videos)
    lists = folder / "ucfTrainTestlist"
    write(lists / "classInd.txt", classes or "1 ApplyEyeMakeup\r\n2 HandstandPushups\r\n3 YoYo\r\n")
    write(lists / f"trainlist0{fold}.txt", train)
    write(lists / f"testlist0{fold}.txt", test)
    return READERS["ucf101"](Place("ucf101", folder / "UCF-101", folder, seen=seen))


def test_the_class_is_the_folder_of_the_line_and_names_are_words(tmp_path: Path) -> None:
    dataset = ucf(tmp_path, train=f"{MAKEUP}.avi 1\r\n", test=f"{PUSHUPS}.avi\r\n")
    assert listed(dataset) == [("train", MAKEUP, "apply eye makeup"), ("test", PUSHUPS, "handstand pushups")]
    assert dataset.words == ("apply eye makeup", "handstand pushups", "yo yo")
    assert dataset.classes == ("ApplyEyeMakeup", "HandstandPushups", "YoYo")


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
    assert listed(dataset) == [("train", PUSHUPS, "handstand pushups")]


def test_a_video_that_is_not_there_is_listed_where_the_line_says(tmp_path: Path) -> None:
    dataset = ucf(tmp_path, test=f"{MAKEUP}.avi\n")
    assert paths(dataset, tmp_path / "UCF-101") == {MAKEUP: f"{MAKEUP}.avi"}


def test_of_copies_the_one_in_the_class_folder_is_taken(tmp_path: Path) -> None:
    dataset = ucf(tmp_path, "A/v_ApplyEyeMakeup_g08_c01.avi", f"{MAKEUP}.avi", test=f"{MAKEUP}.avi\n")
    assert paths(dataset, tmp_path / "UCF-101") == {MAKEUP: f"{MAKEUP}.avi"}


def test_a_video_is_one_row_over_all_folds_whatever_its_capitals(tmp_path: Path) -> None:
    ucf(tmp_path, train=f"{MAKEUP}.avi 1\n", test=f"{PUSHUPS}.avi\n", fold=1)
    ucf(tmp_path, test=f"{MAKEUP}.avi\n", fold=2)
    videos = ucf(tmp_path, train=f"{MAKEUP.lower()}.avi 1\n", test=f"{PUSHUPS.upper()}.avi\n", fold=3)
    assert [(row.name, row.split) for row in videos.rows] == [
        (MAKEUP, ("train", "test", "train")),
        (PUSHUPS, ("test", "", "test")),
    ]
    assert (videos.folds, videos.name, videos.splits(2)) == (3, "ucf101", ["test"])


def test_the_folds_whose_lists_are_there_are_read(tmp_path: Path) -> None:
    ucf(tmp_path, test=f"{MAKEUP}.avi\n", fold=1)
    videos = ucf(tmp_path, train=f"{MAKEUP}.avi\n", fold=3)
    assert [row.split for row in videos.rows] == [("test", "train")]
    (tmp_path / "ucfTrainTestlist" / "trainlist01.txt").unlink()
    with pytest.raises(DataError, match=r"ucf101: no trainlist01.txt in"):
        ucf(tmp_path, train=f"{MAKEUP}.avi\n", fold=3)


def test_without_any_fold_the_error_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"ucf101: no trainlist01.txt or trainlist02.txt or trainlist03.txt in"):
        ucf(tmp_path, fold=4)


def test_a_video_that_changes_its_class_from_fold_to_fold_is_an_error(tmp_path: Path) -> None:
    rows = [Listed("a", label, ("test",)) for label in (0, 1)]
    listing = Listing(folds=2)
    for fold, row in enumerate(rows):
        listing.add(f"list{fold}:1", row, fold)
    with pytest.raises(DataError, match="list1:1: 'a' has another class here than at list0:1"):
        listing.videos(Place("x", tmp_path, tmp_path), ["b", "c"])


def test_clips_of_a_group_share_its_class_and_number(tmp_path: Path) -> None:
    lines = f"{MAKEUP}.avi\n{PUSHUPS}.avi\nYoYo/v_YoYo_G25_c07.avi\nYoYo/strange.avi\n"
    groups = [row.group for row in ucf(tmp_path, test=lines).rows]
    assert groups == ["ApplyEyeMakeup_g08", "HandstandPushups_g01", "", "YoYo_g25"]


def test_without_the_folder_a_video_is_where_a_store_has_seen_it(tmp_path: Path) -> None:
    seen = ("flat/v_HandStandPushups_g01_c01.avi", f"{MAKEUP}.avi")
    videos = ucf(tmp_path, test=f"{MAKEUP}.avi\n{PUSHUPS}.avi\n", seen=seen)
    assert paths(videos, tmp_path / "UCF-101") == {MAKEUP: seen[1], PUSHUPS: seen[0]}


def test_what_the_folder_has_comes_before_what_was_seen_in_it(tmp_path: Path) -> None:
    """Flattened since: the file is where it is now."""
    flat = f"{MAKEUP.rpartition('/')[2]}.avi"
    videos = ucf(tmp_path, flat, test=f"{MAKEUP}.avi\n{PUSHUPS}.avi\n", seen=(f"{MAKEUP}.avi", f"{PUSHUPS}.mkv"))
    assert paths(videos, tmp_path / "UCF-101") == {MAKEUP: flat, PUSHUPS: f"{PUSHUPS}.mkv"}


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
