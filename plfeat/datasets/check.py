"""What of an annotation is on disk: a `Dataset` and its `Place` in, counts and complete lists out.

Looks at names and sizes, with one walk and one look at each listed file. Opens no video and prints nothing.
"""

import os
import stat
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from plfeat.datasets.counts import Published, published
from plfeat.datasets.disk import walk
from plfeat.datasets.place import Place
from plfeat.records import SPLITS, Dataset


@dataclass(frozen=True, slots=True)
class Count:
    """Of a split or a class: videos in the annotation, on disk, not on disk, and as the owner publishes it."""

    name: str
    listed: int
    found: int
    missing: int
    canonical: int | None


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    splits: tuple[Count, ...]
    classes: tuple[Count, ...]
    canonical_classes: int | None
    missing: tuple[str, ...]  # ids
    empty: tuple[str, ...]  # ids of files with 0 bytes, which count as found
    unexpected: tuple[str, ...]
    """Videos under the root that the annotation does not list, relative to it. Not all are mistakes: a fold of HMDB51
    leaves videos out, K400's test has no labels, and of two copies of a video only one is listed."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def check(dataset: Dataset, place: Place) -> Check:
    owners = published(place) or Published(None)
    size = {video.id: _size(video.path) for video in dataset.videos}
    found = [video for video in dataset.videos if size[video.id] is not None]
    splits = [split for split in SPLITS if split in owners.videos or any(v.split == split for v in dataset.videos)]
    listed_C, found_C = (Counter(video.label for video in videos) for videos in (dataset.videos, found))
    listed_S, found_S = (Counter(video.split for video in videos) for videos in (dataset.videos, found))
    return Check(
        name=dataset.name,
        splits=tuple(_count(name, listed_S[name], found_S[name], owners.videos.get(name)) for name in splits),
        classes=tuple(
            _count(name, listed_C[label], found_C[label], owners.each) for label, name in enumerate(dataset.classes)
        ),
        canonical_classes=owners.classes,
        missing=tuple(video.id for video in dataset.videos if size[video.id] is None),
        empty=tuple(video.id for video in found if size[video.id] == 0),
        unexpected=_unexpected(dataset, place.root),
    )


def _count(name: str, listed: int, found: int, canonical: int | None) -> Count:
    return Count(name, listed, found, listed - found, canonical)


def _size(path: Path) -> int | None:
    """In bytes; None if there is no such file."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _unexpected(dataset: Dataset, root: Path) -> tuple[str, ...]:
    if not root.is_dir():
        return ()  # a list with absolute paths needs no root
    above = os.path.abspath(root)
    listed = {os.path.abspath(video.path) for video in dataset.videos}
    return tuple(sorted(path for path in walk(root) if f"{above}/{path}" not in listed))
