"""The folder layout, and the optional table of its classes."""

import os
from pathlib import Path

import pytest
from layouts import plant

from plfeat.datasets import READERS, Place
from plfeat.errors import DataError, UsageError
from plfeat.records import UNLABELLED, VideoList


def read(root: Path, *seen: str, **own: str) -> VideoList:
    return READERS["folder"](Place("folder", root, root, seen=seen, **own))


def test_classes_are_sorted_over_all_splits_and_videos_by_name(tmp_path: Path) -> None:
    root = plant(tmp_path, "test/b/2.mp4", "train/b/1.MP4", "train/c d/ü 1.webm", "train/b/0.avi", "val/a/x.mkv")
    dataset = read(root)
    assert dataset.words == ("a", "b", "c d")
    found = [(row.split, row.name, row.label) for row in dataset.rows]
    assert found == [
        (("test",), "test/b/2.mp4", 1),
        (("train",), "train/b/0.avi", 1),
        (("train",), "train/b/1.MP4", 1),
        (("train",), "train/c d/ü 1.webm", 2),
        (("val",), "val/a/x.mkv", 0),
    ]


def test_without_splits_everything_is_test_and_other_files_are_ignored(tmp_path: Path) -> None:
    root = plant(tmp_path, "jump/1.mp4", "jump/notes.txt", "README.md", "run/2.mp4", "stray.mp4", "run/deep/3.mp4")
    assert [(row.split, row.name) for row in read(root).rows] == [(("test",), "jump/1.mp4"), (("test",), "run/2.mp4")]


@pytest.mark.parametrize("video", ["validation/jump/2.mp4", "validation/2.mp4"])
def test_videos_beside_the_splits_are_an_error_that_names_their_folder(tmp_path: Path, video: str) -> None:
    root = plant(tmp_path, "train/jump/1.mp4", video, "notes/a.txt")
    with pytest.raises(DataError, match="beside them, videos in validation"):
        read(root)


def test_a_class_table_orders_the_classes_says_their_kind_and_pairs_them(tmp_path: Path) -> None:
    root = plant(tmp_path, "grow/1.mp4", "shrink/2.mp4", "glow/3.mp4")
    (root / "classes.csv").write_text("class,stratum,mirror\nshrink,order,grow\ngrow,order,shrink\nglow,look,\n")
    dataset = read(root)
    assert dataset.words == ("shrink", "grow", "glow")
    assert (dataset.stratum, dataset.mirror) == (("order", "order", "look"), (1, 0, None))


