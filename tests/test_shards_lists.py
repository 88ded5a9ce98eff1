"""The lists of a store: what is written is what is read, and nothing else is believed."""

import csv
import hashlib
import io
import json
import os
import random
import resource
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plfeat.errors import CacheError, DataError
from plfeat.records import CONTROL, SPLITS, UNLABELLED, Listed, VideoList
from plfeat.shards.lists import list_files, list_hash, lists_in, read_list, write_list

KEY = "0123456789abcdef" * 2
ROWS = (
    Listed("a, b.mp4", 0, ("train", "", "test"), "ann", video=KEY),
    Listed('c "d".mp4', UNLABELLED, ("test", "test", "val")),
    Listed("e.mp4#t=0.5,4", 1, ("", "", "train"), "", 0.5, 4.0, video=f"{KEY}#t=0.5,4"),
    Listed("e.mp4#t=4", 1, ("", "", "train"), "", 4.0, None, video=f"{KEY}#t=4,"),
    Listed("ü", 1, ("test", "test", "test")),
)
SMALL = VideoList("mine.2", ROWS, ("jump", "Run, Fast"), ("jump", "run fast"), ("a", ""), (1, 0), "by hand")


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    path = write_list(tmp_path, SMALL)
    assert path == tmp_path / "lists" / f"mine.2@{list_hash(SMALL)}.csv"
    assert read_list(path) == SMALL
    assert lists_in(tmp_path) == {"mine.2": path}


def test_the_file_is_a_line_of_json_and_a_table_that_anyone_can_read(tmp_path: Path) -> None:
    path = write_list(tmp_path, SMALL)
    first, table = path.read_text(encoding="utf-8").split("\n", 1)
    header = json.loads(first.removeprefix("# "))
    assert header == {
        "name": "mine.2",
        "version": 1,
        "classes": ["jump", "Run, Fast"],
        "words": ["jump", "run fast"],
        "stratum": ["a", ""],
        "mirror": [1, 0],
        "how": "by hand",
    }
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [row["class"] for row in rows] == ["jump", "", "Run, Fast", "Run, Fast", "Run, Fast"]
    assert list(rows[0]) == ["name", "video", "class", "group", "start", "end", "split1", "split2", "split3"]
    del header["name"], header["version"]
    said = json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(f"{said}\n{table}".encode()).hexdigest()[:8] == list_hash(SMALL)


def test_where_files_lie_is_no_part_of_a_list(tmp_path: Path) -> None:
    there = replace(SMALL, rows=tuple(replace(row, path=tmp_path / "x") for row in ROWS))
    assert list_hash(there) == list_hash(SMALL)


@pytest.mark.parametrize(
    "other",
    [
        {"classes": ("jump", "Run")},
        {"words": ("jump", "run")},
        {"stratum": ()},
        {"mirror": ()},
        {"how": ""},
        {"rows": ROWS[1:]},
        {"rows": (replace(ROWS[0], group="bea"), *ROWS[1:])},
        {"rows": (replace(ROWS[0], label=1), *ROWS[1:])},
        {"rows": (replace(ROWS[0], video=""), *ROWS[1:])},
        {"rows": (replace(ROWS[0], split=("train", "", "val")), *ROWS[1:])},
        {"rows": tuple(replace(row, split=row.split[:1]) for row in ROWS)},
    ],
)
def test_lists_that_say_anything_else_have_another_hash(other: dict) -> None:
    assert list_hash(replace(SMALL, **other)) != list_hash(SMALL)
    assert list_hash(replace(SMALL, name="other")) == list_hash(SMALL)


def test_a_list_that_grows_is_a_new_version_and_the_old_one_stays(tmp_path: Path) -> None:
    first = write_list(tmp_path, SMALL)
    grown = replace(SMALL, rows=(*ROWS, Listed("üü", 0, ("test", "test", "test"))))
    second = write_list(tmp_path, grown)
    assert lists_in(tmp_path) == {"mine.2": second}
    assert list_files(tmp_path) == sorted([first, second])
    assert read_list(first) == SMALL
    write_list(tmp_path, SMALL)
    assert lists_in(tmp_path) == {"mine.2": first}


