"""Where a dataset lies: its videos, its annotation files, and the names under which owners and copies keep those.

A `Place` and accepted names in, paths out. Reads no file.
"""

from dataclasses import dataclass
from pathlib import Path

from plfeat.errors import DataError, UsageError

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

FOLDS = (1, 2, 3)


@dataclass(frozen=True, slots=True)
class Place:
    """`lists` is the folder with the annotation files, or the file if one is enough. `names` has own class names."""

    name: str
    root: Path  # where the videos lie
    lists: Path
    fold: int = 1  # which of the published splits, where there are several
    names: Path | None = None


def need_root(place: Place) -> Path:
    """The folder of the videos, which is there."""
    if not place.root.exists():
        raise DataError(f"{place.name}: folder {place.root} does not exist; {how_to_get(place)}")
    if not place.root.is_dir():
        raise DataError(f"{place.name}: {place.root} is a file, expected a folder of videos")
    return place.root


def need_fold(place: Place) -> int:
    if place.fold not in FOLDS:
        raise UsageError(f"{place.name}: unknown fold {place.fold}; {', '.join(map(str, FOLDS))} are published")
    return place.fold


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
    for folder in FOLDERS:
        found = sorted((place.lists / folder).glob(pattern))
        if found:
            return found
    raise no_list(place, pattern)


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
