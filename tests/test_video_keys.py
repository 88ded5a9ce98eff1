"""Films that do not begin with a key or have none after their start: the frames that FFmpeg shows, or a word about it.

Held against a decoder that gets every packet in order, as a player does.
"""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import odd_videos as odd
import pytest

from plfeat.video.decode import Clip, read_frames
from plfeat.video.keys import look
from plfeat.video.sampling import Seconds, segment_centres
from plfeat.video.scan import DecodeError

HAS_DECORD = importlib.util.find_spec("decord") is not None
DECODERS = ["pyav", pytest.param("decord", marks=pytest.mark.skipif(not HAS_DECORD, reason="decord has no wheel here"))]
CLIP = odd.pictures(60, 96, 128)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whole ones and, as `cut-*`, the same without their first 20 packets: the next key is the 24th."""
    folder = tmp_path_factory.mktemp("films")
    for kind, (suffix, *_) in odd.KEYED.items():
        odd.keyed(folder / f"{kind}{suffix}", CLIP, kind)
        if kind != "av1":  # no muxer of PyAV takes its packets as they are
            odd.keyed(folder / f"cut-{kind}{suffix}", CLIP, kind)
            odd.beheaded(folder / f"cut-{kind}{suffix}")
    return folder


def in_order(path: Path) -> Iterator[np.ndarray]:
    """What a player shows: packets that cannot be decoded are passed over."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for packet in [*(packet for packet in container.demux(stream) if packet.size), None]:
            try:
                frames = stream.codec_context.decode(packet)
            except av.error.InvalidDataError:
                continue
            yield from (frame.to_ndarray(format="rgb24") for frame in frames)


def eight(path: Path, decoder: str) -> tuple[Clip, int]:
    """Eight frames, and of how many."""
    seen: list[Seconds] = []

    def choose(seconds_T: Seconds) -> np.ndarray:
        seen[:] = [seconds_T]
        return np.unique(segment_centres(len(seconds_T), 8))

    return read_frames(path, choose, decoder), len(seen[0])


REFUSED = {"pyav": set(), "decord": {"av1", "mpeg2-mpg"}}


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("kind", sorted(odd.KEYED))
def test_a_whole_film_gives_the_chosen_frames_wherever_its_keys_are(films: Path, kind: str, decoder: str) -> None:
    path = films / f"{kind}{odd.KEYED[kind][0]}"
    if kind in REFUSED[decoder]:
        with pytest.raises(DecodeError):
            eight(path, decoder)
        return
    clip, count = eight(path, decoder)
    assert clip.complaint == ""
    assert count == 60
    assert [odd.frame_number(picture) for picture in clip.frames_UHWC] == clip.indices_U.tolist()


@pytest.mark.parametrize("kind", sorted(set(odd.KEYED) - {"av1"}))
def test_a_film_without_its_first_packets_gives_what_a_player_shows_and_says_so(films: Path, kind: str) -> None:
    path = films / f"cut-{kind}{odd.KEYED[kind][0]}"
    shown = list(in_order(path))
    clip, count = eight(path, "pyav")
    assert count == len(shown)
    assert np.array_equal(clip.frames_UHWC, np.stack(shown)[clip.indices_U])
    assert clip.complaint.startswith("error: the film does not begin with") or "h264" in clip.complaint


@pytest.mark.skipif(not HAS_DECORD, reason="decord has no wheel here")
@pytest.mark.parametrize("kind", sorted(set(odd.KEYED) - {"av1"}))
def test_decord_is_not_asked_for_a_film_without_its_first_packets(films: Path, kind: str) -> None:
    with pytest.raises(DecodeError, match="use the decoder pyav"):
        eight(films / f"cut-{kind}{odd.KEYED[kind][0]}", "decord")


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_film_without_any_key_is_refused_or_doubtful(films: Path, tmp_path: Path, decoder: str) -> None:
    """An MP4 in which no packet is a key calls all of them keys."""
    for kind, lost in (("h264", 4), ("hevc", 4), ("mpeg4", 4), ("mpeg4-b", 3), ("mpeg4-b", 4), ("vp9-mp4", 4)):
        path = tmp_path / f"{kind}.mp4"
        odd.keyed(path, CLIP[:24], kind, gop=250)
        odd.beheaded(path, lost)
        try:
            assert eight(path, decoder)[0].complaint
        except DecodeError:
            continue


def unit(*body: int) -> bytes:
    return bytes(body)


WHOLE, PART, HEVC_WHOLE, HEVC_PART = unit(0x65, 9), unit(0x41, 9), unit(19 << 1, 1, 9), unit(1 << 1, 1, 9)
AT_ONCE, LATER = (6, 1, 0x80), (6, 1, 0x40)  # notes; a 3 is put between two zeros and a 1
PACKETS = {
    "a whole picture": ("h264", [unit(9, 0), WHOLE], True),
    "a part of one": ("h264", [unit(9, 0), PART], False),
    "all is well from here": ("h264", [unit(6, *AT_ONCE), PART], True),
    "all is well after another note": ("h264", [unit(6, 5, 4, 0, 0, 3, 1, 7, *AT_ONCE), PART], True),
    "all will be well": ("h264", [unit(6, *LATER), PART], False),
    "no picture": ("h264", [unit(9, 0)], False),
    "a whole picture of HEVC": ("hevc", [unit(32 << 1, 1, 9), HEVC_WHOLE], True),
    "a part of one of HEVC": ("hevc", [unit(32 << 1, 1, 9), HEVC_PART], False),
}


@pytest.mark.parametrize("packet", PACKETS)
def test_a_key_is_looked_into_whether_its_units_have_lengths_or_marks(packet: str) -> None:
    codec, units, starts = PACKETS[packet]
    header = bytes([1]) + bytes([3] * 30)  # a length of four bytes before every unit
    with_lengths, with_marks = look(codec, header), look(codec, None)
    assert with_lengths is not None
    assert with_marks is not None
    assert with_lengths(b"".join(len(body).to_bytes(4, "big") + body for body in units)) == starts
    assert with_marks(b"".join(b"\0\0\0\1" + body for body in units)) == starts


STILLS = {
    "png": ("png", "rgb24"),
    "jpg": ("mjpeg", "yuvj420p"),
    "gif": ("gif", "rgb8", "gif"),
    "avif": ("libsvtav1", "yuv420p", "avif"),
}


@pytest.mark.parametrize("name", STILLS)
def test_a_picture_that_is_named_like_a_film_is_doubtful(tmp_path: Path, name: str) -> None:
    for suffix in (".mp4", f".{name}"):
        odd.still(tmp_path / f"still{suffix}", *STILLS[name])
        clip, count = eight(tmp_path / f"still{suffix}", "pyav")
        assert count == 1
        assert clip.complaint == "error: the file is a picture and not a film"
        if HAS_DECORD:
            with pytest.raises(DecodeError):
                eight(tmp_path / f"still{suffix}", "decord")


def test_a_record_with_a_cover_is_doubtful(tmp_path: Path) -> None:
    odd.record(tmp_path / "record.mp4")
    assert (
        eight(tmp_path / "record.mp4", "pyav")[0].complaint
        == "error: the file has sound and a cover picture, and no film"
    )


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("kind", ["h264", "mpeg4", "mpeg4-avi", "vp8"])
def test_a_film_of_one_frame_is_a_good_film(tmp_path: Path, kind: str, decoder: str) -> None:
    path = tmp_path / f"one{odd.KEYED[kind][0]}"
    odd.keyed(path, CLIP[:1], kind)
    clip, count = eight(path, decoder)
    assert count == 1
    assert clip.complaint == ""
