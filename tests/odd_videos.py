"""Odd video files, made on the spot with PyAV alone: a path in, the file on disk, and out what a viewer would see.

Each picture carries its own number, so a test can ask which frames a decoder really returned. Every maker returns the
displayed frames in order, `[T, H, W, 3]` uint8 as drawn (before lossy coding), or None where nothing can be seen.
The same call writes the same bytes, so nothing is encoded twice.
"""

import hashlib
import io
import os
import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

os.environ.setdefault("SVT_LOG", "0")  # the AV1 encoder speaks past every other switch
RATE = 24
NAMES = [
    *(
        "ünï codé.mp4",
        "e\u0301.mp4",
        "跳躍 🎬.mp4",
        "two  spaces.mp4",
        "a#b.mp4",
        "a&b;c.mp4",
        "a%20b%d.mp4",
        "a?b=c.mp4",
    ),
    *("new\nline.mp4", "-dash.mp4", "'quo\"tes'.mp4", "file:name.mp4", "[1]*.mp4", "no_suffix"),
]

# x264's macroblock tree gives other bytes from one call to the next; open GOPs are x265's default and not x264's
_X264 = {"crf": "20", "preset": "veryfast", "x264-params": "mbtree=0:threads=1:open-gop=0"}
_X265 = {"crf": "20", "preset": "ultrafast", "x265-params": "log-level=none:pools=none:frame-threads=1:open-gop=0"}
_OPEN264 = _X264 | {"x264-params": "mbtree=0:threads=1:open-gop=1"}
_OPEN265 = _X265 | {"x265-params": "log-level=none:pools=none:frame-threads=1:open-gop=1"}
_VP8 = {"crf": "10", "deadline": "realtime", "auto-alt-ref": "1", "lag-in-frames": "16"}
_VP9 = {"crf": "20", "deadline": "realtime", "cpu-used": "8"}
_AV1 = {"crf": "10", "preset": "8", "svtav1-params": "lp=1"}
_FINE = {"qmin": "2", "qmax": "4"}
CODECS: dict[str, tuple[str, str, str, dict[str, str]]] = {  # name: (suffix, encoder, pixels, options)
    "h264": (".mp4", "libx264", "yuv420p", _X264),
    "h264-open": (".mp4", "libx264", "yuv420p", _OPEN264),
    "h264-10bit": (".mp4", "libx264", "yuv420p10le", _X264),
    "h264-444": (".mp4", "libx264", "yuv444p", _X264),  # the only H.264 here that takes odd sizes
    "h264-gray": (".mp4", "libx264", "gray", _X264),
    "h264-mkv": (".mkv", "libx264", "yuv420p", _X264),
    "h264-ts": (".ts", "libx264", "yuv420p", _X264),
    "hevc": (".mp4", "libx265", "yuv420p", _X265),
    "hevc-open": (".mp4", "libx265", "yuv420p", _OPEN265),
    "hevc-10bit": (".mp4", "libx265", "yuv420p10le", _X265),
    "vp8": (".webm", "libvpx", "yuv420p", _VP8),
    "vp9": (".webm", "libvpx-vp9", "yuv420p", _VP9),
    "av1": (".mp4", "libsvtav1", "yuv420p", _AV1),
    "mpeg4": (".avi", "mpeg4", "yuv420p", _FINE),
    "mpeg2": (".mpg", "mpeg2video", "yuv420p", _FINE),
    "mjpeg": (".avi", "mjpeg", "yuvj420p", _FINE),
    "ffv1": (".mkv", "ffv1", "yuv420p", {}),
}
_MUXERS = {
    ".mp4": "mp4",
    ".mkv": "matroska",
    ".ts": "mpegts",
    ".webm": "webm",
    ".avi": "avi",
    ".mpg": "vob",
    ".wmv": "asf",
}


# --- pictures that know their number ---------------------------------------------------------------------------------


