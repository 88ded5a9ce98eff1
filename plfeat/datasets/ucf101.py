"""UCF101: `classInd.txt` and, for each of three folds, `trainlist0N.txt` and `testlist0N.txt`.

The class of a video is the folder in its line; train lines say its number too, which must agree. On disk the videos lie
in class folders or in one. Capitals do not count anywhere: the owners write HandstandPushups and HandStandPushups.
"""

from plfeat.datasets import groups
from plfeat.datasets.disk import Videos, outside, without_suffix
from plfeat.datasets.listing import Listing
from plfeat.datasets.place import Place, need_folds, need_list, need_root
from plfeat.datasets.tables import read_lines, wrong
from plfeat.records import Listed, VideoList


def read_ucf101(place: Place) -> VideoList:
    root, folds, classes = need_root(place), need_folds(place), _read_classes(place)
    label = {name.lower(): index for index, name in enumerate(classes)}
    videos = Videos(root, place.seen, key=str.lower)
    listing = Listing(len(folds), key=str.lower)
    for number, fold in enumerate(folds):
        for split in ("train", "test"):
            for where, line in read_lines(need_list(place, f"{split}list{fold:02d}.txt")):
                file, index = _read_line(where, line, label)
                folder, _, name = file.partition("/")
                stem, owner = without_suffix(name), classes[index]
                path = videos.find(stem, outside(folder)) or root / file
                row = Listed(f"{owner}/{stem}", index, (split,), groups.of_ucf(stem, owner), path=path)
                listing.add(where, row, number)
    return listing.videos(place, classes)


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
