"""Which frames a video has: a path in, their times in the order of display out, without decoding anything.

Reading the packets takes a few milliseconds, and tells what decoders get wrong: how many frames a viewer sees (an edit
list hides packets), when each starts, and from which packet on it can be decoded. A frame is a picture that was coded
once. Where a file shows the same picture again instead of another (AVI), that frame lasts longer and counts once.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from plfeat.video import avi, keys
from plfeat.video.sampling import Seconds


class DecodeError(Exception):
    """This video cannot be decoded; the message says why. A run goes on without it."""


@dataclass(frozen=True)
class Clock:
    """Which time a decoded frame has. Most frames carry their own. In AVI pictures have none, and a frame has the time
    of the packet that brought it out of the decoder; frames that come out after the last packet follow it, from `end`
    on."""

    unit: float  # seconds
    end: int | None = None

    def read(self, frame: Any) -> int | None:
        time: int | None = frame.pts if self.end is None else frame.dts
        return time

    def seconds(self, times: list[int | None]) -> Seconds:
        """From the first frame on. A missing time is read as a 25th of a second after the one before, in AVI as one
        unit after it."""
        step, least = (0.04, 0.0) if self.end is None else (self.unit, self.end * self.unit)
        seconds: list[float] = []
        for time in times:
            following = max(seconds[-1] + step, least) if seconds else least
            seconds.append(following if time is None else time * self.unit)
        return np.array(seconds) - (seconds[0] if seconds else 0)


@dataclass(frozen=True)
class Listing:
    """The frames in the order of display. `certain` is False where only decoding can count them: AVI, containers
    without times for their packets, films that do not begin with a key. Then `seconds_T` is what the packets promise
    (`timed`), or a guess with the right number of frames, if nothing is unusual."""

    seconds_T: Seconds
    time_T: list[int]  # in the stream's own unit; what a decoded frame will carry
    key_T: list[int]  # the number of the packet from which on the frame can be decoded
    clock: Clock
    certain: bool
    timed: bool
    anew: bool  # the film begins with a picture that needs no other
    doubt: str  # what is wrong before anything is decoded: packets are missing, it is no film
    seekable: bool  # every group of pictures stands alone, nothing is hidden: a naive seek finds the right frame
    sequential: bool  # read from the start, the first frames are those that are shown
    plain: bool  # every packet surely brings out one frame
    streams: int


_UNTIMED = ("avi", "mpeg", "mpegts")
"""Containers whose packets do not say when they are shown, or say it wrongly. (AVI has a clock of its own.)"""


_INDEXED = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
"""Containers in which a seek by time arrives: in Windows Media it may not."""

_BLANK = 16
"""Bytes of a packet of MPEG-4 that may hold no picture: XviD's placeholders, and its way to say "as before"."""

_KEPT = 256 << 20
"""Files up to this size are read once: their packets wait in memory between being counted and being decoded."""


class Film:
    """An open video: its packets, as often as they are wanted, and the decoder to give them to."""

    def __init__(self, path: Path, container: Any, stream: Any) -> None:
        self.path = path
        self.decoder = stream.codec_context
        self._kept = [p for p in container.demux(stream) if p.size] if path.stat().st_size <= _KEPT else None
        packets = list(map(_reader(stream), self.packets()))
        is_avi = container.format.name == "avi" and all(None not in (p.arrival, p.at) for p in packets)
        self.listing = _avi(packets, path, stream) if is_avi else _list(packets, container, stream)

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


class _Packet(NamedTuple):
    time: Any  # when it is shown
    arrival: Any  # when it is decoded
    called: bool  # the file says that decoding can start here
    is_key: bool  # it can, as far as we know
    is_discard: bool  # it is not to be shown
    at: Any  # where in the file its bytes begin
    size: int


def _reader(stream: Any) -> Callable[[Any], _Packet]:
    codec = stream.codec_context
    look = keys.look(codec.name, codec.extradata)

    def read(packet: Any) -> _Packet:
        called = packet.is_keyframe
        is_key = called and (look is None or look(bytes(packet)))
        return _Packet(packet.pts, packet.dts, called, is_key, packet.is_discard, packet.pos, packet.size)

    return read


