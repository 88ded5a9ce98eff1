"""Your own list: a CSV file with the columns path,label and, if you like, split, start and end.

A path is relative to the root, or absolute and then anywhere, since whoever wrote the list chose it; the id is the path
as written. A split is train, val or test, and test if it says nothing. `start` and `end` are seconds and make a video
of a segment: several may share a file, and an empty end is the file's.
"""

import math
from pathlib import Path, PurePosixPath

from plfeat.datasets.listing import Listing
from plfeat.datasets.place import SPLIT_WORDS, Place, need_list, need_root
from plfeat.datasets.text import read_table, wrong
from plfeat.errors import DataError
from plfeat.records import Dataset, VideoRef

_NEEDED = ("path", "label")
_COLUMNS = (*_NEEDED, "split", "start", "end")


def read_csv(place: Place) -> Dataset:
    path = place.lists if place.lists.is_file() else need_list(place, "videos.csv")
    rows = list(read_table(path, _NEEDED, _COLUMNS))
    if any(not row["path"].startswith("/") for _, row in rows):
        need_root(place)
    classes = sorted({_label(where, row) for where, row in rows})
    label = {name: index for index, name in enumerate(classes)}
    listing = Listing(strict=True)
    for where, row in rows:
        listing.add(where, _read_row(where, row, place.root, label))
    return listing.dataset(place, classes)


def _read_row(where: str, row: dict[str, str], root: Path, label: dict[str, int]) -> VideoRef:
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
    return VideoRef(f"{path}{segment}", root / path, label[_label(where, row)], split, start, end)


def _label(where: str, row: dict[str, str]) -> str:
    label = row["label"].strip()
    if not label:
        raise DataError(f"{where}: expected a label, found none")
    return label


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