def pictures(count: int, height: int = 128, width: int = 160, seed: int = 0) -> np.ndarray:
    """Frames `0..count-1`: a 4x4 board of black and white squares that spells the number, over a moving texture."""
    grains = np.random.default_rng(seed).integers(-24, 25, (height // 4 + 16, width // 4 + 16, 3))
    texture = grains.repeat(4, 0).repeat(4, 1)
    rows, columns = np.arange(height) * 4 // height, np.arange(width) * 4 // width
    frames = np.empty((count, height, width, 3), np.uint8)
    for number in range(count):
        board = np.where(_bits(number).reshape(4, 4)[rows][:, columns], 205, 50)[..., None]
        down, right = number % 59, number * 2 % 59
        frames[number] = board + texture[down : down + height, right : right + width]
    return frames


def frame_number(picture: np.ndarray) -> int:
    """The number drawn in a picture of any size, or -1 when it cannot be read for certain (blank, torn, turned)."""
    if min(picture.shape[:2]) < 8:
        return -1
    grey = picture.astype(float).mean(axis=2)
    y, x = (np.linspace(0, size, 17).astype(int) for size in grey.shape)
    middles = [(row, column) for row in (1, 5, 9, 13) for column in (1, 5, 9, 13)]
    squares = np.array([grey[y[r] : y[r + 2], x[c] : x[c + 2]].mean() for r, c in middles])
    black, white = squares[-2:]
    lit = (squares - black) / max(white - black, 1)
    if white - black < 60 or np.any(np.abs(lit - 0.5) < 0.2):
        return -1
    number = int((lit[:10] > 0.5) @ (1 << np.arange(10)))
    return number if np.array_equal(lit > 0.5, _bits(number)) else -1


def _bits(number: int) -> np.ndarray:
    """Ten bits of the number, four that check it, a black square, a white square."""
    check = (number * 11 + 5) // 3 % 16
    return np.array([number >> i & 1 for i in range(10)] + [check >> i & 1 for i in range(4)] + [0, 1], bool)


_encoded: dict[tuple[str, str], bytes] = {}


def _once(frames: np.ndarray, how: str, encode: Callable[[], bytes]) -> bytes:
    """What these frames are encoded to; a second time it is remembered."""
    key = hashlib.sha256(np.ascontiguousarray(frames)).hexdigest(), f"{frames.shape} {how}"
    if key not in _encoded:
        _encoded[key] = encode()
    return _encoded[key]


# --- whole files -----------------------------------------------------------------------------------------------------


def video(
    path: Path, frames: np.ndarray, kind: str = "h264", gop: int = 12, b_frames: int = 2,
    times: Sequence[int] | None = None, movflags: str = "",
) -> np.ndarray:  # fmt: skip
    """One plain file. `times`: each frame's start in ms, where the rate is uneven. `+faststart` puts moov first."""

    def encode() -> bytes:
        with _written(str(path), _MUXERS[CODECS[kind][0]], **({"movflags": movflags} if movflags else {})) as container:
            _encode(container, _stream(container, frames, kind, gop, b_frames), frames, times)
        return path.read_bytes()

    path.write_bytes(_once(frames, f"{kind} {gop} {b_frames} {times} {movflags}", encode))
    return frames


def _coded(frames: np.ndarray, kind: str, gop: int, b_frames: int) -> io.BytesIO:
    def encode() -> bytes:
        file = io.BytesIO()
        with _written(file, _MUXERS[CODECS[kind][0]]) as container:
            _encode(container, _stream(container, frames, kind, gop, b_frames), frames)
        return file.getvalue()

    return io.BytesIO(_once(frames, f"{kind} {gop} {b_frames} in memory", encode))


def _written(file: Any, muxer: str | None = None, **options: str) -> av.container.OutputContainer:
    return av.open(file, "w", format=muxer, options={"fflags": "+bitexact"} | options)


def _stream(
    container: av.container.OutputContainer, frames: np.ndarray, kind: str = "h264", gop: int = 12, b_frames: int = 2
) -> av.VideoStream:
    _, encoder, pixels, options = CODECS[kind]
    stream: Any = container.add_stream(encoder, rate=RATE, options=dict(options))
    stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pixels
    stream.codec_context.thread_count, stream.codec_context.gop_size = 1, gop
    if encoder in ("libx264", "libx265", "mpeg4", "mpeg2video"):
        stream.codec_context.max_b_frames = b_frames
    return stream


def _encode(container: Any, stream: Any, frames: np.ndarray, times: Sequence[int] | None = None) -> None:
    unit = Fraction(1, RATE) if times is None else Fraction(1, 1000)
    stream.codec_context.time_base = unit
    for time, frame in zip(times or range(len(frames)), frames, strict=True):
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        picture.pts, picture.time_base = time, unit
        container.mux(stream.encode(picture))
    container.mux(stream.encode(None))


def uneven(path: Path, frames: np.ndarray, seed: int = 0, **coding: Any) -> np.ndarray:
    """Variable frame rate: gaps of 10 to 200 ms, and one of two seconds."""
    gaps = np.random.default_rng(seed).integers(10, 200, len(frames))
    gaps[len(frames) // 2] = 2000
    return video(path, frames, times=[0, *np.cumsum(gaps)[:-1].tolist()], **coding)


def several(path: Path, streams: Sequence[np.ndarray], default: int = 0) -> None:
    """One mp4 or mkv with these video streams in this order; only stream `default` carries that flag."""
    with _written(str(path)) as container:
        made = [_stream(container, frames) for frames in streams]
        for i, stream in enumerate(made):
            stream.disposition = av.stream.Disposition(int(i == default))
        for stream, frames in zip(made, streams, strict=True):
            _encode(container, stream, frames)


def with_cover(path: Path, frames: np.ndarray) -> np.ndarray:
    """An mp4 with a larger still picture attached, its cover, as shops write them."""
    cover = pictures(1, 2 * frames.shape[1], 2 * frames.shape[2], seed=9)
    with _written(str(path)) as container:
        still, moving = _stream(container, cover, "mjpeg"), _stream(container, frames)
        still.disposition = av.stream.Disposition.attached_pic
        _encode(container, still, cover)
        _encode(container, moving, frames)
    return frames


def resized(path: Path, first: np.ndarray, second: np.ndarray) -> None:
    """A webm whose pictures change size on the way, as the recording of a call does."""
    with _written(str(path), "webm") as target:
        copy: Any = None
        for frames, start in ((first, 0), (second, round(len(first) * 1000 / RATE))):
            with av.open(_coded(frames, "vp8", 12, 0)) as source:
                copy = copy or target.add_stream_from_template(source.streams.video[0])
                for packet in source.demux(video=0):
                    _move(packet, copy, start, target)


def _move(packet: Any, stream: Any, later: int, target: Any) -> None:
    if packet.size:
        packet.pts, packet.dts, packet.stream = packet.pts + later, packet.dts + later, stream
        target.mux(packet)


def packed(path: Path, frames: np.ndarray, gop: int = 12, b_frames: int = 1) -> np.ndarray:
    """MPEG-4 in AVI as XviD wrote it: a B-frame rides in the chunk before its own, and an empty one follows."""
    vop, mark = b"\0\0\1\xb6", b"\0\0\1\xb2DivX503b1393p"  # the p says that the stream is packed
    with av.open(_coded(frames, "mpeg4", gop, b_frames)) as source, _written(str(path)) as target:
        copy = target.add_stream_from_template(source.streams.video[0])
        coded = [bytes(packet) for packet in source.demux(video=0) if packet.size]
        types = [chunk[chunk.index(vop) + 4] >> 6 for chunk in coded] + [0]  # 0 is I, 1 is P, 2 is B
        for i, chunk in enumerate(coded):
            rider = coded[i + 1] if types[i + 1] == 2 else b""
            packet: Any = av.Packet(
                (rider or vop + b"\x50\x40") if types[i] == 2 else chunk.replace(vop, mark + vop) + rider
            )
            packet.pts = packet.dts = i
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, RATE), copy, types[i] == 0
            target.mux(packet)
    return frames


def no_frames(path: Path) -> None:
    """An mp4 or avi with a video stream and not one packet in it."""
    with _written(str(path), **({"movflags": "+empty_moov"} if path.suffix == ".mp4" else {})) as container:
        _stream(container, pictures(1))
        container.start_encoding()


def audio_only(path: Path) -> None:
    with _written(str(path)) as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 16000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))


