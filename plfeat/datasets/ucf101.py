"""UCF101: `classInd.txt` and, for each of three folds, `trainlist0N.txt` and `testlist0N.txt`.

The class of a video is the folder in its line; train lines say its number too, which must agree. On disk the videos lie
in class folders or in one. Capitals do not count anywhere: the owners write HandstandPushups and HandStandPushups.
"""

from plfeat.datasets.disk import Videos, outside, without_suffix
from plfeat.datasets.listing import Listing
from plfeat.datasets.place import Place, need_fold, need_list, need_root
from plfeat.datasets.text import read_lines, wrong
from plfeat.records import Dataset, VideoRef


def read_ucf101(place: Place) -> Dataset:
    root, fold = need_root(place), need_fold(place)
    classes = _read_classes(place)
    label = {name.lower(): index for index, name in enumerate(classes)}
    paths = {split: need_list(place, f"{split}list{fold:02d}.txt") for split in ("train", "test")}
    videos, listing = Videos(root, key=str.lower), Listing()
    for split, lines in paths.items():
        for where, line in read_lines(lines):
            file, index = _read_line(where, line, label)
            folder, _, name = file.partition("/")
            path = videos.find(without_suffix(name), outside(folder)) or root / file
            listing.add(where, VideoRef(without_suffix(file), path, index, split))
    return listing.dataset(place, classes)


def _read_classes(place: Place) -> list[str]:
    """The classes, numbered 1, 2, 3 ..."""
    classes: list[str] = []
    for where, line in read_lines(need_list(place, "classInd.txt")):
        number, name = (*line.split(maxsplit=1), "")[:2]
        if number != str(len(classes) + 1) or not name:
            raise wrong(where, f"{len(classes) + 1} and a class", line)
        classes.append(name)
    return classes


def _read_line(where: str, line: str, label: dict[str, int]) -> tuple[str, int]:
    file, number = (*line.split(maxsplit=1), "")[:2]
    folder, _, name = file.partition("/")
    if not name or "/" in name:
        raise wrong(where, "<class>/<video>", line)
    if folder.lower() not in label:
        raise wrong(where, "a class of classInd.txt", folder)
    index = label[folder.lower()]
    if number and number != str(index + 1):
        raise wrong(where, f"{index + 1}, the number of {folder}", number)
    return file, index
