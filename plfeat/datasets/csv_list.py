"""Your own list: a CSV file with a column path and, if you like, label, split, group, start and end.

A path is relative to the root, or absolute and then anywhere, since whoever wrote the list chose it; the name of a
video is the path as written. A label is a class; without one the video is unlabelled. A split is train, val or test,
and test if it says nothing. Videos of a `group` belong together, such as all of one person. `start` and `end` are
seconds and make a video of a segment: several may share a file, and an empty end is the file's.
"""

import math
from pathlib import Path, PurePosixPath

from plfeat.datasets.listing import Listing
from plfeat.datasets.place import SPLIT_WORDS, Place, need_list, need_root, safe_name
from plfeat.datasets.tables import read_table, wrong
from plfeat.records import UNLABELLED, Listed, VideoList

_NEEDED = ("path",)
_COLUMNS = (*_NEEDED, "label", "split", "group", "start", "end")


def read_csv(place: Place) -> VideoList:
    path = place.lists if place.lists.is_file() else need_list(place, "videos.csv")
    rows = list(read_table(path, _NEEDED, _COLUMNS))
    if any(not row["path"].startswith("/") for _, row in rows):
        need_root(place)
    classes = sorted({_label(row) for _, row in rows} - {""})
    label = {name: index for index, name in enumerate(classes)} | {"": UNLABELLED}
    listing = Listing(strict=True)
    for where, row in rows:
        listing.add(where, _read_row(where, row, place.root, label))
    return listing.videos(place, classes, safe_name(path.stem))


def _read_row(where: str, row: dict[str, str], root: Path, label: dict[str, int]) -> Listed:
    path = PurePosixPath(row["path"])
    if not path.name:
        raise wrong(where, "a path", row["path"])
    if ".." in path.parts:
        raise wrong(where, "a path without ..", path)
    split = SPLIT_WORDS.get(row.get("split", "").strip().lower() or "test")
    if not split:
        raise wrong(where, "the split train, val or test", row["split"])
    start, end = _second(where, row, "start"), _second(where, row, "end")
    if end is not None and (start is None or start >= end):
        raise wrong(where, "a start before the end", f"{row.get('start', '')},{row['end']}")
    segment = "" if start is None else f"#t={_short(start)}" + ("" if end is None else f",{_short(end)}")
    group = row.get("group", "").strip()
    return Listed(f"{path}{segment}", label[_label(row)], (split,), group, start, end, root / path)


def _label(row: dict[str, str]) -> str:
    return row.get("label", "").strip()


def _second(where: str, row: dict[str, str], column: str) -> float | None:
    text = row.get(column, "").strip()
    try:
        second = float(text) if text else None
    except ValueError:
        second = math.nan
    if second is not None and not 0 <= second < math.inf:
        raise wrong(where, f"seconds as {column}", text)
    return second


def _short(second: float) -> str:
    """The shortest text of a number, so that no two segments have the same."""
    return repr(second).removesuffix(".0")