# --- AVI, whose times are the numbers of its chunks -------------------------------------------------------------------


def repeating(
    path: Path, frames: np.ndarray, ticks: Sequence[int], tail: int = 0,
    b_frames: int = 0, in_packs: bool = False, sound: bool = False, kind: str = "mpeg4",
) -> np.ndarray:  # fmt: skip
    """An AVI that shows picture i at tick i of `ticks` and repeats it until the next, the last one `tail` times.

    The muxer writes a chunk of no bytes for every repeat, as stock ffmpeg does where the rate is uneven or where sound
    moves the pictures. `in_packs`: B-frames as XviD packs them. `sound`: an MP3 track."""
    packed(path, frames, b_frames=b_frames) if in_packs else video(path, frames, kind, b_frames=b_frames)
    held = int(b_frames > 0)  # a decoder holds one picture back: each comes with the packet after its own
    arrivals = [*range(held), *(held + tick for tick in ticks)][: len(frames)]
    with av.open(io.BytesIO(path.read_bytes())) as source, _written(str(path), "avi") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        voice: Any = target.add_stream("libmp3lame", rate=22050, layout="mono") if sound else None
        coded = [packet for packet in source.demux(stream) if packet.size]
        for packet, arrival in zip(coded, arrivals, strict=True):
            packet.pts = packet.dts = arrival
            packet.duration = 1 + (tail if packet is coded[-1] else 0)
            packet.stream = copy
            target.mux(packet)
        if sound:
            _speak(target, voice, 22050 * (ticks[-1] + 1) // RATE)
    return frames


def _speak(container: Any, stream: Any, samples: int) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (1, samples)).astype(np.float32)
    sound = av.AudioFrame.from_ndarray(noise, format="fltp", layout="mono")
    sound.sample_rate = stream.rate
    for part in (sound, None):
        container.mux(stream.encode(part))


