"""The folder layout, and the optional table of its classes."""

from pathlib import Path

import pytest

from plfeat.datasets import READERS
from plfeat.errors import DataError, UsageError


def _files(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def read(root: Path):
    return READERS["folder"](root, "folder")


def test_classes_are_sorted_over_all_splits_and_videos_by_split_and_name(tmp_path: Path) -> None:
    root = _files(tmp_path, "test/b/2.mp4", "train/b/1.MP4", "train/c d/ü 1.webm", "train/b/0.avi", "val/a/x.mkv")
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
    root = _files(tmp_path, "jump/1.mp4", "jump/notes.txt", "README.md", "run/2.mp4", "stray.mp4", "run/deep/3.mp4")
    assert [(video.split, video.id) for video in read(root).videos] == [("test", "jump/1.mp4"), ("test", "run/2.mp4")]


def test_videos_beside_the_splits_are_an_error_that_names_their_folder(tmp_path: Path) -> None:
    root = _files(tmp_path, "train/jump/1.mp4", "validation/jump/2.mp4", "notes/a.txt")
    with pytest.raises(DataError, match="beside them, videos in validation"):
        read(root)


def test_a_class_table_orders_groups_and_pairs_the_classes(tmp_path: Path) -> None:
    root = _files(tmp_path, "grow/1.mp4", "shrink/2.mp4", "glow/3.mp4")
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
    root = _files(tmp_path, "grow/1.mp4")
    (root / "classes.csv").write_text(table, encoding="latin-1")
    with pytest.raises(DataError, match=r"classes\.csv"):
        read(root)


def test_unknown_datasets_get_a_near_name() -> None:
    with pytest.raises(UsageError, match=r"unknown dataset 'floder'; did you mean 'folder'\?"):
        READERS["floder"]
