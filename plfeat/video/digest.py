"""A file in, the video it is out: 32 hex digits of its size and of its first, middle and last 64 KiB.

Moved, renamed, copied without its times, on another mount: the same video. Coded anew: another. A millisecond a file,
whatever its length. Never imports torch.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

_PART = 64 << 10  # bytes
_READERS = 16  # files under way at once: a disk or a network is waited for, not computed with
_AT_ONCE = 1024  # files that wait for a reader: a list of hundreds of thousands needs no memory of its own


def digest(path: Path) -> str:
    """Raises OSError where the file cannot be read."""
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        told = hashlib.sha256(f"{size}\n".encode())
        for start in (0, max(0, (size - _PART) // 2), max(0, size - _PART)):
            file.seek(start)
            told.update(_read(file.read))
    return told.hexdigest()[:32]


def _read(read: Callable[[int], bytes | None]) -> bytes:
    """A whole part, where the system gives it in pieces."""
    part = b""
    while len(part) < _PART and (piece := read(_PART - len(part))):
        part += piece
    return part


def digests(paths: Iterable[Path]) -> Iterator[str | None]:
    """Of many files, read side by side, in their order; None for one that is not there or cannot be read."""
    coming = iter(paths)
    with ThreadPoolExecutor(_READERS, "digest") as pool:
        while some := list(islice(coming, _AT_ONCE)):
            yield from pool.map(_digest, some)


def _digest(path: Path) -> str | None:
    try:
        return digest(path)
    except OSError:
        return None


def key(video: str, start: float | None, end: float | None) -> str:
    """What a video is called wherever its features are: its file's digest, and the segment, if it is one."""
    if start is None:
        return video
    return f"{video}#t={_short(start)},{'' if end is None else _short(end)}"


def span(key: str) -> tuple[float | None, float | None]:
    """The seconds that a key says, `start` and `end`."""
    _, _, said = key.partition("#t=")
    start, _, end = said.partition(",")
    return float(start) if start else None, float(end) if end else None


def _short(seconds: float) -> str:
    """The shortest text of a number, so that no two segments have the same."""
    return repr(float(seconds)).removesuffix(".0")