def _trusted(packets: list[_Packet], stream: Any) -> bool:
    """The film begins with a key, and nothing speaks against what it calls keys: the packets were looked into, or they
    are not all called keys."""
    codec = stream.codec_context
    looked, every = keys.look(codec.name, None) is not None, all(packet.called for packet in packets)
    return bool(packets) and packets[0].is_key and (looked or codec.codec.intra_only or len(packets) == 1 or not every)


def _list(packets: list[_Packet], container: Any, stream: Any) -> Listing:
    unit, anew, trusted = float(stream.time_base), bool(packets) and packets[0].is_key, _trusted(packets, stream)
    doubt = _no_film(container, stream, len(packets)) or _missing(stream.frames - len(packets))
    times, streams = [packet.time for packet in packets], len(container.streams.video)
    if container.format.name in _UNTIMED or None in times or len(set(times)) < len(times):
        seconds_T = np.arange(len(packets)) / float(stream.average_rate or 25)
        return Listing(seconds_T, [], [], Clock(unit), False, False, anew, doubt, False, False, False, streams)
    start = stream.start_time
    shown = [n for n, packet in enumerate(packets) if not packet.is_discard and (start is None or packet.time >= start)]
    shown.sort(key=lambda n: times[n])
    hidden = set(range(len(packets))) - set(shown)
    starts = _starts(packets)
    first, last = (times[shown[0]], times[shown[-1]]) if shown else (0, 0)
    return Listing(
        seconds_T=np.array([(times[n] - first) * unit for n in shown]),
        time_T=[times[n] for n in shown],
        key_T=[starts[n] for n in shown],
        clock=Clock(unit),
        certain=anew,
        timed=True,
        anew=anew,
        doubt=doubt,
        seekable=container.format.name in _INDEXED and not hidden and starts == _naive_starts(packets),
        sequential=trusted and not any(first < times[n] < last for n in hidden),
        plain=anew,
        streams=streams,
    )


def _avi(packets: list[_Packet], path: Path, stream: Any) -> Listing:
    """An AVI's times are the numbers of its chunks. A decoder that holds `depth` pictures back gives each one out with
    a later packet, and the last ones at the end; those are the times at which they are shown."""
    arrivals, depth = [packet.arrival for packet in packets], stream.codec_context.reorder_depth
    end = counted = arrivals[-1] + 1 if packets else 0
    clock = Clock(float(stream.time_base), end)
    if stream.frames > counted > 0:
        counted += avi.repeats_at_end(path, packets[-1].at, stream.index)
    return Listing(
        seconds_T=clock.seconds([*arrivals[depth:], *[None] * depth][: len(packets)]),
        time_T=[],
        key_T=[],
        clock=clock,
        certain=False,
        timed=True,
        anew=bool(packets) and packets[0].is_key,
        doubt=_missing(stream.frames - counted),
        seekable=False,
        sequential=_trusted(packets, stream),
        plain=all(packet.size > _BLANK for packet in packets),
        streams=len(stream.container.streams.video),
    )


def _missing(packets: int) -> str:
    return f"error: {packets} packets that the header promises are missing" if packets > 0 else ""


def _no_film(container: Any, stream: Any, packets: int) -> str:
    """Why it is no film: a picture whose name looks like a film's, or the cover of a piece of music, opens as a film of
    one frame."""
    import av

    kind, brand = container.format.name, container.metadata.get("major_brand", "")
    if stream.disposition & av.stream.Disposition.attached_pic:
        return "error: the file has sound and a cover picture, and no film"
    if kind == "image2" or kind.endswith("_pipe") or brand in _STILL or (packets == 1 and kind == "gif"):
        return "error: the file is a picture and not a film"
    return ""


_STILL = ("avif", "heic", "heix", "mif1")
"""What MP4's relatives for single pictures call themselves."""


def _starts(packets: list[_Packet]) -> list[int]:
    """For each packet the last one before it from which decoding can start and that is shown no later. Pictures that
    follow a key packet and are shown before it need the one before that."""
    starts, recent = [], [0]
    for number, packet in enumerate(packets):
        if packet.is_key:
            recent.append(number)
        starts.append(next((key for key in reversed(recent) if packets[key].time <= packet.time), recent[0]))
    return starts


def _naive_starts(packets: list[_Packet]) -> list[int]:
    """The same for a reader that believes the file and does not know of such pictures."""
    starts, recent = [], 0
    for number, packet in enumerate(packets):
        recent = number if packet.called else recent
        starts.append(recent)
    return starts