def as_before(path: Path, frames: np.ndarray, repeated: Sequence[int]) -> np.ndarray:
    """An MPEG-4 in AVI that says "the same picture again" in a packet of its own, after each of these."""
    with av.open(_coded(frames, "mpeg4", 12, 0)) as source, _written(str(path), "avi") as target:
        copy = target.add_stream_from_template(source.streams.video[0])
        chunks = [(bytes(packet), packet.is_keyframe) for packet in source.demux(video=0) if packet.size]
        for number in sorted(repeated, reverse=True):
            chunks.insert(number + 1, (b"\0\0\1\xb6\x50\x40", False))
        for number, (chunk, is_key) in enumerate(chunks):
            packet: Any = av.Packet(chunk)
            packet.pts = packet.dts = number
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, RATE), copy, is_key
            target.mux(packet)
    return frames


# --- films that do not begin with a key, or have none after their start -----------------------------------------------


_REFRESH = {"x264-params": "mbtree=0:threads=1:intra-refresh=1"}
KEYED: dict[str, tuple[str, str, str, dict[str, str], int]] = {  # name: (suffix, encoder, pixels, options, B-frames)
    "h264": (".mp4", "libx264", "yuv420p", _X264, 2),
    "h264-open": (".mp4", "libx264", "yuv420p", _OPEN264, 2),
    "h264-refresh": (".mp4", "libx264", "yuv420p", _X264 | _REFRESH, 0),
    "h264-refresh-mkv": (".mkv", "libx264", "yuv420p", _X264 | _REFRESH, 2),
    "hevc": (".mp4", "libx265", "yuv420p", _X265, 2),
    "hevc-open": (".mp4", "libx265", "yuv420p", _OPEN265, 2),
    "mpeg4": (".mp4", "mpeg4", "yuv420p", _FINE, 0),
    "mpeg4-b": (".mp4", "mpeg4", "yuv420p", _FINE, 2),
    "mpeg4-avi": (".avi", "mpeg4", "yuv420p", _FINE, 2),
    "mpeg2": (".mkv", "mpeg2video", "yuv420p", _FINE, 2),
    "mpeg2-mpg": (".mpg", "mpeg2video", "yuv420p", _FINE, 2),
    "vp8": (".webm", "libvpx", "yuv420p", _VP8, 0),
    "vp9": (".webm", "libvpx-vp9", "yuv420p", _VP9, 0),
    "vp9-mp4": (".mp4", "libvpx-vp9", "yuv420p", _VP9, 0),
    "wmv1": (".wmv", "wmv1", "yuv420p", _FINE, 0),
    "wmv2": (".wmv", "wmv2", "yuv420p", _FINE, 0),
    "av1": (".mp4", "libsvtav1", "yuv420p", _AV1, 0),
}


