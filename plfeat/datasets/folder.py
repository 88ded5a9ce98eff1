"""The folder layout: `root/<split>/<class>/<video>`, or `root/<class>/<video>`, which is one split called test.

Classes are the folder names, sorted, unless `root/classes.csv` lists them: its rows (`class,group,mirror`) order them,
group them for reporting, and name the class that shows the same frames in another order.
"""

import csv
from pathlib import Path

from plfeat.errors import DataError
from plfeat.records import SPLITS, Dataset, VideoRef

VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mkv", ".webm", ".mov", ".m4v", ".mpg", ".mpeg"})
CLASS_TABLE = "classes.csv"


def read_folder(root: Path, name: str) -> Dataset:
    """The dataset under `root`, called `name`."""
    if not root.exists():
        raise DataError(f"{name}: folder {root} does not exist; {_how_to_get(name, root)}")
    if not root.is_dir():
        raise DataError(f"{name}: {root} is a file, expected a folder of videos")
    split_folders = {split: root / split for split in SPLITS if (root / split).is_dir()} or {"test": root}
    found = [(split, path) for split, folder in split_folders.items() for path in _videos(folder)]
    if not found:
        raise DataError(
            f"{name}: no videos under {root}; expected <class>/<video> or train|val|test/<class>/<video> "
            f"with a suffix of {' '.join(sorted(VIDEO_SUFFIXES))}; {_how_to_get(name, root)}"
        )
    table = root / CLASS_TABLE
    folders = {path.parent.name for _, path in found}
    classes, group, mirror = _read_table(table, folders) if table.exists() else (tuple(sorted(folders)), (), ())
    label = {class_name: index for index, class_name in enumerate(classes)}
    videos = sorted(
        (VideoRef(path.relative_to(root).as_posix(), path, label[path.parent.name], split) for split, path in found),
        key=lambda video: (SPLITS.index(video.split), video.id),
    )
    return Dataset(name, classes, tuple(videos), group, mirror)


def _videos(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*/*") if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()]


def _how_to_get(name: str, root: Path) -> str:
    return f"make it with `plfeat datasets make toy --out {root}`" if name == "toy" else "name another with --root"


def _read_table(path: Path, folders: set[str]) -> tuple[tuple[str, ...], tuple[str, ...], tuple[int | None, ...]]:
    """Classes in the table's order, and for each its group and the index of its mirror."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        index = {row["class"]: number for number, row in enumerate(rows)}
        group = tuple(row["group"] for row in rows)
        mirror = tuple(index[row["mirror"]] if row["mirror"] else None for row in rows)
    except (KeyError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: expected columns class,group,mirror, a mirror being a class; found {error}") from None
    wrong = sorted(folders - index.keys())
    if wrong or len(index) < len(rows) or None in group:
        raise DataError(f"{path}: expected one whole row for each class; look at {wrong[0] if wrong else 'its rows'!r}")
    return tuple(index), group, mirror
