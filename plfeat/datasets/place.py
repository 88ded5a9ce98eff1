"""Where a dataset lies: its videos, its annotation files, and the names under which owners and copies keep those.

A `Place` and accepted names in, paths out. Reads no file.
"""

import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from plfeat.errors import DataError, UsageError
from plfeat.records import LIST_NAME

FOLDERS = (
    ".",
    "annotations",
    "labels",
    "kinetics400",
    "Mini-Kinetics-200",
    "ucfTrainTestlist",
    "testTrainMulti_7030_splits",
)
"""Where annotation files are looked for under `Place.lists`: there, or where the owners' archives unpack to."""

SPLIT_WORDS = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validate": "val",
    "validation": "val",
    "test": "test",
}
"""What owners call a split, in file names, folders and columns."""

_FOLD_FILES = {
    "ucf101": ("trainlist{:02d}.txt", "testlist{:02d}.txt"),
    "hmdb51": ("*_test_split{}.txt",),
}
"""What the files of a fold are called, of the datasets that are published in three."""


@dataclass(frozen=True, slots=True)
class Place:
    """`lists` is the folder with the annotation files, or the file if one is enough. `names` has own class names.
    `seen` says which files lay under the root when a store looked there, relative to it and with slashes."""

    name: str
    root: Path  # where the videos lie, or lay
    lists: Path
    names: Path | None = None
    seen: Collection[str] = ()
    list_name: str | None = None  # what the list is called, if not like its dataset

    def __post_init__(self) -> None:
        if self.list_name is not None and not LIST_NAME.fullmatch(self.list_name):
            raise UsageError(
                f"a list cannot be called {self.list_name[:90]!a}; expected at most 81 of the signs A-Z a-z 0-9 . _ -, "
                "the first a letter or a digit"
            )


def safe_name(said: str) -> str:
    """What a list is called after a folder or a file: `safe_name("My videos (2)") == "My-videos-2"`."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", said).strip("._-")[:81] or "videos"


def name_of_root(place: Place) -> str:
    return safe_name(os.path.basename(os.path.abspath(place.root)))


def need_root(place: Place) -> Path:
    """The folder of the videos, which is there, or was when a store looked."""
    if not place.root.exists():
        if place.seen:
            return place.root
        raise DataError(f"{place.name}: folder {place.root} does not exist; {how_to_get(place)}")
    if not place.root.is_dir():
        raise DataError(f"{place.name}: {place.root} is a file, expected a folder of videos")
    return place.root


def folds_there(place: Place) -> list[int]:
    """The numbers of the published folds whose annotation files are there. Of a dataset without folds, none."""
    files = _FOLD_FILES.get(place.name, ())
    return [n for n in (1, 2, 3) if any(_matches(place, pattern.format(n)) for pattern in files)]


def need_folds(place: Place) -> list[int]:
    found = folds_there(place)
    if not found:
        raise no_list(place, *(_FOLD_FILES[place.name][0].format(n) for n in (1, 2, 3)))
    return found


def find_list(place: Place, *names: str) -> Path | None:
    """The annotation file that has the first possible of these names, in the first possible folder."""
    paths = (place.lists / folder / name for name in names for folder in FOLDERS)
    return next((path for path in paths if path.is_file()), None)


def need_list(place: Place, *names: str) -> Path:
    path = find_list(place, *names)
    if path is None:
        raise no_list(place, *names)
    return path


def find_lists(place: Place, pattern: str) -> list[Path]:
    """The annotation files that match, all from the first possible folder, sorted."""
    found = _matches(place, pattern)
    if not found:
        raise no_list(place, pattern)
    return found


def _matches(place: Place, pattern: str) -> list[Path]:
    return next((found for folder in FOLDERS if (found := sorted((place.lists / folder).glob(pattern)))), [])


def no_list(place: Place, *names: str) -> DataError:
    wanted = f"{place.name}: no {' or '.join(names)} in {place.lists}"
    if not place.lists.exists():
        return DataError(f"{place.name}: folder {place.lists} does not exist; name another with --lists")
    if place.lists.is_file():
        return DataError(f"{wanted}, which is a file; name the folder of the annotation files with --lists")
    return DataError(f"{wanted} or its folders {', '.join(FOLDERS[1:])}; name another folder with --lists")


def how_to_get(place: Place) -> str:
    if place.name == "toy":
        return f"make it with `plfeat datasets make toy --out {place.root}`"
    return "name another with --root"
