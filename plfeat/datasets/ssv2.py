"""Something-Something v2: a JSON for each split and one that numbers the labels.

A record has an id and a template; without its square brackets the template is a label, and the class is called so.
On disk a video is `<id>.webm`, anywhere under the root. The test JSON says no templates and is never read.
"""

from collections.abc import Iterator
from typing import Any

from plfeat.datasets.disk import Videos
from plfeat.datasets.listing import Listing
from plfeat.datasets.place import Place, find_list, need_list, need_root, no_list
from plfeat.datasets.tables import read_json, wrong
from plfeat.records import Listed, VideoList

_FILES = {"train": ("train",), "val": ("validation", "val")}


def read_ssv2(place: Place) -> VideoList:
    root, label = need_root(place), _read_labels(place)
    names = {split: [name for word in words for name in _names(word)] for split, words in _FILES.items()}
    paths = {split: find_list(place, *names[split]) for split in names}
    if not any(paths.values()):
        raise no_list(place, *names["train"], *names["val"])
    videos, listing = Videos(root, place.seen), Listing()
    for split, file in paths.items():
        for where, record in _records(str(file), read_json(file)) if file else ():
            name, index = _read_record(where, record, label)
            path = videos.find(name) or place.root / f"{name}.webm"
            listing.add(where, Listed(name, index, (split,), path=path))
    return listing.videos(place, sorted(label, key=label.__getitem__))


def _names(word: str) -> tuple[str, str]:
    return f"something-something-v2-{word}.json", f"{word}.json"


def _read_labels(place: Place) -> dict[str, int]:
    """Label to number; the numbers are 0, 1, 2 ... in any order, as strings or not."""
    path = need_list(place, *_names("labels"))
    content = read_json(path)
    if not isinstance(content, dict):
        raise wrong(str(path), "an object from labels to numbers", type(content).__name__)
    free = {str(number): number for number in range(len(content))}
    for name, number in content.items():
        if str(number) not in free:
            raise wrong(f"{path}, {name!r}", f"a number of its own below {len(content)}", number)
        content[name] = free.pop(str(number))
    return content


def _records(path: str, content: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    if not isinstance(content, list):
        raise wrong(path, "a list of records", type(content).__name__)
    for number, record in enumerate(content, 1):
        where = f"{path}, record {number}"
        if not isinstance(record, dict):
            raise wrong(where, "an object", record)
        yield where, record


def _read_record(where: str, record: dict[str, Any], label: dict[str, int]) -> tuple[str, int]:
    name, template = str(record.get("id", "")), str(record.get("template", ""))
    if not name.isdecimal():
        raise wrong(where, "an id, which is a number", name)
    plain = template.replace("[", "").replace("]", "")
    if plain not in label:
        raise wrong(where, "a template whose words are a label", template)
    return name, label[plain]
