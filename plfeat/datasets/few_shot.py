"""Few-shot lists, as CLIP-FSAR and its relatives publish them for several datasets.

A line such as `train0//videos/fencing/NAME.avi`, or `test0/88644`, says split, class and path. Classes are counted
within their split, so every split has its own. A class is called after the folder of its videos if no other class has
the same; else it is called `train class 0`, and a table of own names can say more. On disk the path may have other
folders or another suffix; it may be listed without one. A list in a folder that is called as one is published, such as
kinetics100, is called after it.
"""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from plfeat.datasets import groups
from plfeat.datasets.counts import published_as
from plfeat.datasets.disk import Videos, outside, without_suffix
from plfeat.datasets.listing import Listing
from plfeat.datasets.place import Place, find_list, need_root, no_list
from plfeat.datasets.tables import read_lines, wrong
from plfeat.records import SPLITS, Listed, VideoList

_FORM = re.compile(r"(train|val|test)([0-9]{1,6})//?(.+)")


@dataclass(frozen=True, slots=True)
class Shot:
    where: str
    split: str
    number: int
    path: str

    @property
    def kind(self) -> tuple[int, int]:
        """The class, in the order of all classes."""
        return SPLITS.index(self.split), self.number

    @property
    def folders(self) -> list[str]:
        """The folders in its path, the innermost first."""
        return self.path.split("/")[-2::-1]


def read_few_shot(place: Place) -> VideoList:
    root = need_root(place)
    shots = [shot for path in _paths(place) for shot in _read(path)]
    names = _names(shots)
    label = {kind: index for index, kind in enumerate(names)}
    videos, listing = Videos(root, place.seen), Listing()
    for shot in shots:
        name = without_suffix(shot.path)
        stem = name.rpartition("/")[2]
        path = videos.find(stem, outside(*shot.folders)) or root / shot.path
        group = groups.of_name(stem, shot.folders[0] if shot.folders else "")
        listing.add(shot.where, Listed(name, label[shot.kind], (shot.split,), group, path=path))
    return listing.videos(place, list(names.values()), published_as(place).replace(" ", "-"))


def _paths(place: Place) -> list[Path]:
    if place.lists.is_file():
        return [place.lists]
    names = [f"{split}_few_shot.txt" for split in SPLITS]
    paths = [path for name in names if (path := find_list(place, name))]
    if not paths:
        raise no_list(place, *names)
    return paths


def _read(path: Path) -> list[Shot]:
    shots = []
    for where, line in read_lines(path):
        form = _FORM.fullmatch(line)
        if not form or {"", ".", ".."} & set(form[3].split("/")):
            raise wrong(where, "a line such as train0//folder/video.avi", line)
        if path.name in {f"{split}_few_shot.txt" for split in SPLITS} and not path.name.startswith(form[1]):
            raise wrong(where, f"the split that the name {path.name} says", line)
        shots.append(Shot(where, form[1], int(form[2]), form[3]))
    return shots


def _names(shots: list[Shot]) -> dict[tuple[int, int], str]:
    """Every class with its name, in order."""
    folders: dict[tuple[int, int], set[str]] = defaultdict(set)
    for shot in shots:
        folders[shot.kind].add(shot.folders[0] if shot.folders else "")
    owners = Counter(folder for each in folders.values() for folder in each)
    names = {}
    for kind in sorted(folders):
        folder = next(iter(folders[kind]))
        own = len(folders[kind]) == 1 and owners[folder] == 1 and folder
        names[kind] = folder if own else f"{SPLITS[kind[0]]} class {kind[1]}"
    return names
