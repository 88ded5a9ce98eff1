"""HMDB51: one list for each class and each of three folds, `<class>_test_split<N>.txt`.

A line is a file's name and 1 (train), 2 (test) or 0 (in neither). On disk the videos lie in class folders. A video that
every fold leaves out is not listed.
"""

from pathlib import Path

from plfeat.datasets import groups
from plfeat.datasets.disk import Videos, outside, without_suffix
from plfeat.datasets.listing import Listing
from plfeat.datasets.place import Place, find_lists, need_folds, need_root
from plfeat.datasets.tables import read_lines, wrong
from plfeat.errors import DataError
from plfeat.records import Listed, VideoList

_SPLITS = {"0": None, "1": "train", "2": "test"}


def read_hmdb51(place: Place) -> VideoList:
    root = need_root(place)
    files = {fold: _files(place, fold) for fold in need_folds(place)}
    classes = sorted({name for each in files.values() for name in each})
    videos, listing = Videos(root, place.seen), Listing(len(files))
    for number, (fold, paths) in enumerate(files.items()):
        for index, name in enumerate(classes):
            if name not in paths:
                raise DataError(f"hmdb51: no {name}_test_split{fold}.txt in {place.lists}, but another fold has one")
            for where, line in read_lines(paths[name]):
                file, flag = (*line.rsplit(maxsplit=1), "")[:2]
                if "/" in file or flag not in _SPLITS:
                    raise wrong(where, "a file's name and 0, 1 or 2", line)
                if split := _SPLITS[flag]:
                    stem = without_suffix(file)
                    found = videos.find(stem, outside(name)) or root / name / file
                    row = Listed(f"{name}/{stem}", index, (split,), groups.of_hmdb(stem, name), path=found)
                    listing.add(where, row, number)
    return listing.videos(place, classes)


def _files(place: Place, fold: int) -> dict[str, Path]:
    """The lists of a fold, by class."""
    ending = f"_test_split{fold}.txt"
    return {path.name.removesuffix(ending): path for path in find_lists(place, f"*{ending}")}
