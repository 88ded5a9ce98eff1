"""The only place that opens a video: a path in, chosen frames out as uint8 RGB. Never imports torch.

Both decoders say how many frames a viewer would see and when each starts, then return the ones that are asked for. What
FFmpeg complains about on the way is kept: a file can be damaged and still give pictures.
"""

import importlib.metadata
import os
import re
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from plfeat.errors import UsageError, first_line
from plfeat.video.pictures import BrokenPromiseError, every, needed, promised, upright
from plfeat.video.sampling import Indices, Seconds
from plfeat.video.scan import DecodeError, Film, opened

T = TypeVar("T")
Frames = NDArray[np.uint8]
Choose = Callable[[Seconds], Indices]
Allocate = Callable[[tuple[int, ...]], Frames]

MOST_BYTES = 2 << 30
"""Frames of one video that would take more than this are refused: a damaged header can promise any size."""


@dataclass(frozen=True)
class Clip:
    """The chosen frames of one video. `complaint` says why the frames are in doubt, if they are: FFmpeg spoke of
    damage, or a scan of the packets found some."""

    frames_UHWC: Frames
    indices_U: Indices
    complaint: str = ""


DEFAULT = "pyav"
"""Exact on every file that we could make, where decord is not; and it knows newer codecs."""


def decoder_version(name: str) -> str:
    try:
        return importlib.metadata.version({"decord": "decord", "pyav": "av"}[name])
    except importlib.metadata.PackageNotFoundError:
        raise UsageError(f"decoder {name} is not installed; install it or use --decoder {DEFAULT}") from None


def _new(shape: tuple[int, ...]) -> Frames:
    return np.empty(shape, np.uint8)


def read_frames(path: Path, choose: Choose, decoder: str, allocate: Allocate = _new) -> Clip:
    """`choose(start of every frame, in seconds)` says which indices, rising and without repeats; the frames land in
    `allocate(shape)`."""
    if not path.is_file():
        raise DecodeError("the file does not exist")
    if path.stat().st_size == 0:
        raise DecodeError("the file is empty")
    said: list[str] = []
    try:
        with _listening(said), opened(path) as film:
            frames, indices = {"decord": _decord, "pyav": _pyav}[decoder](film, choose, allocate, said)
    except DecodeError:
        raise
    except BrokenPromiseError:
        raise DecodeError("decord counts other frames than there are; use the decoder pyav") from None
    except MemoryError as error:
        raise DecodeError(f"{decoder}: not enough memory for its frames") from error
    except Exception as error:  # both libraries raise a zoo of types for a broken file
        raise DecodeError(f"{decoder}: {_reason(error, path)}") from error
    return Clip(frames, indices, film.listing.doubt or _complaint(said))


def _reason(error: Exception, path: Path) -> str:
    """An error's text without the time and the folder, so that it is the same wherever the file lies and whenever it is
    read."""
    said = re.sub(r"^\[\d+:\d+:\d+\] \S+: ", "", first_line(error))
    return said.replace(str(path.absolute()), path.name)


def _collect(pictures: Iterable[Frames], count: int, allocate: Allocate) -> Frames:
    """`count` pictures of one size, put where `allocate` says once the first has shown the size."""
    frames: Frames | None = None
    number = 0
    for picture in pictures:
        if frames is None:
            if count * picture.nbytes > MOST_BYTES:
                raise DecodeError(f"{count} frames of {picture.shape[1]}x{picture.shape[0]} are too large")
            frames = allocate((count, *picture.shape))
        if picture.shape != frames.shape[1:]:
            raise DecodeError("the size of the picture changes within the video")
        frames[number] = picture
        number += 1
    if frames is None or number < count:
        raise DecodeError(f"{number} of the {count} chosen frames could be decoded")
    return frames


# ---- what FFmpeg says

