"""Your own CSV list: paths, labels, splits and segments."""

import csv
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import listed, write

from plfeat.datasets import READERS, Place
from plfeat.errors import DataError
from plfeat.records import UNLABELLED, VideoList


def read(folder: Path, text: str) -> VideoList:
    return READERS["csv"](Place("csv", folder, write(folder / "list.csv", text)))


def test_labels_become_words_sorted_and_no_split_is_test(tmp_path: Path) -> None:
    dataset = read(tmp_path, "path,label\nb.mp4,run_fast\na/c d.mp4, JumpHigh \n")
    assert listed(dataset) == [("test", "a/c d.mp4", "jump high"), ("test", "b.mp4", "run fast")]
    assert [row.path for row in dataset.rows] == [tmp_path / "a/c d.mp4", tmp_path / "b.mp4"]


def test_columns_come_in_any_order_and_splits_in_any_spelling(tmp_path: Path) -> None:
    rows = "train,1,a\nval,1,b\nValid,1,c\nvalidation,1,d\nTEST,1,e\n,1,f\n"
    splits = [row.split[0] for row in read(tmp_path, "split,label,path\n" + rows).rows]
    assert splits == ["train", "val", "val", "val", "test", "test"]


def test_segments_of_one_file_are_videos_of_their_own(tmp_path: Path) -> None:
    dataset = read(
        tmp_path, "path,label,start,end\na.mp4,x,1.5,4\na.mp4,y,4,\na.mp4,x,,\na.mp4,x,0,1e-3\na.mp4,x,123456.75,\n"
    )
    assert [(row.name, row.start, row.end) for row in dataset.rows] == [
        ("a.mp4", None, None),
        ("a.mp4#t=0,0.001", 0.0, 0.001),
        ("a.mp4#t=1.5,4", 1.5, 4.0),
        ("a.mp4#t=123456.75", 123456.75, None),
        ("a.mp4#t=4", 4.0, None),
    ]
    assert {row.path for row in dataset.rows} == {tmp_path / "a.mp4"}


def test_absolute_paths_may_lie_anywhere_and_then_no_root_is_needed(tmp_path: Path) -> None:
    file = write(tmp_path / "list.csv", "path,label\n/elsewhere/a.mp4,x\n")
    dataset = READERS["csv"](Place("csv", tmp_path / "none", file))
    assert [(row.name, row.path) for row in dataset.rows] == [("/elsewhere/a.mp4", Path("/elsewhere/a.mp4"))]
    write(file, "path,label\n/elsewhere/a.mp4,x\nb.mp4,x\n")
    with pytest.raises(DataError, match="none does not exist"):
        READERS["csv"](Place("csv", tmp_path / "none", file))


def test_in_a_folder_the_list_is_called_videos_csv(tmp_path: Path) -> None:
    write(tmp_path / "videos.csv", "path,label\na.mp4,x\n")
    assert listed(READERS["csv"](Place("csv", tmp_path, tmp_path))) == [("test", "a.mp4", "x")]
    (tmp_path / "videos.csv").unlink()
    with pytest.raises(DataError, match=r"csv: no videos.csv in "):
        READERS["csv"](Place("csv", tmp_path, tmp_path))


def test_videos_may_lack_labels_and_have_groups(tmp_path: Path) -> None:
    videos = read(tmp_path, "path,label,group\na.mp4,x, ann \nb.mp4, ,\n")
    assert [(row.label, row.group) for row in videos.rows] == [(0, "ann"), (UNLABELLED, "")]
    videos = read(tmp_path, "path\na.mp4\n")
    assert (videos.classes, [row.label for row in videos.rows]) == ((), [UNLABELLED])


def test_the_list_is_called_like_the_file(tmp_path: Path) -> None:
    assert READERS["csv"](Place("csv", tmp_path, write(tmp_path / "my list.csv", "path\na.mp4\n"))).name == "my-list"


def test_without_the_folder_paths_are_where_a_store_has_seen_them(tmp_path: Path) -> None:
    file = write(tmp_path / "list.csv", "path,label\na.mp4,x\n")
    videos = READERS["csv"](Place("csv", tmp_path / "none", file, seen=("a.mp4",)))
    assert videos.rows[0].path == tmp_path / "none" / "a.mp4"


