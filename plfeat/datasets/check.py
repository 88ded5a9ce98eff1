"""What of an annotation is on disk: a `VideoList` and its `Place` in, counts and complete lists out.

Looks at names and sizes, with one walk and one look at each listed file; of files of the same size also at what they
hold. Prints nothing.
"""

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from plfeat.datasets.counts import Published, published
from plfeat.datasets.disk import walk
from plfeat.datasets.place import Place, folds_there
from plfeat.records import SPLITS, UNLABELLED, Listed, VideoList

Digests = Callable[[Iterable[Path]], Iterable[str | None]]
"""What each of some files holds, in short; None for one that cannot be read."""


def unread(paths: Iterable[Path]) -> Iterable[str | None]:
    """The Digests that reads nothing: then no two files hold the same."""
    return (None for _ in paths)


@dataclass(frozen=True, slots=True)
class Count:
    """Of a split or a class: videos in the annotation, on disk, not on disk, and as the owner publishes it. Of a split
    of a dataset that has several folds, also the number of its `fold`."""

    name: str
    listed: int
    found: int
    missing: int
    canonical: int | None
    fold: int | None = None


@dataclass(frozen=True, slots=True)
class Check:
    name: str  # of the list
    splits: tuple[Count, ...]
    classes: tuple[Count, ...]
    canonical_classes: int | None
    unlabelled: int
    missing: tuple[str, ...]  # names
    empty: tuple[str, ...]  # names of files with 0 bytes, which count as found
    twice: tuple[str, ...]
    """Names for a video, or a segment of it, that another name in the list stands for as well: the same file, or one
    that holds the same."""
    unexpected: tuple[str, ...]
    """Videos under the root that the annotation does not list, relative to it. Not all are mistakes: the folds of
    HMDB51 may leave videos out, K400's test has no labels, and of two copies of a video only one is listed."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def check(videos: VideoList, place: Place, digests: Digests = unread) -> Check:
    numbers = folds_there(place) or [1]
    owners = {number: published(place, number) or Published(None) for number in numbers}
    size_N = [_size(row.path) for row in videos.rows]
    found = [row for row, size in zip(videos.rows, size_N, strict=True) if size is not None]
    listed_C, found_C = (Counter(row.label for row in rows) for rows in (videos.rows, found))
    where_N = [os.path.abspath(row.path) if row.path else "" for row in videos.rows]
    held = _held(dict(zip(where_N, size_N, strict=True)), digests)
    segment_N = [(held.get(at, at), row.start, row.end) for at, row in zip(where_N, videos.rows, strict=True)]
    times = Counter(segment_N)
    return Check(
        name=videos.name,
        splits=tuple(
            _count(split, listed, there, owners[number].videos.get(split), number if len(numbers) > 1 else None)
            for at, number in enumerate(numbers)
            for split, listed, there in _splits(videos.rows, found, at, owners[number])
        ),
        classes=tuple(
            _count(name, listed_C[label], found_C[label], owners[numbers[0]].each if len(numbers) == 1 else None)
            for label, name in enumerate(videos.classes)
        ),
        canonical_classes=owners[numbers[0]].classes,
        unlabelled=listed_C[UNLABELLED],
        missing=tuple(row.name for row, size in zip(videos.rows, size_N, strict=True) if size is None),
        empty=tuple(row.name for row, size in zip(videos.rows, size_N, strict=True) if size == 0),
        twice=tuple(row.name for row, segment in zip(videos.rows, segment_N, strict=True) if times[segment] > 1),
        unexpected=_unexpected(set(where_N), place.root),
    )


def _splits(rows: tuple[Listed, ...], found: list[Listed], fold: int, owners: Published) -> list[tuple[str, int, int]]:
    """The splits that a fold has or should have, with the videos listed and found in them."""
    listed, there = (Counter(row.split[fold] for row in some) for some in (rows, found))
    return [(split, listed[split], there[split]) for split in SPLITS if split in owners.videos or listed[split]]


def _count(name: str, listed: int, found: int, canonical: int | None, fold: int | None = None) -> Count:
    return Count(name, listed, found, listed - found, canonical, fold)


def _size(path: Path | None) -> int | None:
    """In bytes; None if there is no such file."""
    try:
        status = os.stat(path or "")
    except (OSError, ValueError):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _held(sizes: dict[str, int | None], digests: Digests) -> dict[str, str]:
    """What files hold of which others have the same size. Empty ones are told apart from the rest anyway."""
    times = Counter(sizes.values())
    asked = [where for where, size in sizes.items() if size and times[size] > 1]
    return {where: held for where, held in zip(asked, digests(map(Path, asked)), strict=True) if held}


def _unexpected(listed: set[str], root: Path) -> tuple[str, ...]:
    if not root.is_dir():
        return ()  # a list with absolute paths needs no root
    above = os.path.abspath(root)
    return tuple(sorted(path for path in walk(root) if f"{above}/{path}" not in listed))