@pytest.mark.parametrize(
    "table",
    [
        "",
        "class,stratum\na,b\n",
        "class,stratum,mirror\ngrow,order,shrunk\n",
        "class,stratum,mirror\nother,x,\n",
        "class,stratum,mirror\ngrow,x,\ngrow,y,\n",
        "class,stratum,mirror\ngrow,x,grow\n",
        "class,stratum,mirror\ngrow,x,glow\nglow,x,\n",
        "class,stratum,mirror\ngrow\n",
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


def test_folder_names_become_words_and_paths_and_classes_keep_the_folder(tmp_path: Path) -> None:
    dataset = read(plant(tmp_path, "train/ApplyLipstick/1.mp4", "train/draw_sword/2.mp4"))
    assert (dataset.classes, dataset.words) == (("ApplyLipstick", "draw_sword"), ("apply lipstick", "draw sword"))
    assert [row.name for row in dataset.rows] == ["train/ApplyLipstick/1.mp4", "train/draw_sword/2.mp4"]


def test_own_names_replace_the_words_of_a_folder(tmp_path: Path) -> None:
    root = plant(tmp_path / "videos", "hit/1.mp4", "run/2.mp4")
    (tmp_path / "names.csv").write_text("class,name\nhit,hitting a person\n")
    dataset = READERS["folder"](Place("folder", root, root, names=tmp_path / "names.csv"))
    assert dataset.words == ("hitting a person", "run")


def test_hidden_files_and_folders_are_not_looked_at(tmp_path: Path) -> None:
    root = plant(tmp_path, "jump/1.mp4", "jump/._1.mp4", ".trash/2.mp4")
    assert [row.name for row in read(root).rows] == ["jump/1.mp4"]


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    plant(tmp_path / "elsewhere", "1.mp4")
    root = plant(tmp_path / "videos", "run/2.mp4")
    (root / "jump").symlink_to(tmp_path / "elsewhere")
    (root / "run" / "again").symlink_to(root)
    assert [row.name for row in read(root).rows] == ["jump/1.mp4", "run/2.mp4"]


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


def test_the_column_group_of_a_class_table_is_told_its_new_name(tmp_path: Path) -> None:
    root = plant(tmp_path, "grow/1.mp4")
    (root / "classes.csv").write_text("class,group,mirror\ngrow,order,\n")
    with pytest.raises(DataError, match=r"classes\.csv:1: the column 'group' is called 'stratum' now; rename it"):
        read(root)


def test_videos_in_the_root_itself_are_unlabelled_unless_there_are_class_folders(tmp_path: Path) -> None:
    root = plant(tmp_path, "2.mp4", "1.mp4", "notes.txt")
    videos = read(root)
    assert [(row.name, row.label, row.split) for row in videos.rows] == [
        ("1.mp4", UNLABELLED, ("test",)),
        ("2.mp4", UNLABELLED, ("test",)),
    ]
    assert (videos.classes, videos.words) == ((), ())
    plant(root, "jump/3.mp4")
    assert [row.name for row in read(root).rows] == ["jump/3.mp4"]


@pytest.mark.parametrize(
    ("folder", "name"),
    [("holiday", "holiday"), ("My videos (2)", "My-videos-2"), ("..x@y", "x-y"), ("视频", "videos"), ("-rf", "rf")],
)
def test_the_list_is_called_like_the_folder_made_safe_or_as_one_says(tmp_path: Path, folder: str, name: str) -> None:
    root = plant(tmp_path / folder, "jump/1.mp4")
    assert read(root).name == name
    assert read(root, list_name="mine.2").name == "mine.2"


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".x", "-x", "a@b", "a\nb", "x" * 82])
def test_a_list_cannot_be_called_like_a_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"a list cannot be called .*the first a letter or a digit"):
        read(tmp_path, list_name=name)


def test_without_the_folder_the_videos_are_those_that_a_store_has_seen(tmp_path: Path) -> None:
    names = ["train/jump/1.mp4", "test/run/2.mp4"]
    here = read(plant(tmp_path / "here", *names))
    gone = read(tmp_path / "gone", *names)
    assert [(row.name, row.label, row.split) for row in gone.rows] == [
        (row.name, row.label, row.split) for row in here.rows
    ]
    assert gone.rows[0].path == tmp_path / "gone" / "test/run/2.mp4"
    assert [row.name for row in read(tmp_path / "gone", "jump/1.mp4").rows] == ["jump/1.mp4"]


def test_a_video_that_is_gone_from_a_folder_is_no_longer_one_of_its_videos(tmp_path: Path) -> None:
    root = plant(tmp_path / "videos", "jump/1.mp4")
    assert [row.name for row in read(root, "jump/1.mp4", "jump/2.mp4").rows] == ["jump/1.mp4"]


@pytest.mark.parametrize(
    "path", ["../secret.mp4", "/etc/x.mp4", "a//b.mp4", "a/../../b.mp4", "jump/\x1b[2J.mp4", "./x"]
)
def test_what_a_store_says_it_has_seen_never_leads_out_of_the_folder(tmp_path: Path, path: str) -> None:
    with pytest.raises(DataError, match="which is not a path under") as caught:
        read(tmp_path / "gone", path)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("video", ["jump/a\nb.mp4", "jump/\x1b[2J.mp4", "ju\rmp/1.mp4"])
def test_a_name_with_a_control_character_is_an_error_that_spells_it(tmp_path: Path, video: str) -> None:
    with pytest.raises(DataError, match="holds a control character; give it another name") as caught:
        read(plant(tmp_path, video))
    assert str(caught.value).replace(video, "").isprintable()