def keyed(path: Path, frames: np.ndarray, kind: str, gop: int = 12) -> np.ndarray:
    """A whole film that says "key" in the way of its kind; `h264-refresh` refreshes its pictures strip by strip."""
    _, encoder, pixels, options, b_frames = KEYED[kind]
    CODECS[f"keyed {kind}"] = (path.suffix, encoder, pixels, options)  # what is encoded is remembered by this name
    return video(path, frames, f"keyed {kind}", gop, b_frames)


def beheaded(path: Path, packets: int = 20) -> None:
    """The file that is there, without its first packets."""
    with av.open(io.BytesIO(path.read_bytes())) as source, _written(str(path), _MUXERS[path.suffix]) as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        for packet in [packet for packet in source.demux(stream) if packet.size][packets:]:
            packet.stream = copy
            target.mux(packet)


# --- pictures and records that are named like films -------------------------------------------------------------------


def still(path: Path, codec: str = "png", pixels: str = "rgb24", muxer: str = "") -> None:
    """One picture, as any program saves it."""
    if muxer:
        CODECS[f"still {codec}"] = (path.suffix, codec, pixels, {})
        with _written(str(path), muxer) as container:
            _encode(container, _stream(container, pictures(1), f"still {codec}"), pictures(1))
        return
    context: Any = av.CodecContext.create(codec, "w")
    context.height, context.width, context.pix_fmt, context.time_base = 128, 160, pixels, Fraction(1, RATE)
    frame = av.VideoFrame.from_ndarray(pictures(1)[0], format="rgb24").reformat(format=pixels)
    path.write_bytes(b"".join(map(bytes, [*context.encode(frame), *context.encode(None)])))


def record(path: Path) -> None:
    """Sound with a cover picture."""
    cover = pictures(1)
    with _written(str(path)) as container:
        voice: Any = container.add_stream("aac", rate=22050, layout="mono")
        picture = _stream(container, cover, "mjpeg")
        picture.disposition = av.stream.Disposition.attached_pic
        _encode(container, picture, cover)
        _speak(container, voice, 22050)


# --- what the header of an mp4 says about packets that are there ------------------------------------------------------


def copied(
    path: Path, frames: np.ndarray, start: float, stop: float | None = None,
    kind: str = "h264", gop: int = 12, b_frames: int = 2,
) -> np.ndarray:  # fmt: skip
    """`ffmpeg -ss start [-to stop] -i whole -c copy x.mp4`, in frames: packets before `start` stay in, never shown."""
    with av.open(_coded(frames, kind, gop, b_frames)) as source, _written(str(path)) as target:
        stream = source.streams.video[0]
        step = 1 / (RATE * stream.time_base)
        packets: list[Any] = [packet for packet in source.demux(stream) if packet.size]
        first = max(i for i, packet in enumerate(packets) if packet.is_keyframe and packet.pts <= start * step)
        kept = [packet for packet in packets[first:] if stop is None or packet.dts < stop * step]
        shown = sorted(round(packet.pts / step) for packet in kept if packet.pts >= start * step)
        copy = target.add_stream_from_template(stream)
        for packet in kept:
            _move(packet, copy, -round(start * step), target)
    return frames[shown]


