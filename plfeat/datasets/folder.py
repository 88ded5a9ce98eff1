"""The folder layout: `root/<split>/<class>/<video>`, or `root/<class>/<video>`, which is one split called test.

Classes are the folder names, sorted, unless `root/classes.csv` lists them: its rows (`class,group,mirror`) order them,
group them for reporting, and name the class that shows the same frames in another order.
"""

from dataclasses import replace
from pathlib import Path

from plfeat.datasets.disk import SUFFIXES, walk
from plfeat.datasets.listing import Listing
from plfeat.datasets.place import Place, how_to_get, need_root
from plfeat.datasets.text import read_table
from plfeat.errors import DataError
from plfeat.records import SPLITS, Dataset, VideoRef

CLASS_TABLE = "classes.csv"


def read_folder(place: Place) -> Dataset:
    root = need_root(place)
    found = _find(place)
    if not found:
        raise DataError(
            f"{place.name}: no videos under {root}; expected <class>/<video> or {'|'.join(SPLITS)}/<class>/<video> "
            f"with a suffix of {' '.join(sorted(SUFFIXES))}; {how_to_get(place)}"
        )
    table = root / CLASS_TABLE
    folders = {path.split("/")[-2] for _, path in found}
    classes, group, mirror = _read_classes(table, folders) if table.exists() else (tuple(sorted(folders)), (), ())
    label = {name: index for index, name in enumerate(classes)}
    listing = Listing()
    for split, path in found:
        listing.add(path, VideoRef(path, root / path, label[path.split("/")[-2]], split))
    return replace(listing.dataset(place, classes), group=group, mirror=mirror)


def _find(place: Place) -> list[tuple[str, str]]:
    """Every video with its split. Folders that would be left out without a word are an error."""
    splits = [split for split in SPLITS if (place.root / split).is_dir()]
    found = [(path.count("/"), path.split("/")[0], path) for path in walk(place.root)]
    if not splits:
        return [("test", path) for depth, _, path in found if depth == 1]
    strange = sorted({folder for depth, folder, _ in found if depth in (1, 2) and folder not in splits})
    if strange:
        raise DataError(
            f"{place.name}: {place.root} has splits ({', '.join(splits)}) and, beside them, videos in "
            f"{', '.join(strange)}; expected nothing but {', '.join(SPLITS)}"
        )
    return [(split, path) for depth, split, path in found if depth == 2]


def _read_classes(path: Path, folders: set[str]) -> tuple[tuple[str, ...], tuple[str, ...], tuple[int | None, ...]]:
    """Classes in the table's order, and for each its group and the index of its mirror."""
    rows = list(read_table(path, ("class", "group", "mirror")))
    names = [row["class"] for _, row in rows]
    twin = {row["class"]: row["mirror"] for _, row in rows}
    for name in sorted(folders - twin.keys()):
        raise DataError(f"{path}: no row for the class {name!r}, which has a folder")
    for where, row in rows:
        name, other = row["class"], row["mirror"]
        if names.count(name) > 1 or (other and (other == name or twin.get(other) != name)):
            raise DataError(
                f"{where}: look at the row of {name!r}; expected one row a class with a group and, "
                "if it has a mirror, another class whose mirror it is in turn"
            )
    index = {name: number for number, name in enumerate(names)}
    return tuple(names), tuple(row["group"] for _, row in rows), tuple(index.get(row["mirror"]) for _, row in rows)
