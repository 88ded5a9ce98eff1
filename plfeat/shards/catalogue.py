"""Which files a store has seen: where each lay, how large and how old it was, and which video it is.

A file that still has its size and time of change is not read again to know it. And a list's names can be looked up
among those that were seen, so that a list can be made where the videos no longer are.
"""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from plfeat.errors import CacheError, first_line
from plfeat.files import write_text
from plfeat.shards.room import KEY, file_in, place

NAME = "catalogue.csv"
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
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file, strict=True)
            if next(rows, None) != _HEADER:
                raise ValueError(f"expected the header {','.join(_HEADER)}")
            found = [Seen(video, root, where, int(size), int(time)) for video, root, where, size, time in rows]
    except (OSError, ValueError, csv.Error) as error:
        raise CacheError(f"{path} is damaged ({first_line(error)[:120]}); remove it, and it is made again") from error
    for seen in found:
        if not KEY.fullmatch(seen.video) or "#" in seen.video:
            raise CacheError(f"{path} is damaged ({seen.video[:80]!r} is not a video); remove it")
    return found


def write_catalogue(store: Path, seen: Iterable[Seen]) -> None:
    """What was seen last at a place is what is there."""
    latest = {(each.root, each.path): each for each in seen}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_HEADER)
    for _, each in sorted(latest.items()):
        writer.writerow([each.video, each.root, each.path, each.size, each.mtime_ns])
    write_text(place(store, NAME), text.getvalue())


def stores_with(cache_root: Path) -> list[Path]:
    """Every store under a cache root that has a catalogue, links left out."""
    found = [path.parent for depth in ("", "*/", "*/*/") for path in cache_root.glob(f"{depth}{NAME}")]
    return sorted(path for path in set(found) if not path.is_symlink())
