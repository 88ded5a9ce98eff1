"""Which files a store has seen: where each lay, how large and how old it was, and which video it is.

A file that still has its size and time of change is not read again to know it. And a list's names can be looked up
among those that were seen, so that a list can be made where the videos no longer are.
"""

import csv
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from plfeat.errors import CacheError, first_line
from plfeat.files import write_bytes
from plfeat.shards.room import KEY, file_in, goal, place

NAME = "catalogue.csv"
_ODD = "surrogateescape"
"""A file's name need not be UTF-8: its bytes stay what they are."""

_NUMBER = re.compile(r"-?[0-9]{1,19}")
_HEADER = ["video", "root", "path", "size", "mtime_ns"]


@dataclass(frozen=True, slots=True)
class Seen:
    """A file. `path` is relative to `root`, with slashes; or absolute, and `root` is empty."""

    video: str  # the digest of the whole file
    root: str
    path: str
    size: int
    mtime_ns: int

    @property
    def where(self) -> str:
        return f"{self.root}/{self.path}" if self.root else self.path


def read_catalogue(store: Path) -> list[Seen]:
    """Everything that a store has seen; nothing if it has no catalogue."""
    if not place(store, NAME).exists():
        return []
    path = file_in(store, NAME)
    try:
        with path.open(encoding="utf-8", errors=_ODD, newline="") as file:
            rows = csv.reader(file, strict=True)
            if next(rows, None) != _HEADER:
                raise ValueError(f"expected the header {','.join(_HEADER)}")
            found = [_seen(*row) for row in rows]
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise CacheError(f"{path} is damaged ({first_line(error)[:120]}); remove it, and it is made again") from error
    return found


def _seen(video: str, root: str, path: str, size: str, time: str) -> Seen:
    if not KEY.fullmatch(video) or "#" in video:
        raise ValueError(f"{video[:80]!r} is not a video")
    if (root or path)[:1] != "/" or (root and path[:1] == "/") or ".." in path.split("/") or "\0" in root + path:
        raise ValueError(f"{path[:80]!r} is not a path under {root[:80]!r}")
    if not size.isdecimal() or not _NUMBER.fullmatch(size) or not _NUMBER.fullmatch(time):
        raise ValueError(f"{size[:30]!r} and {time[:30]!r} are not a size and a time")
    return Seen(video, root, path, int(size), int(time))


def write_catalogue(store: Path, seen: Iterable[Seen]) -> None:
    """What was seen last at a place is what is there."""
    latest = {(each.root, each.path): each for each in seen}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_HEADER)
    for _, each in sorted(latest.items()):
        writer.writerow([each.video, each.root, each.path, each.size, each.mtime_ns])
    content = text.getvalue().encode(errors=_ODD)
    path = goal(store, NAME)
    if not path.exists() or path.read_bytes() != content:
        write_bytes(path, content)


def stores_with(cache_root: Path) -> list[Path]:
    """Every store under a cache root that has a catalogue, links left out."""
    found = [path.parent for depth in ("", "*/", "*/*/") for path in cache_root.glob(f"{depth}{NAME}")]
    return sorted(path for path in set(found) if not path.is_symlink())
