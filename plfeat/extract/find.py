"""The files of a list in, which videos they are out. A file whose size and time of change a store knows is not read.

Nothing here opens a video; a millisecond's worth of each new file is read.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from plfeat.errors import CacheError
from plfeat.records import Listed, Tick, VideoList
from plfeat.shards.catalogue import Seen, read_catalogue, stores_with
from plfeat.video.digest import digests, key

_AT_ONCE = 256  # files between two ticks


@dataclass(frozen=True)
class Found:
    """A list whose rows know which videos they are, `files` that are there, by the digest of each, and everything that
    there is to note in a catalogue."""

    videos: VideoList
    files: dict[str, Seen]
    seen: list[Seen]


def known_files(cache_root: Path) -> dict[Path, list[Seen]]:
    """What each store under a cache root has seen. One whose catalogue is damaged has seen nothing."""
    found = {}
    for store in stores_with(cache_root):
        try:
            found[store] = read_catalogue(store)
        except CacheError:
            found[store] = []
    return found


def latest(known: Iterable[Seen]) -> dict[str, Seen]:
    """What lay at each place when a store last looked there."""
    found: dict[str, Seen] = {}
    for seen in known:
        there = found.get(seen.where)
        if there is None or seen.mtime_ns > there.mtime_ns:
            found[seen.where] = seen
    return found


def find(videos: VideoList, root: Path, hints: dict[str, Seen], tick: Tick) -> Found:
    """A file that is not there is the one that was seen there, if one was."""
    base = os.path.abspath(root)
    places = list(dict.fromkeys(os.path.abspath(row.path) for row in videos.rows if row.path))
    seen, lost, unread = {}, {}, []
    for number, where in enumerate(places, 1):
        if number % _AT_ONCE == 0 or number == len(places):
            tick("finding the files", number, len(places))
        hint, there = hints.get(where), _look(where)
        if there is None:
            if hint:
                lost[where] = hint
        elif hint and (hint.size, hint.mtime_ns) == there:
            seen[where] = _seen(hint.video, base, where, *there)
        else:
            unread.append((where, there))
    for number, ((where, there), video) in enumerate(zip(unread, digests(Path(w) for w, _ in unread), strict=True), 1):
        if video:
            seen[where] = _seen(video, base, where, *there)
        if number % _AT_ONCE == 0 or number == len(unread):
            tick("reading the files' ends", number, len(unread))
    known = lost | seen
    rows = tuple(_named(row, known.get(os.path.abspath(row.path)) if row.path else None) for row in videos.rows)
    files = {each.video: each for each in reversed(seen.values())}
    return Found(replace(videos, rows=rows), files, list(seen.values()))


def files_of(known: Iterable[Seen], keys: Iterable[str], root: Path | None) -> Iterator[tuple[str, Seen]]:
    """Where the files of stored videos are today: where they were seen, or at the same path under another root; those
    that still are what they were."""
    wanted = {each.partition("#")[0] for each in keys}
    for each in latest(known).values():
        if each.video not in wanted:
            continue
        moved = each if root is None else replace(each, root=os.path.abspath(root)) if each.root else each
        there = _look(moved.where)
        if there is None or there[0] != each.size:
            continue
        if there[1] == each.mtime_ns or next(digests([Path(moved.where)])) == each.video:
            wanted.discard(each.video)
            yield each.video, moved


def _look(where: str) -> tuple[int, int] | None:
    try:
        about = os.stat(where)
    except OSError:
        return None
    return about.st_size, about.st_mtime_ns


def _seen(video: str, base: str, where: str, size: int, mtime_ns: int) -> Seen:
    inside = where.startswith(base + os.sep)
    return Seen(video, base if inside else "", where[len(base) + 1 :] if inside else where, size, mtime_ns)


def _named(row: Listed, seen: Seen | None) -> Listed:
    return replace(row, video=key(seen.video, row.start, row.end) if seen else "")