def test_writing_the_same_list_again_writes_nothing(tmp_path: Path) -> None:
    path = write_list(tmp_path, SMALL)
    before = path.stat()
    assert write_list(tmp_path, SMALL) == path
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_store_without_lists_has_none(tmp_path: Path) -> None:
    assert lists_in(tmp_path) == {}


def changed(folder: Path, old: str, new: str, header: bool = False) -> Path:
    path = write_list(folder, SMALL)
    first, table = path.read_text(encoding="utf-8").split("\n", 1)
    if header:
        first = first.replace(old, new, 1)
    else:
        table = table.replace(old, new, 1)
    path.write_text(f"{first}\n{table}", encoding="utf-8", newline="")
    return path


@pytest.mark.parametrize(("old", "new"), [("ann", "bea"), (",train,,test", ",test,,test"), (",jump,", ',"Run, Fast",')])
def test_a_list_that_was_edited_by_hand_is_an_error_that_names_both_hashes(tmp_path: Path, old: str, new: str) -> None:
    path = changed(tmp_path, old, new)
    with pytest.raises(CacheError) as caught:
        read_list(path)
    assert f"its name says the hash {list_hash(SMALL)}, but what it holds has " in str(caught.value)
    assert "put back the file as it was, or remove it and extract again" in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("name,video", "name,path", "expected the columns name,video,class"),
        ("split1,split2,split3", "split1,split3,split2", "expected the columns"),
        ("split1,split2,split3", "split", "expected 7 cells as in the header, found 9"),
        ("split1,split2,split3", ",".join(f"split{n}" for n in range(1, 1002)), "expected the columns"),
        (",jump,", ",swim,", "csv:3: unknown class 'swim'"),
        (",jump,", ",\x1b[2J,", r"unknown class '\\x1b"),
        (KEY, KEY.upper(), "is not the key of"),
        (KEY, "../" + KEY[3:], "is not the key of"),
        (KEY, KEY + "0", "is not the key of"),
        (KEY + "#t=0.5,4", KEY + "#t=0.5,5", "is not the key of 'e.mp4#t=0.5,4', 32 hex digits and #t=0.5,4"),
        (",train,", ",dev,", "expected train, val, test or nothing"),
        ("ü", "a", "expected every video once, sorted by name"),
        ("ü", "e.mp4#t=4", "expected every video once"),
        ("ü", "", "expected every video once"),
        ("ü", "x/../z", "leads out of where it starts"),
        ("ü", "z\0", "holds a control character"),
        ("ü", '"z\n2"', "holds a control character"),
        ("ü", "z\x1b[2J", "holds a control character"),
        (",ann,", ",\x1b]0;,", "holds a control character"),
        ("ü", '"z', "not a row of a CSV file"),
        ("ü", "z" * 200_000, "not a row of a CSV file"),
        (",0.5,4,", ",4,0.5,", "expected a start before the end"),
        (",0.5,4,", ",,4,", "expected a start before the end"),
        (",0.5,4,", ",nan,4,", "expected seconds, found 'nan'"),
        (",0.5,4,", ",0.5,inf,", "expected seconds, found 'inf'"),
        (",0.5,4,", ",0.50,4,", "expected seconds, found '0.50'"),
        (",0.5,4,", ",-1,4,", "a start of .* that is not before 0"),
        (",0.5,4,", ",soon,4,", "expected seconds, found 'soon'"),
    ],
)
def test_a_forged_row_is_one_line_that_says_what_is_wrong(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = changed(tmp_path, old, new)
    with pytest.raises(CacheError, match=said) as caught:
        read_list(path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 800


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("# {", "{", "expected '# ' and a JSON object"),
        ("# {", "# [", "not JSON"),
        ('"by hand"}', '"by hand"', "not JSON"),
        ('"version": 1', '"version": ' + "9" * 5000, "not JSON"),
        ('"mirror": [1, 0]', '"mirror": ' + "[" * 100_000, "not JSON"),
        ('"how"', '"why"', "expected name, version, classes"),
        ('"how"', '"more": 1, "how"', "expected name, version, classes"),
        ('"mine.2"', '"../mine"', "it says that it is the list '../mine'"),
        ('"mine.2"', r'"\u001b[2J"', r"it says that it is the list '\\x1b\[2J'"),
        ('"mine.2"', "7", "expected name as str, found 'int'"),
        ('"version": 1', '"version": true', "expected version as int"),
        ('"version": 1', '"version": 1.5', "expected version as int"),
        ('"version": 1', '"version": 0', "expected a version from 1"),
        ('"version": 1', '"version": 1000000001', "expected a version from 1"),
        ('["jump", "Run, Fast"]', '["jump", 7]', "expected only texts in classes"),
        ('["jump", "Run, Fast"]', '["jump", "jump"]', "unknown class"),
        ('["jump", "Run, Fast"]', '["jump", "Run, Fast", "Run, Fast"]', "none twice"),
        ('["jump", "Run, Fast"]', '["jump", "Run, Fast", ""]', "a name and words for every class"),
        ('["jump", "Run, Fast"]', r'["jump", "Run, Fast", "\u001b"]', "holds a control character"),
        ('["jump", "Run, Fast"]', r'["jump", "Run, Fast", "\ud800"]', "holds a control character"),
        ('["jump", "run fast"]', '["jump"]', "2 classes, 1 words, 2 strata and 2 mirrors"),
        ('["jump", "run fast"]', '["jump", "jump"]', "none twice"),
        ('["a", ""]', '["a"]', "2 classes, 2 words, 1 strata"),
        ("[1, 0]", "[0, 1]", "the mirror of class 'jump' is not a class"),
        ("[1, 0]", "[1, 1]", "is not a class that mirrors it in turn"),
        ("[1, 0]", "[1, 1000000000]", "is not a class that mirrors it in turn"),
        ("[1, 0]", "[-1, -1]", "is not a class that mirrors it in turn"),
        ("[1, 0]", "[1, false]", "expected only numbers and null in mirror"),
        ('"by hand"', r'"\u001b[2J"', "holds a control character"),
    ],
)
def test_a_forged_header_is_one_line_that_says_what_is_wrong(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = changed(tmp_path, old, new, header=True)
    with pytest.raises(CacheError, match=said) as caught:
        read_list(path)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("content", [b"", b"\0", b"\n", b"# {}", b"# {}\n", b"\xff\xfe#", b"# \xff\n", b"# null\n"])
def test_what_is_no_list_at_all_is_told_wherever_it_is_looked_at(tmp_path: Path, content: bytes) -> None:
    path = write_list(tmp_path, SMALL)
    path.write_bytes(content)
    for look in (lambda: read_list(path), lambda: lists_in(tmp_path), lambda: write_list(tmp_path, SMALL)):
        with pytest.raises(CacheError, match="put back the file as it was"):
            look()


def test_a_list_without_videos_is_none(tmp_path: Path) -> None:
    path = write_list(tmp_path, SMALL)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    with pytest.raises(CacheError, match="expected at least one video"):
        read_list(path)


def test_a_header_that_never_ends_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = write_list(tmp_path, SMALL)
    with path.open("wb") as file:
        file.write(b"# {")
        file.truncate(500_000_000)  # zero bytes that take no room
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CacheError, match="expected '# ' and a JSON object in the first line"):
        lists_in(tmp_path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000
    with path.open("ab") as file:
        file.truncate(2**30 + 1)
    with pytest.raises(CacheError, match="a plain file of at most"):
        read_list(path)


def test_links_are_refused_for_reading_and_writing(tmp_path: Path) -> None:
    outside = write_list(tmp_path / "outside", SMALL)
    store = tmp_path / "store"
    (store / "lists").mkdir(parents=True)
    link = store / "lists" / outside.name
    link.symlink_to(outside)
    for look in (lambda: read_list(link), lambda: lists_in(store)):
        with pytest.raises(CacheError, match="it is a link, and a store holds its lists itself"):
            look()
    link.unlink()
    (store / "lists").rmdir()
    (store / "lists").symlink_to(outside.parent)
    for look in (lambda: read_list(link), lambda: lists_in(store), lambda: write_list(store, SMALL)):
        with pytest.raises(CacheError, match="is a link; a store holds its lists itself"):
            look()
    assert os.listdir(outside.parent) == [outside.name]


def test_what_is_no_file_is_told_and_not_waited_for(tmp_path: Path) -> None:
    path = write_list(tmp_path, SMALL)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(CacheError, match="expected a plain file"):
        read_list(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(CacheError, match="expected a plain file"):
        lists_in(tmp_path)
    with pytest.raises(CacheError, match="No such file"):
        read_list(path.with_name("x@00000000.csv"))


@pytest.mark.parametrize("name", ["x.csv", "x@123.csv", "@00000000.csv", ".x@00000000.csv", "a b@00000000.csv"])
def test_files_that_are_not_called_like_a_list_are_none(tmp_path: Path, name: str) -> None:
    write_list(tmp_path, SMALL)
    (tmp_path / "lists" / name).write_text("x")
    assert list(lists_in(tmp_path)) == ["mine.2"]
    with pytest.raises(CacheError, match="is not called like a list"):
        read_list(tmp_path / "lists" / name)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"name": "../x"}, "a list is called by letters"),
        ({"name": "x" * 82}, "a list is called by letters"),
        ({"rows": ()}, "at least one video"),
        ({"rows": ROWS[::-1]}, "sorted by name"),
        ({"rows": (replace(ROWS[0], label=2),)}, "has label 2, but there are 2 classes"),
        ({"rows": (replace(ROWS[0], label=-2),)}, "has label -2"),
        ({"rows": (ROWS[0], replace(ROWS[1], split=("test",)))}, "for each of 3 folds"),
        ({"rows": (replace(ROWS[0], name="a\nb"),)}, "control character"),
    ],
)
def test_what_could_not_be_read_is_never_written(tmp_path: Path, other: dict, said: str) -> None:
    with pytest.raises((DataError, CacheError), match=said):
        write_list(tmp_path, replace(SMALL, **other))
    assert not list(tmp_path.iterdir())


