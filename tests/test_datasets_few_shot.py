"""Few-shot lists: classes that no two splits share, and names found in paths."""

from pathlib import Path

import pytest
from layouts import listed, paths, plant, write

from plfeat.datasets import READERS, Place
from plfeat.errors import DataError
from plfeat.records import VideoList


def few_shot(folder: Path, *videos: str, names: Path | None = None, **lists: str) -> VideoList:
    plant(folder / "root", "unrelated/other.avi", *videos)
    for split, lines in lists.items():
        write(folder / "lists" / f"{split}_few_shot.txt", lines)
    return READERS["few-shot"](Place("few-shot", folder / "root", folder / "lists", names=names))


def test_splits_count_their_own_classes_and_folders_name_them(tmp_path: Path) -> None:
    dataset = few_shot(
        tmp_path,
        train="train1//videos/ApplyLipstick/a.avi\ntrain0//videos/fencing/b.avi\n",
        val="val0//videos/draw_sword/c.avi\n",
        test="test0//train_256/blasting_sand/d.mp4\ntest0//val_256/blasting_sand/e.mkv\n",
    )
    assert dataset.words == ("fencing", "apply lipstick", "draw sword", "blasting sand")
    assert listed(dataset) == [
        ("train", "videos/ApplyLipstick/a", "apply lipstick"),
        ("train", "videos/fencing/b", "fencing"),
        ("val", "videos/draw_sword/c", "draw sword"),
        ("test", "train_256/blasting_sand/d", "blasting sand"),
        ("test", "val_256/blasting_sand/e", "blasting sand"),
    ]


def test_classes_without_a_folder_of_their_own_are_called_by_number(tmp_path: Path) -> None:
    dataset = few_shot(
        tmp_path,
        train="train8/78687\ntrain0/88644\n",
        val="val0//clips/a.MP4\nval1//clips/b.MP4\n",
        test="test0//x/a.mp4\ntest0//y/b.mp4\ntest1//z/c.mp4\n",
    )
    assert dataset.words == (
        "train class 0",
        "train class 8",
        "val class 0",
        "val class 1",
        "test class 0",
        "z",
    )


def test_own_names_tell_what_a_list_does_not(tmp_path: Path) -> None:
    names = write(tmp_path / "names.csv", "class,name\ntest class 0,pouring something\n")
    dataset = few_shot(tmp_path, test="test0/88644\ntest1/7\n", names=names)
    assert dataset.words == ("pouring something", "test class 1")


@pytest.mark.parametrize(
    ("line", "video"),
    [
        ("test0//videos/golf/(a)_golf!.avi", "videos/golf/(a)_golf!.avi"),
        ("test0//videos/golf/a.avi", "golf/a.mp4"),
        ("test0//train_256/blasting_sand/a_000001_000011.mp4", "train/blasting sand/a_000001_000011.mp4"),
        ("test0/88644", "88644.webm"),
        ("test0/88644", "20bn-something-something-v2/88644.mp4"),
        ("test0//videos/golf/Mr._Golf", "videos/golf/Mr._Golf.avi"),
    ],
)
def test_a_video_is_found_in_other_folders_and_with_other_suffixes(tmp_path: Path, line: str, video: str) -> None:
    dataset = few_shot(tmp_path, video, test=f"{line}\n")
    assert list(paths(dataset, tmp_path / "root").values()) == [video]


def test_of_copies_the_one_in_the_folders_of_the_line_is_taken(tmp_path: Path) -> None:
    dataset = few_shot(
        tmp_path, "a/golf/1.avi", "videos/eat/1.avi", "videos/golf/1.avi", test="test0//videos/golf/1.avi"
    )
    assert paths(dataset, tmp_path / "root") == {"videos/golf/1": "videos/golf/1.avi"}


def test_a_video_that_is_not_there_is_listed_where_the_line_says(tmp_path: Path) -> None:
    dataset = few_shot(tmp_path, test="test0//videos/golf/1.avi\ntest1/88644\n")
    assert paths(dataset, tmp_path / "root") == {"videos/golf/1": "videos/golf/1.avi", "88644": "88644"}


def test_one_file_of_any_name_is_enough(tmp_path: Path) -> None:
    plant(tmp_path / "root", "1.avi")
    file = write(tmp_path / "mine.txt", "train0//golf/1.avi\ntest0//eat/2.avi\n")
    dataset = READERS["few-shot"](Place("few-shot", tmp_path / "root", file))
    assert listed(dataset) == [("train", "golf/1", "golf"), ("test", "eat/2", "eat")]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("golf/1.avi", "expected a line such as train0//folder/video.avi, found 'golf/1.avi'"),
        ("train//golf/1.avi", "expected a line such as"),
        ("train0//", "expected a line such as"),
        ("train0//../1.avi", "expected a line such as"),
        ("train0///etc/1.avi", "expected a line such as"),
        ("test0//golf/1.avi", "expected the split that the name train_few_shot.txt says"),
        ("train5//golf/0.avi", "'golf/0' stands with another class or split at .*train_few_shot.txt:1"),
    ],
)
def test_a_wrong_line_names_file_line_expected_and_found(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(DataError, match=f"train_few_shot.txt:2: .*{said}"):
        few_shot(tmp_path, train=f"train0//golf/0.avi\n{line}\n")


@pytest.mark.parametrize(
    ("line", "group"),
    [
        ("test0//train_256/blasting_sand/-_a_bc123-__000001_000011.mp4", "-_a_bc123-_"),
        ("test0//videos/YoYo/v_YoYo_g08_c01.avi", "YoYo_g08"),
        ("test0//videos/brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi", "April_09"),
        ("test0//videos/golf/April_09_brush_hair_u_nm_np1_ba_goo_0.avi", ""),
        ("test0//videos/golf/my_golf_1.avi", ""),
        ("test0/88644", ""),
    ],
)
def test_groups_are_known_by_the_form_of_a_name(tmp_path: Path, line: str, group: str) -> None:
    assert [row.group for row in few_shot(tmp_path, test=f"{line}\n").rows] == [group]


def test_a_list_in_a_folder_of_a_published_name_is_called_after_it(tmp_path: Path) -> None:
    assert few_shot(tmp_path, test="test0/1\n").name == "few-shot"
    place = Place(
        "few-shot", tmp_path / "root", write(tmp_path / "kinetics100" / "x.txt", "test0/1\n").parent / "x.txt"
    )
    assert READERS["few-shot"](place).name == "few-shot-kinetics100"


def test_without_lists_the_error_names_them(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    with pytest.raises(DataError, match=r"no train_few_shot.txt or val_few_shot.txt or test_few_shot.txt in "):
        few_shot(tmp_path)
