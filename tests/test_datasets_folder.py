"""The folder layout, and the optional table of its classes."""

import os
from pathlib import Path

import pytest
from layouts import plant

from plfeat.datasets import READERS, Place
from plfeat.errors import DataError, UsageError


def read(root: Path):
    return READERS["folder"](Place("folder", root, root))


def test_classes_are_sorted_over_all_splits_and_videos_by_split_and_name(tmp_path: Path) -> None:
    root = plant(tmp_path, "test/b/2.mp4", "train/b/1.MP4", "train/c d/ü 1.webm", "train/b/0.avi", "val/a/x.mkv")
    dataset = read(root)
    assert dataset.classes == ("a", "b", "c d")
    found = [(video.split, video.id, video.label) for video in dataset.videos]
    assert found == [
        ("train", "train/b/0.avi", 1),
        ("train", "train/b/1.MP4", 1),
        ("train", "train/c d/ü 1.webm", 2),
        ("val", "val/a/x.mkv", 0),
        ("test", "test/b/2.mp4", 1),
    ]


def test_without_splits_everything_is_test_and_other_files_are_ignored(tmp_path: Path) -> None:
    root = plant(tmp_path, "jump/1.mp4", "jump/notes.txt", "README.md", "run/2.mp4", "stray.mp4", "run/deep/3.mp4")
    assert [(video.split, video.id) for video in read(root).videos] == [("test", "jump/1.mp4"), ("test", "run/2.mp4")]


@pytest.mark.parametrize("video", ["validation/jump/2.mp4", "validation/2.mp4"])
def test_videos_beside_the_splits_are_an_error_that_names_their_folder(tmp_path: Path, video: str) -> None:
    root = plant(tmp_path, "train/jump/1.mp4", video, "notes/a.txt")
    with pytest.raises(DataError, match="beside them, videos in validation"):
        read(root)


def test_a_class_table_orders_groups_and_pairs_the_classes(tmp_path: Path) -> None:
    root = plant(tmp_path, "grow/1.mp4", "shrink/2.mp4", "glow/3.mp4")
    (root / "classes.csv").write_text("class,group,mirror\nshrink,order,grow\ngrow,order,shrink\nglow,look,\n")
    dataset = read(root)
    assert dataset.classes == ("shrink", "grow", "glow")
    assert (dataset.group, dataset.mirror) == (("order", "order", "look"), (1, 0, None))


@pytest.mark.parametrize(
    "table",
    [
        "",
        "class,group\na,b\n",
        "class,group,mirror\ngrow,order,shrunk\n",
        "class,group,mirror\nother,x,\n",
        "class,group,mirror\ngrow,x,\ngrow,y,\n",
        "class,group,mirror\ngrow,x,grow\n",
        "class,group,mirror\ngrow,x,glow\nglow,x,\n",
        "class,group,mirror\ngrow\n",
        "\x00\xff",
    ],
)
def test_a_wrong_class_table_is_a_data_error_that_names_it(tmp_path: Path, table: str) -> None:
    root = plant(tmp_path, "grow/1.mp4")
    (root / "classes.csv").write_text(table, encoding="latin-1")
    with pytest.raises(DataError, match=r"classes\.csv"):
        read(root)


def test_unknown_datasets_get_a_near_name() -> None:
    with pytest.raises(UsageError, match=r"unknown dataset 'floder'; did you mean 'folder'\?"):
        READERS["floder"]


def test_folder_names_become_words_and_ids_keep_the_folder(tmp_path: Path) -> None:
    dataset = read(plant(tmp_path, "train/ApplyLipstick/1.mp4", "train/draw_sword/2.mp4"))
    assert dataset.classes == ("apply lipstick", "draw sword")
    assert [video.id for video in dataset.videos] == ["train/ApplyLipstick/1.mp4", "train/draw_sword/2.mp4"]


def test_own_names_replace_the_words_of_a_folder(tmp_path: Path) -> None:
    root = plant(tmp_path / "videos", "hit/1.mp4", "run/2.mp4")
    (tmp_path / "names.csv").write_text("class,name\nhit,hitting a person\n")
    dataset = READERS["folder"](Place("folder", root, root, names=tmp_path / "names.csv"))
    assert dataset.classes == ("hitting a person", "run")


def test_hidden_files_and_folders_are_not_looked_at(tmp_path: Path) -> None:
    root = plant(tmp_path, "jump/1.mp4", "jump/._1.mp4", ".trash/2.mp4")
    assert [video.id for video in read(root).videos] == ["jump/1.mp4"]


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    plant(tmp_path / "elsewhere", "1.mp4")
    root = plant(tmp_path / "videos", "run/2.mp4")
    (root / "jump").symlink_to(tmp_path / "elsewhere")
    (root / "run" / "again").symlink_to(root)
    assert [video.id for video in read(root).videos] == ["jump/1.mp4", "run/2.mp4"]


def test_a_name_that_is_not_utf8_is_an_error_that_says_which(tmp_path: Path) -> None:
    plant(tmp_path, "jump/1.mp4")
    (Path(os.fsdecode(os.fsencode(tmp_path / "jump") + b"/\xff.mp4"))).write_bytes(b"x")
    with pytest.raises(DataError, match=r"jump: the name '\\udcff\.mp4' is not UTF-8"):
        read(tmp_path)


def test_a_folder_that_cannot_be_read_is_an_error_that_says_which(tmp_path: Path) -> None:
    plant(tmp_path, "jump/1.mp4")
    (tmp_path / "jump" / "2.mp4").symlink_to("2.mp4")  # a link to itself
    with pytest.raises(DataError, match=r"folder .*jump cannot be read: .*symbolic links"):
        read(tmp_path)


def test_a_folder_whose_name_is_not_utf8_is_named(tmp_path: Path) -> None:
    import os

    os.mkdir(os.fsencode(tmp_path) + b"/b\xe9ta")
    with pytest.raises(DataError, match="is not UTF-8; rename it"):
        read(tmp_path)