_text = st.text(st.characters(codec="utf-8"), max_size=8).filter(lambda text: not CONTROL.search(text))


@given(
    names=st.lists(_text.filter(bool), min_size=1, max_size=8, unique=True),
    classes=st.lists(_text.filter(bool), max_size=4, unique=True),
    folds=st.integers(1, 4),
    data=st.data(),
)
def test_any_list_comes_back_as_it_was(names: list[str], classes: list[str], folds: int, data: st.DataObject) -> None:
    split = st.tuples(*[st.sampled_from(["", *SPLITS])] * folds)
    second = st.floats(0, 1e9, width=32)
    rows = []
    for name in sorted(names):
        start, end = data.draw(
            st.one_of(st.just((None, None)), st.tuples(second, st.none()), st.tuples(second, second))
        )
        if end is not None and start >= end:
            start, end = None, None
        label = data.draw(st.integers(UNLABELLED, len(classes) - 1))
        rows.append(Listed(name, label, data.draw(split), data.draw(_text), start, end))
    videos = VideoList("x", tuple(rows), tuple(classes), tuple(classes), how=data.draw(_text))
    with TemporaryDirectory() as folder:
        path = write_list(Path(folder), videos)
        assert read_list(path) == videos


def test_a_list_of_kinetics_size_is_written_and_read_in_seconds(tmp_path: Path) -> None:
    draw = random.Random(0)
    classes = tuple(f"doing thing {number}" for number in range(400))
    rows = tuple(
        Listed(f"{n:011d}_000001_000011", n % 400, ("train",), f"{n:011d}", video=f"{draw.getrandbits(128):032x}")
        for n in range(240_000)
    )
    videos = VideoList("k400", rows, classes, classes)
    started = time.process_time()
    path = write_list(tmp_path, videos)
    written = time.process_time()
    assert read_list(path) == videos
    assert written - started < 3
    assert time.process_time() - written < 3
