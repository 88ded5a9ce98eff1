"""The folder layout: `root/<split>/<class>/<video>`, or `root/<class>/<video>`, which is one split called test, or
videos in the root itself, which have no labels.

Classes are the folder names, sorted, unless `root/classes.csv` lists them: its rows (`class,stratum,mirror`) order
them, say what kind of class each is, and name the class that shows the same frames in another order.
"""

from collections import Counter
from pathlib import Path

from plfeat.datasets.disk import SUFFIXES, checked, walk
from plfeat.datasets.listing import Listing
from plfeat.datasets.place import Place, how_to_get, name_of_root, need_root
from plfeat.datasets.tables import columns_of, read_table
from plfeat.errors import DataError
from plfeat.records import SPLITS, UNLABELLED, Listed, VideoList

CLASS_TABLE = "classes.csv"


def read_folder(place: Place) -> VideoList:
    root = need_root(place)
    found = _find(place)
    if not found:
        raise DataError(
            f"{place.name}: no videos under {root}; expected <class>/<video> or {'|'.join(SPLITS)}/<class>/<video> "
            f"with a suffix of {' '.join(sorted(SUFFIXES))}; {how_to_get(place)}"
        )
    table = root / CLASS_TABLE
    folders = {folder for _, folder, _ in found if folder}
    classes, stratum, mirror = _read_classes(table, folders) if table.exists() else (tuple(sorted(folders)), (), ())
    label = {name: index for index, name in enumerate(classes)} | {"": UNLABELLED}
    listing = Listing()
    for split, folder, path in found:
        listing.add(path, Listed(path, label[folder], (split,), path=root / path))
    return listing.videos(place, classes, place.name if place.name == "toy" else name_of_root(place), stratum, mirror)


def _find(place: Place) -> list[tuple[str, str, str]]:
    """Every video, as the store has seen it where the folder has none, after its split and its class, which is nothing
    for a video without one. Folders that would be left out without a word are an error."""
    paths = list(walk(place.root)) if place.root.is_dir() else []
    found = [path.split("/") for path in paths or checked(place.seen, place.root)]
    splits = [split for split in SPLITS if (place.root / split).is_dir() or (not paths and _has(found, split))]
    if not splits:
        inner = [("test", parts[0], "/".join(parts)) for parts in found if len(parts) == 2]
        return inner or [("test", "", parts[0]) for parts in found if len(parts) == 1]
    strange = sorted({parts[0] for parts in found if len(parts) in (2, 3) and parts[0] not in splits})
    if strange:
        raise DataError(
            f"{place.name}: {place.root} has splits ({', '.join(splits)}) and, beside them, videos in "
            f"{', '.join(strange)}; expected nothing but {', '.join(SPLITS)}"
        )
    return [(parts[0], parts[1], "/".join(parts)) for parts in found if len(parts) == 3]


def _has(found: list[list[str]], split: str) -> bool:
    return any(len(parts) > 1 and parts[0] == split for parts in found)


def _read_classes(path: Path, folders: set[str]) -> tuple[tuple[str, ...], tuple[str, ...], tuple[int | None, ...]]:
    """Classes in the table's order, and for each its stratum and the index of its mirror."""
    columns = columns_of(path)
    if "group" in columns and "stratum" not in columns:
        raise DataError(f"{path}:1: the column 'group' is called 'stratum' now; rename it")
    rows = list(read_table(path, ("class", "stratum", "mirror")))
    names = Counter(row["class"] for _, row in rows)
    twin = {row["class"]: row["mirror"] for _, row in rows}
    for name in sorted(folders - twin.keys()):
        raise DataError(f"{path}: no row for the class {name!r}, which has a folder")
    for where, row in rows:
        name, other = row["class"], row["mirror"]
        if names[name] > 1 or (other and (other == name or twin.get(other) != name)):
            raise DataError(
                f"{where}: look at the row of {name!r}; expected one row a class with a stratum and, "
                "if it has a mirror, another class whose mirror it is in turn"
            )
    index = {name: number for number, name in enumerate(names)}
    return tuple(names), tuple(row["stratum"] for _, row in rows), tuple(index.get(row["mirror"]) for _, row in rows)