def edited(path: Path, frames: np.ndarray, edits: Sequence[tuple[int, int]], **coding: Any) -> np.ndarray:
    """An edit list written by hand over a whole file: show `count` frames from `start`, and so on; -1 is a wait."""
    video(path, frames, **coding)

    def rewrite(old: bytes) -> bytes:
        (zero,), step = struct.unpack(">i", old[12:16]), 12288 // RATE  # FFmpeg's clock for this rate
        rows = [(count * 1000 // RATE, zero + start * step if start >= 0 else -1, 1 << 16) for start, count in edits]
        return struct.pack(">II", 0, len(edits)) + b"".join(struct.pack(">IiI", *row) for row in rows)

    _change(path, "moov/trak/edts/elst", rewrite)
    return np.concatenate([frames[start : start + count] for start, count in edits if start >= 0])


def rotated(path: Path, frames: np.ndarray, degrees: int, **coding: Any) -> np.ndarray:
    """Stored turned, with a note to turn each picture clockwise by `degrees` (a multiple of 90), as telephones do."""
    video(path, np.rot90(frames, degrees // 90, axes=(1, 2)), **coding)  # rot90 turns anticlockwise
    cos, sin = [(1, 0), (0, 1), (-1, 0), (0, -1)][degrees // 90]
    matrix = struct.pack(">9i", cos << 16, sin << 16, 0, -sin << 16, cos << 16, 0, 0, 0, 1 << 30)
    _change(path, "moov/trak/tkhd", lambda old: old[:40] + matrix + old[76:])
    return frames


def boastful(path: Path, frames: np.ndarray, size: int = 16384) -> np.ndarray:
    """The header claims a width and height that the pictures do not have."""
    video(path, frames)
    _change(path, "moov/trak/tkhd", lambda old: old[:76] + struct.pack(">II", size << 16, size << 16))
    _change(path, "moov/trak/mdia/minf/stbl/stsd", lambda old: old[:40] + struct.pack(">HH", size, size) + old[44:])
    return frames


def bomb(path: Path, size: int = 8000) -> None:
    """A small VP8 file whose first picture says that it is `size` squared (16000 is about the most that opens)."""
    data = bytearray(_coded(pictures(4), "vp8", 12, 0).getvalue())
    at = data.index(b"\x9d\x01\x2a") + 3
    data[at : at + 4] = struct.pack("<HH", size, size)
    path.write_bytes(data)


def _change(path: Path, box: str, change: Callable[[bytes], bytes]) -> None:
    """Apply `change` to the body of each such mp4 box; those that hold it grow with it. moov must come last."""

    def within(data: bytes, names: list[str]) -> bytes:
        out, at = b"", 0
        while at < len(data):
            size, name = struct.unpack(">I4s", data[at : at + 8])
            body = data[at + 8 : at + size]
            if name == names[0].encode():
                body = within(body, names[1:]) if names[1:] else change(body)
            out, at = out + struct.pack(">I4s", 8 + len(body), name) + body, at + size
        return out

    path.write_bytes(within(path.read_bytes(), box.split("/")))


# --- damage to a file that is there -----------------------------------------------------------------------------------


def payload(data: bytes | bytearray) -> tuple[int, int]:
    """Where an mp4's coded pictures lie: the first byte, and one past the last."""
    at = 0
    while data[at + 4 : at + 8] != b"mdat":
        at += struct.unpack(">I", data[at : at + 4])[0]
    return at + 8, at + struct.unpack(">I", data[at : at + 4])[0]


def truncated(path: Path, share: float) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def flipped(path: Path, flips: int, seed: int, anywhere: bool = False) -> None:
    """Turn over `flips` bits, in an mp4's coded pictures or anywhere in any file."""
    data = bytearray(path.read_bytes())
    first, last = (0, len(data)) if anywhere else payload(data)
    for bit in np.random.default_rng(seed).choice(8 * (last - first), flips, replace=False).tolist():
        data[first + bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def blanked(path: Path, begin: float = 0, end: float = 1, value: int = 0) -> None:
    """The header intact, and this stretch of the coded pictures one byte throughout, as failed downloads leave it."""
    data = bytearray(path.read_bytes())
    first, last = payload(data)
    low, high = (first + int((last - first) * share) for share in (begin, end))
    data[low:high] = bytes([value]) * (high - low)
    path.write_bytes(data)


RUBBISH = {
    "empty": b"",
    "one byte": b"\0",
    "text": b"this is not a video\n" * 50,
    "noise": np.random.default_rng(0).bytes(5000),
    "html": b"<!DOCTYPE html><html><body>404 Not Found</body></html>\n",
    "ftyp only": b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41",
}