def test_a_byte_order_mark_and_windows_lines_are_fine(tmp_path: Path) -> None:
    assert listed(read(tmp_path, "\ufeffpath,label\r\na.mp4,x\r\n\r\n")) == [("test", "a.mp4", "x")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "list.csv:1: expected a header with the columns path, each once, found ''"),
        ("a.mp4,x\n", "list.csv:1: expected a header"),
        ("path,label,path\n", "list.csv:1: expected a header"),
        ("path,label,strat\n", r"list.csv:1: unknown column 'strat'; did you mean 'start'\?"),
        ("path,label\n", "csv: the annotation in .*list.csv lists no videos"),
        ("path,label\na.mp4\n", "list.csv:2: expected 2 cells as in the header, found 'a.mp4'"),
        ("path,label\n\na.mp4,x,y\n", "list.csv:3: expected 2 cells"),
        ("path,label\n,x\n", "list.csv:2: expected a path, found ''"),
        ("path,label\n/,x\n", "list.csv:2: expected a path, found '/'"),
        ("path,label\na/../../b.mp4,x\n", r"list.csv:2: expected a path without .., found"),
        ("path,label,split\na.mp4,x,dev\n", "list.csv:2: expected the split train, val or test, found 'dev'"),
        ("path,label\na.mp4,x\nb.mp4,x\n./a.mp4,x\n", "list.csv:4: .*'a.mp4' stands already at .*list.csv:2"),
        ("path,label\na.mp4,x\na.mp4,y\n", "list.csv:3: .* with another class or split at .*list.csv:2"),
        ("path,label,split\na.mp4,x,val\na.mp4,x,test\n", "list.csv:3: .* with another class or split"),
        ("path,label,start,end\na.mp4,x,1,2\na.mp4,x,1.0,2.0\n", "list.csv:3: .*'a.mp4#t=1,2' stands already"),
        ("path,label,start,end\na.mp4,x,2,2\n", "list.csv:2: expected a start before the end, found '2,2'"),
        ("path,label,start,end\na.mp4,x,,2\n", "list.csv:2: expected a start before the end, found ',2'"),
        ("path,label,end\na.mp4,x,2\n", "list.csv:2: expected a start before the end"),
        ("path,label,start\na.mp4,x,-1\n", "list.csv:2: expected seconds as start, found '-1'"),
        ("path,label,start,end\na.mp4,x,1,inf\n", "list.csv:2: expected seconds as end, found 'inf'"),
        ("path,label,start\na.mp4,x,nan\n", "list.csv:2: expected seconds as start, found 'nan'"),
        ("path,label,start\na.mp4,x,soon\n", "list.csv:2: expected seconds as start, found 'soon'"),
        ('path,label\n"a\nb.mp4",x\n', r"list.csv:3: 'a\\nb.mp4' holds a control character"),
        ("path,label,group\na.mp4,x,\x1b[2J\n", r"list.csv:2: '\\x1b\[2J' holds a control character"),
        ("path,label\na.mp4,\x1b[2J\n", r"the class '\\x1b\[2J' holds a control character"),
        ('path,label\n"a.mp4,x\n', "list.csv:2: not a row of a CSV file"),
        ("path,label\na\0.mp4,x\n", "list.csv: expected a text file in UTF-8, found a zero byte"),
    ],
)
def test_a_wrong_list_names_file_line_expected_and_found(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read(tmp_path, text)


_word = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="/"), min_size=1)
_path = st.lists(_word.filter(lambda word: set(word) != {"."}), min_size=1, max_size=3).map("/".join)
_second = st.floats(0, 1e6, allow_nan=False)
_segment = st.one_of(
    st.just((None, None)),
    st.tuples(_second, st.none()),
    st.tuples(_second, _second).filter(lambda both: both[0] < both[1]),
)


@given(st.lists(st.tuples(_path, _segment, st.sampled_from(["train", "val", "test"])), min_size=1))
def test_what_is_written_is_what_is_read(videos: list) -> None:
    once = {(path, segment): (path, segment, split) for path, segment, split in videos}
    wanted = sorted((path, str(segment), split) for path, segment, split in once.values())
    with TemporaryDirectory() as folder:
        with (Path(folder) / "videos.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["path", "label", "split", "start", "end"])
            table.writerows([path, "x", split, *segment] for path, segment, split in once.values())
        dataset = READERS["csv"](Place("csv", Path(folder), Path(folder)))
        found = [
            (row.path.relative_to(folder).as_posix(), str((row.start, row.end)), row.split[0]) for row in dataset.rows
        ]
    assert sorted(found) == wanted
    assert len({row.name for row in dataset.rows}) == len(wanted)
