"""AVI, the format of UCF101 and HMDB51: a chunk of no bytes repeats a picture. The picture counts once and stays.

The header counts such chunks and the demuxer never returns them, so a sound file looks as if packets were missing.
"""

import importlib.util
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import odd_videos as odd
import pytest

from plfeat.recipe import Take
from plfeat.video.avi import repeats_at_end
from plfeat.video.decode import Clip, read_frames
from plfeat.video.job import Job, decode
from plfeat.video.pictures import BrokenPromiseError, promised
from plfeat.video.sampling import Seconds
from plfeat.video.scan import Clock, DecodeError, opened

HAS_DECORD = importlib.util.find_spec("decord") is not None
DECODERS = ["pyav", pytest.param("decord", marks=pytest.mark.skipif(not HAS_DECORD, reason="decord has no wheel here"))]
CLIP = odd.pictures(48, 64, 80)
TICKS = [0, *np.cumsum(np.random.default_rng(5).choice([1, 1, 1, 2, 3, 8], 46)).tolist()]
TICKS.append(TICKS[-1] + 1)
KINDS = {
    "sound": {"sound": True},
    "b-frames": {"b_frames": 2},
    "b-frames and sound": {"b_frames": 2, "sound": True},
    "packed": {"b_frames": 1, "in_packs": True},
    "packed and sound": {"b_frames": 1, "in_packs": True, "sound": True},
    "plain": {},
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "odd.avi"


def all_of(path: Path, decoder: str) -> tuple[Clip, Seconds]:
    """Every frame, and when the decoder says that it starts."""
    seen: list[Seconds] = []

    def choose(seconds_T: Seconds) -> np.ndarray:
        seen[:] = [seconds_T]
        return np.arange(len(seconds_T))

    return read_frames(path, choose, decoder), seen[0]


def numbers(clip: Clip) -> list[int]:
    return [odd.frame_number(picture) for picture in clip.frames_UHWC]


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_avi_is_not_called_damaged_and_its_times_are_right(file: Path, kind: str, decoder: str) -> None:
    odd.repeating(file, CLIP, TICKS, **KINDS[kind])
    clip, seconds = all_of(file, decoder)
    assert clip.complaint == ""
    assert numbers(clip) == list(range(48))
    assert seconds == pytest.approx(np.array(TICKS) / odd.RATE, abs=1e-9)


@pytest.mark.parametrize("decoder", DECODERS)
def test_repeats_at_the_end_are_no_damage(file: Path, decoder: str) -> None:
    odd.repeating(file, CLIP, range(48), tail=5)
    assert file.read_bytes().partition(b"idx1")[0].endswith(5 * b"00dc\0\0\0\0")
    clip, _ = all_of(file, decoder)
    assert clip.complaint == ""
    assert numbers(clip) == list(range(48))


@pytest.mark.parametrize("sound", [False, True])
@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_an_avi_cut_short_is_called_damaged_repeats_or_not(file: Path, share: float, sound: bool) -> None:
    odd.repeating(file, CLIP, TICKS, tail=5, sound=sound)
    data = file.read_bytes()
    file.write_bytes(data[: int(data.index(b"idx1") * share)])
    assert "packets that the header promises are missing" in all_of(file, "pyav")[0].complaint


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("b_frames", [0, 2])
def test_a_film_is_sampled_by_time_as_its_mp4_is(file: Path, b_frames: int, decoder: str) -> None:
    """Densely, and in trimmed segments."""
    odd.repeating(file, CLIP, TICKS, b_frames=b_frames)
    odd.video(file.with_suffix(".mp4"), CLIP, times=[round(tick * 1000 / odd.RATE) for tick in TICKS])

    def new(shape: tuple[int, ...]) -> np.ndarray:
        return np.empty(shape, np.uint8)

    for start, look in ((None, Take("dense", fps=2.0)), (0.7, Take("dense", fps=5.0)), (1.9, Take(frames=4))):
        avi, mp4 = (
            decode(Job(str(path), "a", (look,), start=start, end=start and start + 2), decoder, new)
            for path in (file, file.with_suffix(".mp4"))
        )
        assert avi.frame_index[0].tolist() == mp4.frame_index[0].tolist()
    dense = decode(Job(str(file), "a", (Take("dense", fps=2.0),)), decoder, new)
    assert len(dense.frame_index[0]) == 2 * TICKS[-1] // odd.RATE + 1


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_packet_that_says_as_before_is_no_frame_of_its_own(file: Path, decoder: str) -> None:
    odd.as_before(file, CLIP, [5, 5, 20])
    if decoder == "decord":  # it does not tell when it has run out
        with pytest.raises(DecodeError, match="use the decoder pyav"):
            all_of(file, decoder)
        return
    clip, seconds = all_of(file, decoder)
    assert numbers(clip) == list(range(48))
    assert clip.complaint == ""
    assert seconds[-1] == pytest.approx(50 / odd.RATE)


@pytest.mark.parametrize("ticks", [range(48), TICKS], ids=["even", "uneven"])
def test_h264_in_avi_holds_more_than_one_picture_back(file: Path, ticks: list[int]) -> None:
    """How many the scan knows: decoding agrees."""
    odd.CODECS["h264-avi"] = (".avi", *odd.CODECS["h264"][1:])
    odd.repeating(file, CLIP, ticks, b_frames=3, kind="h264-avi")
    clip, seconds = all_of(file, "pyav")
    assert numbers(clip) == list(range(48))
    assert clip.complaint == ""
    if ticks == range(48):
        assert seconds == pytest.approx(np.arange(48) / odd.RATE)
    if HAS_DECORD:
        assert all_of(file, "decord")[1].tolist() == seconds.tolist()


def test_what_comes_at_another_time_than_promised_is_noticed(file: Path) -> None:
    odd.repeating(file, CLIP, TICKS)
    with opened(file) as film:
        assert len(list(promised(film, []))) == 48
        film.listing = replace(film.listing, seconds_T=film.listing.seconds_T * 2)
        with pytest.raises(BrokenPromiseError):
            list(promised(film, []))


def test_pictures_that_come_out_at_the_end_follow_the_last_packet() -> None:
    """The last packets may have brought none: they said "as before"."""
    assert Clock(0.04, end=76).seconds([71, 73, None]).tolist() == pytest.approx([0, 0.08, 0.2])
    assert Clock(0.04, end=74).seconds([71, 73, None, None]).tolist() == pytest.approx([0, 0.08, 0.12, 0.16])


def test_repeats_are_counted_across_the_parts_of_a_long_file(tmp_path: Path) -> None:
    """Those above a gigabyte go on in a list of their own. Odd sizes are rounded up."""
    empty, sound = b"00dc" + bytes(4), b"01wb" + struct.pack("<I", 3) + b"abc\0"
    more = b"RIFF" + struct.pack("<I", 40) + b"AVIX" + b"LIST" + struct.pack("<I", 28) + b"movi" + empty + sound + empty
    (tmp_path / "long.avi").write_bytes(b"00dc" + struct.pack("<I", 2) + b"xy" + empty + sound + more)
    assert repeats_at_end(tmp_path / "long.avi", 8, 0) == 3
