"""HMDB51: one list for each class and each of three folds, `<class>_test_split<N>.txt`.

A line is a file's name and 1 (train), 2 (test) or 0 (in neither). On disk the videos lie in class folders.
"""

from plfeat.datasets.disk import Videos, outside, without_suffix
from plfeat.datasets.listing import Listing
from plfeat.datasets.place import Place, find_lists, need_fold, need_root
from plfeat.datasets.text import read_lines, wrong
from plfeat.records import Dataset, VideoRef

_SPLITS = {"0": None, "1": "train", "2": "test"}


def read_hmdb51(place: Place) -> Dataset:
    root = need_root(place)
    ending = f"_test_split{need_fold(place)}.txt"
    paths = find_lists(place, f"*{ending}")
    classes = [path.name.removesuffix(ending) for path in paths]
    videos, listing = Videos(root), Listing()
    for index, (name, path) in enumerate(zip(classes, paths, strict=True)):
        for where, line in read_lines(path):
            file, flag = (*line.rsplit(maxsplit=1), "")[:2]
            if "/" in file or flag not in _SPLITS:
                raise wrong(where, "a file's name and 0, 1 or 2", line)
            split = _SPLITS[flag]
            if split:
                stem = without_suffix(file)
                found = videos.find(stem, outside(name)) or root / name / file
                listing.add(where, VideoRef(f"{name}/{stem}", found, index, split))
    return listing.dataset(place, classes)
