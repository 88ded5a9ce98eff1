"""Which frames a video has: a path in, their times in the order of display out, without decoding anything.

Reading the packets takes a few milliseconds and tells what no decoder can be trusted to tell: how many frames a viewer
sees (an edit list hides packets), when each starts, and from which packet on it can be decoded.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from plfeat.video.sampling import Seconds


class DecodeError(Exception):
    """This video cannot be decoded; the message says why. A run goes on without it."""


@dataclass(frozen=True)
class Listing:
    """The frames in the order of display. `certain` is False where only decoding can count them: containers without
    times for their packets. Then `seconds_T` is a guess with the right number of frames, if nothing is unusual."""

    seconds_T: Seconds
    time_T: list[int]  # in the stream's own unit; what a decoded frame will carry
    key_T: list[int]  # the number of the packet from which on the frame can be decoded
    certain: bool
    lost: int  # packets that the container promises and does not hold
    seekable: bool  # every group of pictures stands alone, nothing is hidden: a naive seek finds the right frame
    sequential: bool  # read from the start, the first frames are those that are shown
    streams: int


_UNTIMED = ("avi", "mpeg", "mpegts")
"""Containers whose packets do not say when they are shown, or say it wrongly."""


_KEPT = 256 << 20
"""Files up to this size are read once: their packets wait in memory between being counted and being decoded."""


class Film:
    """An open video: its packets, as often as they are wanted, and the decoder to give them to."""

    def __init__(self, path: Path, container: Any, stream: Any) -> None:
        self.path = path
        self.decoder = stream.codec_context
        self._kept = [p for p in container.demux(stream) if p.size] if path.stat().st_size <= _KEPT else None
        self.listing = _list(list(map(_facts, self.packets())), container, stream)

    def packets(self) -> Iterator[Any]:
        """Those that hold something, in the order of the file."""
        if self._kept is not None:
            yield from self._kept
            return
        with _open(self.path) as (container, stream):
            yield from (packet for packet in container.demux(stream) if packet.size)


@contextmanager
def opened(path: Path) -> Iterator[Film]:
    with _open(path) as (container, stream):
        yield Film(path, container, stream)


def scan(path: Path) -> Listing:
    with opened(path) as film:
        return film.listing


@contextmanager
def _open(path: Path) -> Iterator[tuple[Any, Any]]:
    """The container and its video stream: the one that FFmpeg calls best, decoded in one thread."""
    import av

    with av.open(str(path.absolute())) as container:
        stream: Any = container.streams.best("video")
        if stream is None:
            raise DecodeError("the file has no video stream")
        stream.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        yield container, stream


_Facts = tuple[Any, bool, bool]


def _facts(packet: Any) -> _Facts:
    """When it is shown, whether decoding can start there, whether it is not to be shown."""
    return packet.pts, packet.is_keyframe, packet.is_discard


def _list(packets: list[_Facts], container: Any, stream: Any) -> Listing:
    start, kind = stream.start_time, container.format.name
    unit, rate = float(stream.time_base), float(stream.average_rate or 25)
    lost, streams = max(0, stream.frames - len(packets)), len(container.streams.video)
    times = [time for time, _, _ in packets]
    if kind in _UNTIMED or None in times or len(set(times)) < len(times):
        return Listing(np.arange(len(packets)) / rate, [], [], False, lost, False, kind == "avi", streams)
    shown = [n for n, (time, _, discard) in enumerate(packets) if not discard and (start is None or time >= start)]
    shown.sort(key=lambda n: times[n])
    hidden = set(range(len(packets))) - set(shown)
    keys = _keys(packets)
    first, last = (times[shown[0]], times[shown[-1]]) if shown else (0, 0)
    return Listing(
        seconds_T=np.array([(times[n] - first) * unit for n in shown]),
        time_T=[times[n] for n in shown],
        key_T=[keys[n] for n in shown],
        certain=True,
        lost=lost,
        seekable=not hidden and keys == _closed_keys(packets),
        sequential=not any(first < times[n] < last for n in hidden),
        streams=streams,
    )


def _keys(packets: list[_Facts]) -> list[int]:
    """For each packet the last one before it from which decoding can start and that is shown no later. Pictures that
    follow a key packet and are shown before it need the one before that."""
    keys, recent = [], [0]
    for number, (time, is_key, _) in enumerate(packets):
        if is_key:
            recent.append(number)
        keys.append(next((key for key in reversed(recent) if packets[key][0] <= time), recent[0]))
    return keys


def _closed_keys(packets: list[_Facts]) -> list[int]:
    """The same for one who does not know of such pictures."""
    keys, recent = [], 0
    for number, (_, is_key, _) in enumerate(packets):
        recent = number if is_key else recent
        keys.append(recent)
    return keys
