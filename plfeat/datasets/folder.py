"""The folder layout: `root/<split>/<class>/<video>`, or `root/<class>/<video>`, which is one split called test.

Classes are the folder names, sorted, unless `root/classes.csv` lists them: its rows (`class,group,mirror`) order them,
group them for reporting, and name the class that shows the same frames in another order.
"""

import csv
from pathlib import Path

from plfeat.errors import DataError, first_line
from plfeat.records import SPLITS, Dataset, VideoRef

VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mkv", ".webm", ".mov", ".m4v", ".mpg", ".mpeg"})
CLASS_TABLE = "classes.csv"


def read_folder(root: Path, name: str) -> Dataset:
    """The dataset under `root`, called `name`."""
    if not root.exists():
        raise DataError(f"{name}: folder {root} does not exist; {_how_to_get(name, root)}")
    if not root.is_dir():
        raise DataError(f"{name}: {root} is a file, expected a folder of videos")
    found = _find(root, name)
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


def _find(root: Path, name: str) -> list[tuple[str, Path]]:
    """Every video with its split. Folders that would be left out without a word are an error."""
    splits = [split for split in SPLITS if (root / split).is_dir()]
    if splits:
        others = [folder for folder in root.iterdir() if folder.is_dir() and folder.name not in splits]
        strange = sorted(folder.name for folder in others if _videos(folder, "*") or _videos(folder, "*/*"))
        if strange:
            raise DataError(
                f"{name}: {root} has splits ({', '.join(splits)}) and, beside them, videos in {', '.join(strange)}; "
                f"expected nothing but {', '.join(SPLITS)}"
            )
    places = [(split, root / split) for split in splits] or [("test", root)]
    found = [(split, path) for split, folder in places for path in _videos(folder, "*/*")]
    for _, path in found:
        if any("\udc80" <= letter <= "\udcff" for letter in str(path)):
            raise DataError(f"{name}: the name {str(path)!a} is not UTF-8; rename it")
    return found


def _videos(folder: Path, pattern: str) -> list[Path]:
    return [path for path in folder.glob(pattern) if _is_video(path)]


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".") and path.is_file()


def _how_to_get(name: str, root: Path) -> str:
    return f"make it with `plfeat datasets make toy --out {root}`" if name == "toy" else "name another with --root"


def _read_table(path: Path, folders: set[str]) -> tuple[tuple[str, ...], tuple[str, ...], tuple[int | None, ...]]:
    """Classes in the table's order, and for each its group and the index of its mirror."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
        names = [row["class"] for row in rows]
        group = tuple(row["group"] for row in rows)
        twins = [row["mirror"] for row in rows]
    except (OSError, KeyError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: expected a table with columns class,group,mirror ({first_line(error)})") from None
    index = {class_name: number for number, class_name in enumerate(names)}
    for class_name in sorted(folders - index.keys()):
        raise DataError(f"{path}: no row for the class {class_name!r}, which has a folder")
    for class_name, of, twin in zip(names, group, twins, strict=True):
        whole = of is not None and twin is not None and names.count(class_name) == 1
        if not whole or (twin and (twin == class_name or twins[index.get(twin, index[class_name])] != class_name)):
            raise DataError(
                f"{path}: look at the row of {class_name!r}; expected one row a class with a group and, "
                "if it has a mirror, another class whose mirror it is in turn"
            )
    return tuple(names), group, tuple(index[twin] if twin else None for twin in twins)