_DAMAGE = re.compile(
    r"error|corrupt|damaged|conceal|overread|prematurely|partial file|invalid nal|unavailable for requested"
    r"|decode of .* failed",
    re.IGNORECASE,
)
"""Lines that undamaged files never cause. (They do cause others: missing references at a cut, unusual sizes.)"""


@contextmanager
def _listening(said: list[str]) -> Iterator[None]:
    """Keeps what decord and FFmpeg write to the process's own stderr. They write past Python, whatever log level is
    set; nothing of it is shown."""
    import av

    av.logging.set_skip_repeated(False)  # else FFmpeg says that a message was repeated only with the next file
    av.logging.set_level(av.logging.ERROR)
    av.logging.restore_default_callback()
    av.logging.set_libav_level(av.logging.ERROR)
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as page:
        os.dup2(page.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            page.seek(0)
            said.extend(page.read(100_000).decode(errors="replace").splitlines())


def _complaint(said: list[str]) -> str:
    """The first line that speaks of damage, without the addresses that differ from run to run."""
    for line in said:
        if _DAMAGE.search(line):
            return re.sub(r"^\[([\w,]+) @ 0x[0-9a-f]+\]", r"\1:", line.strip())[:200]
    return ""


# ---- PyAV


def _pyav(film: Film, choose: Choose, allocate: Allocate, said: list[str]) -> tuple[Frames, Indices]:
    """Decodes only what the chosen frames need. If the decoded pictures are not those that the packets promised, all
    are decoded once more and counted."""
    seconds_T, clock = film.listing.seconds_T, film.listing.clock
    if len(seconds_T):
        indices = choose(seconds_T)
        frames = needed(film, indices, said) if film.listing.certain else _only(promised(film, said), indices)
        try:
            return _collect(map(upright, frames), len(indices), allocate), indices
        except BrokenPromiseError:
            said.clear()
    seconds_T = clock.seconds([clock.read(frame) for frame in every(film, [])])
    if not len(seconds_T):
        raise DecodeError("the video has no frames")
    indices = choose(seconds_T)
    return _collect(map(upright, _only(every(film, said), indices)), len(indices), allocate), indices


# ---- decord

_BATCH = 32  # frames that decord holds at once beside ours


def _decord(film: Film, choose: Choose, allocate: Allocate, said: list[str]) -> tuple[Frames, Indices]:
    """decord finds wrong frames, and does not say so, where pictures of one group need pictures of another (x265's
    default, AVI with B-frames) or where an edit list hides packets. Such files are read from the start; files that
    decord reads wrongly even then are refused."""
    import decord

    listing = film.listing
    if not listing.sequential or listing.streams > 1:
        raise DecodeError("decord shows other frames of this file than a viewer would; use the decoder pyav")
    reader = decord.VideoReader(str(film.path.absolute()), num_threads=1)
    total = len(listing.seconds_T)
    if not total or (not listing.certain and len(reader) != total):
        raise DecodeError(f"decord counts {len(reader)} frames, the file has packets for {total}; use the decoder pyav")
    if not listing.plain:
        deque(promised(film, said), maxlen=0)  # decord does not say when there are no more frames
    indices = choose(listing.seconds_T)
    if listing.seekable and len(reader) == total:
        return _collect(_seeking(reader, indices), len(indices), allocate), indices
    shown = (reader.next() for _ in range(int(indices[-1]) + 1))
    return _collect((picture.asnumpy() for picture in _only(shown, indices)), len(indices), allocate), indices


def _seeking(reader: Any, indices: Indices) -> Iterator[Frames]:
    """The chosen frames. The first one is read alone, so that its size is known before many are in memory."""
    yield reader[int(indices[0])].asnumpy()
    for start in range(1, len(indices), _BATCH):
        yield from reader.get_batch(indices[start : start + _BATCH]).asnumpy()


def _only(shown: Iterable[T], indices: Indices) -> Iterator[T]:
    """The chosen frames, in order, out of all that are shown."""
    wanted = set(indices.tolist())
    return (picture for number, picture in enumerate(shown) if number in wanted)
