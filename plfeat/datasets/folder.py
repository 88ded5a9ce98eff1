"""The folder layout: `root/<split>/<class>/<video>`, or `root/<class>/<video>`, which is one split called test.

An optional `root/classes.csv` (`class,group,mirror`) groups the classes for reporting.
"""

import csv
from pathlib import Path

from plfeat.errors import DataError
from plfeat.records import SPLITS, Dataset, VideoRef

VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mkv", ".webm", ".mov", ".m4v", ".mpg", ".mpeg"})
CLASS_TABLE = "classes.csv"


def read_folder(root: Path, name: str) -> Dataset:
    """The dataset under `root`. Classes are the folder names of all splits, sorted."""
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
    classes = tuple(sorted({path.parent.name for _, path in found}))
    label = {class_name: index for index, class_name in enumerate(classes)}
    videos = sorted(
        (VideoRef(path.relative_to(root).as_posix(), path, label[path.parent.name], split) for split, path in found),
        key=lambda video: (SPLITS.index(video.split), video.id),
    )
    group, mirror = _class_table(root / CLASS_TABLE, classes)
    return Dataset(name, classes, tuple(videos), group, mirror)


def _videos(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*/*") if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()]


def _how_to_get(name: str, root: Path) -> str:
    return f"make it with `plfeat datasets make toy --out {root}`" if name == "toy" else "name another with --root"


def _class_table(path: Path, classes: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[int | None, ...]]:
    if not path.exists():
        return (), ()
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = {row["class"]: row for row in csv.DictReader(file)}
        index = {name: i for i, name in enumerate(classes)}
        group = tuple(rows[name]["group"] for name in classes)
        mirror = tuple(index[rows[name]["mirror"]] if rows[name]["mirror"] else None for name in classes)
    except (KeyError, TypeError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path}: expected columns class,group,mirror and a row for every class; found {error}"
        ) from None
    return group, mirror
