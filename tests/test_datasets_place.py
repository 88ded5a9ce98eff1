"""What all readers share: places, text files, and errors that say where to look."""

from dataclasses import replace
from pathlib import Path

import pytest
from layouts import write

from plfeat.datasets import READERS, Place
from plfeat.datasets.listing import Listing
from plfeat.datasets.place import FOLDERS, find_list
from plfeat.datasets.tables import read_lines
from plfeat.errors import DataError
from plfeat.records import Listed

OFFICIAL = ["k400", "mini-k200", "ucf101", "hmdb51", "ssv2", "few-shot"]


@pytest.mark.parametrize("name", [*OFFICIAL, "folder"])
def test_a_missing_root_is_said_first_and_a_file_is_none(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=f"{name}: folder .*none does not exist; name another with --root"):
        READERS[name](Place(name, tmp_path / "none", tmp_path / "none"))
    file = write(tmp_path / "file", "x")
    with pytest.raises(DataError, match=f"{name}: .*file is a file, expected a folder of videos"):
        READERS[name](Place(name, file, file))


@pytest.mark.parametrize("name", OFFICIAL)
def test_annotations_that_are_not_there_are_named_with_all_places(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError) as caught:
        READERS[name](Place(name, tmp_path, tmp_path))
    for said in (str(tmp_path), *FOLDERS[1:], "--lists"):
        assert said in str(caught.value)
    with pytest.raises(DataError, match=f"{name}: folder .*none does not exist; name another with --lists"):
        READERS[name](Place(name, tmp_path, tmp_path / "none"))


@pytest.mark.parametrize("name", ["k400", "mini-k200", "ucf101", "hmdb51", "ssv2"])
def test_a_file_where_a_folder_of_annotations_is_needed_is_said_to_be_one(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=f"{name}: no .*, which is a file; name the folder"):
        READERS[name](Place(name, tmp_path, write(tmp_path / "list.txt", "x")))


def test_the_first_name_wins_and_then_the_first_folder(tmp_path: Path) -> None:
    place = Place("x", tmp_path, tmp_path)
    second = write(tmp_path / "b.txt", "x")
    assert find_list(place, "a.txt", "b.txt") == second
    unpacked = write(tmp_path / "annotations" / "a.txt", "x")
    assert find_list(place, "a.txt", "b.txt") == unpacked
    near = write(tmp_path / "a.txt", "x")
    assert find_list(place, "a.txt", "b.txt") == near


def test_a_file_that_is_not_utf8_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(DataError, match=r"list.txt: expected a text file in UTF-8 \(.*can't decode byte 0xe9"):
        read_lines(tmp_path / "list.txt")
    with pytest.raises(DataError, match=r"none.txt: expected a text file"):
        read_lines(tmp_path / "none.txt")


def test_lines_keep_their_numbers_whatever_ends_them(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbfone\r\n\r\n two \nthree\rfour\x0bfive")
    lines = [(where.rpartition(":")[2], line) for where, line in read_lines(tmp_path / "list.txt")]
    assert lines == [("1", "one"), ("3", "two"), ("4", "three"), ("5", "four\x0bfive")]


def test_a_listing_takes_the_same_again_unless_it_is_strict() -> None:
    video = Listed("a", 0, ("test",), path=Path("a.mp4"))
    lenient, strict = Listing(), Listing(strict=True)
    for listing in (lenient, strict):
        listing.add("list:1", video)
    lenient.add("list:2", replace(video))
    with pytest.raises(DataError, match="list:2: expected every video once, but 'a' stands already at list:1"):
        strict.add("list:2", replace(video))
    with pytest.raises(DataError, match=r"list:2: .* with another class or split at list:1"):
        lenient.add("list:2", replace(video, label=1))
    assert lenient.videos(Place("x", Path(), Path()), ["a"]).rows == (video,)
