"""Odd files: a frame that is returned is the one that a viewer would see there, or the video fails with a reason."""

import importlib.util
from pathlib import Path

import numpy as np
import odd_videos as odd
import pytest

from plfeat.recipe import Take
from plfeat.video.decode import Clip, read_frames
from plfeat.video.job import Job, decode
from plfeat.video.sampling import segment_centres
from plfeat.video.scan import DecodeError, scan

HAS_DECORD = importlib.util.find_spec("decord") is not None
DECODERS = ["pyav", pytest.param("decord", marks=pytest.mark.skipif(not HAS_DECORD, reason="decord has no wheel here"))]
CLIP = odd.pictures(60)


def read(path: Path, decoder: str, count: int = 8) -> Clip:
    return read_frames(path, lambda seconds: segment_centres(len(seconds), count), decoder)


def numbers(clip: Clip) -> list[int]:
    return [odd.frame_number(picture) for picture in clip.frames_UHWC]


def numbers_or_reason(path: Path, decoder: str) -> list[int] | str:
    try:
        return numbers(read(path, decoder))
    except DecodeError as error:
        return str(error).rpartition("; ")[2]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "odd.mp4"


def test_the_pictures_can_be_told_apart() -> None:
    assert [odd.frame_number(picture) for picture in CLIP] == list(range(60))
    assert odd.frame_number(np.rot90(CLIP[7])) == -1
    assert odd.frame_number(np.zeros_like(CLIP[0])) == -1


NOT_FOR_DECORD = {"av1", "mpeg2", "h264-ts"}


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("gop", [12, 250])
@pytest.mark.parametrize("kind", sorted(odd.CODECS))
def test_every_codec_and_container_gives_the_chosen_frames(tmp_path: Path, kind: str, gop: int, decoder: str) -> None:
    """Open groups of pictures (x265's default) and B-frames in AVI are where naive seeking gives others."""
    path = tmp_path / f"clip{odd.CODECS[kind][0]}"
    odd.video(path, CLIP, kind, gop=gop)
    if decoder == "decord" and kind in NOT_FOR_DECORD:
        with pytest.raises(DecodeError, match="decord"):
            read(path, decoder)
        return
    clip = read(path, decoder)
    assert numbers(clip) == clip.indices_U.tolist() == segment_centres(60, 8).tolist()
    assert clip.complaint == ""


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("start", [0, 1, 7, 12, 17.5, 35])
@pytest.mark.parametrize(
    ("kind", "gop", "b_frames"), [("h264", 12, 2), ("h264", 250, 3), ("h264", 12, 0), ("hevc", 12, 2)]
)
def test_what_an_edit_list_hides_is_neither_counted_nor_shown(
    file: Path, kind: str, gop: int, b_frames: int, start: float, decoder: str
) -> None:
    """`ffmpeg -ss START -c copy`: asked for the hidden packets too, decord mixes up the order without an error."""
    shown = odd.copied(file, CLIP, start, kind=kind, gop=gop, b_frames=b_frames)
    clip = read(file, decoder)
    assert numbers(clip) == [odd.frame_number(shown[i]) for i in segment_centres(len(shown), 8)]
    assert len(scan(file).seconds_T) == len(shown)


EDITS = {
    "start": [(20, 40)],
    "end": [(0, 40)],
    "one frame off the end": [(0, 59)],
    "both": [(10, 30)],
    "wait": [(-1, 12), (0, 60)],
}


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("gop", [12, 250])
@pytest.mark.parametrize("edit", EDITS)
def test_edit_lists_written_by_hand(file: Path, edit: str, gop: int, decoder: str) -> None:
    shown = odd.edited(file, CLIP, EDITS[edit], gop=gop)
    clip = read(file, decoder)
    assert numbers(clip) == [odd.frame_number(shown[i]) for i in segment_centres(len(shown), 8)]


@pytest.mark.parametrize("gop", [12, 250])
@pytest.mark.parametrize("edit", [[(0, 20), (40, 20)], [(30, 30), (0, 30)], [(0, 30), (0, 30)]], ids=str)
def test_cuts_swaps_and_repeats_are_shown_as_listed_or_refused(
    file: Path, edit: list[tuple[int, int]], gop: int
) -> None:
    shown = odd.edited(file, CLIP, edit, gop=gop)
    expected = [odd.frame_number(shown[i]) for i in segment_centres(len(shown), 8)]
    assert numbers(read(file, "pyav")) == expected
    if HAS_DECORD:
        assert numbers_or_reason(file, "decord") in (expected, "use the decoder pyav")


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_pictures_stored_on_their_side_are_turned_upright(file: Path, degrees: int, decoder: str) -> None:
    odd.rotated(file, CLIP, degrees)
    clip = read(file, decoder)
    assert clip.frames_UHWC.shape[1:3] == (128, 160)
    assert numbers(clip) == segment_centres(60, 8).tolist()


@pytest.mark.parametrize("decoder", DECODERS)
def test_an_uneven_rate_is_sampled_by_frames_and_densely_by_time(file: Path, decoder: str) -> None:
    odd.uneven(file, CLIP)
    assert numbers(read(file, decoder)) == segment_centres(60, 8).tolist()
    seconds = scan(file).seconds_T
    gaps = np.diff(seconds)
    assert gaps.argmax() == 30
    assert gaps.max() == pytest.approx(2.0, abs=0.01)
    dense = decode(Job(str(file), "a", (Take("dense", fps=2.0),)), decoder, lambda shape: np.empty(shape, np.uint8))
    times = [half / 2 for half in range(100) if half / 2 <= seconds[-1]]
    first_after = {next(i for i, second in enumerate(seconds) if second >= time - 1e-3) for time in times}
    assert dense.frame_index[0].tolist() == sorted(first_after)


def test_of_several_streams_the_default_one_is_read(file: Path) -> None:
    other = odd.pictures(60, 64, 96, seed=1)[::-1]
    for default, shape in ((0, (128, 160)), (1, (64, 96))):
        odd.several(file, [CLIP, other], default)
        assert read(file, "pyav").frames_UHWC.shape[1:3] == shape
        if HAS_DECORD:
            with pytest.raises(DecodeError, match="use the decoder pyav"):
                read(file, "decord")
        file.unlink()


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_cover_picture_is_not_the_film(file: Path, decoder: str) -> None:
    odd.with_cover(file, CLIP)
    expected = segment_centres(60, 8).tolist()
    assert numbers_or_reason(file, decoder) == (expected if decoder == "pyav" else "use the decoder pyav")


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("gop", [12, 250])
def test_xvid_with_packed_b_frames(tmp_path: Path, gop: int, decoder: str) -> None:
    odd.packed(tmp_path / "packed.avi", CLIP, gop)
    assert numbers(read(tmp_path / "packed.avi", decoder)) == segment_centres(60, 8).tolist()


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("size", [(65, 47), (47, 65), (9, 9), (1, 300)])
def test_odd_sizes(file: Path, size: tuple[int, int], decoder: str) -> None:
    odd.video(file, odd.pictures(12, *size), "h264-444")
    assert read(file, decoder).frames_UHWC.shape == (8, *size, 3)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("kind", ["h264", "h264-mkv", "mpeg4"])
def test_one_frame_is_enough(tmp_path: Path, kind: str, decoder: str) -> None:
    path = tmp_path / f"one{odd.CODECS[kind][0]}"
    odd.video(path, CLIP[5:6], kind)
    clip = read(path, decoder, count=1)
    assert numbers(clip) == [5]
    answer = decode(Job(str(path), "a"), decoder, lambda shape: np.empty(shape, np.uint8))
    assert answer.shape[0] == 1
    assert answer.picks[0].tolist() == [0] * 8


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_no_frames_is_a_failed_video(tmp_path: Path, suffix: str, decoder: str) -> None:
    odd.no_frames(tmp_path / f"none{suffix}")
    with pytest.raises(DecodeError):
        read(tmp_path / f"none{suffix}", decoder)


@pytest.mark.parametrize("decoder", DECODERS)
def test_sound_without_pictures_is_a_failed_video(file: Path, decoder: str) -> None:
    odd.audio_only(file)
    with pytest.raises(DecodeError, match="no video stream"):
        read(file, decoder)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("name", odd.NAMES)
def test_any_file_name_will_do(tmp_path: Path, name: str, decoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    odd.video(tmp_path / "plain.mp4", CLIP[:12])
    (tmp_path / "plain.mp4").rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / name, Path(name)):
        assert numbers(read(path, decoder, 4)) == [1, 4, 7, 10]


def test_a_size_that_changes_on_the_way_is_a_failed_video(tmp_path: Path) -> None:
    odd.resized(tmp_path / "call.webm", CLIP[:24], odd.pictures(24, 64, 80))
    with pytest.raises(DecodeError, match="the size of the picture changes"):
        read(tmp_path / "call.webm", "pyav")


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_header_that_promises_a_giant_picture_is_not_believed(file: Path, decoder: str) -> None:
    odd.boastful(file, CLIP)
    assert read(file, decoder).frames_UHWC.shape[1:3] == (128, 160)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("rubbish", odd.RUBBISH)
def test_rubbish_is_a_failed_video_with_one_line(file: Path, rubbish: str, decoder: str) -> None:
    file.write_bytes(odd.RUBBISH[rubbish])
    with pytest.raises(DecodeError) as caught:
        read(file, decoder)
    assert str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("decoder", DECODERS)
def test_damage_is_a_reason_a_complaint_or_leaves_the_chosen_frames_as_they_were(file: Path, decoder: str) -> None:
    """Twenty flipped bits never pass in silence; the same damage is told in the same words wherever and whenever."""
    clean = read_clean(file, decoder)
    told = 0
    for seed in range(12):
        odd.video(file, CLIP[:48])
        odd.flipped(file, 20, seed)
        said = []
        for path in (file, file.with_name("elsewhere.mp4")):
            path.write_bytes(file.read_bytes())
            try:
                clip = read(path, decoder)
                said.append(clip.complaint)
                if not clip.complaint:
                    assert np.array_equal(clip.frames_UHWC, clean.frames_UHWC)
            except DecodeError as error:
                said.append(str(error))
        assert said[0] == said[1]
        told += bool(said[0])
    assert told >= 10


def read_clean(file: Path, decoder: str) -> Clip:
    odd.video(file, CLIP[:48])
    clip = read(file, decoder)
    assert clip.complaint == ""
    return clip


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("share", [0.3, 0.7, 0.99])
@pytest.mark.parametrize("kind", ["h264", "h264-mkv", "mpeg4"])
def test_a_file_cut_short_fails_or_is_complained_of_unless_no_picture_is_hurt(
    tmp_path: Path, kind: str, share: float, decoder: str
) -> None:
    path = tmp_path / f"cut{odd.CODECS[kind][0]}"
    odd.video(path, CLIP, kind)
    clean = read(path, decoder)
    odd.truncated(path, share)
    try:
        clip = read(path, decoder)
    except DecodeError:
        return
    assert clip.complaint or (share == 0.99 and np.array_equal(clip.frames_UHWC, clean.frames_UHWC))


def test_a_trimmed_segment_is_read_by_time(file: Path) -> None:
    odd.video(file, CLIP)  # 24 frames a second

    def new(shape: tuple[int, ...]) -> np.ndarray:
        return np.empty(shape, np.uint8)

    answer = decode(Job(str(file), "a", (Take(frames=4),), start=1.0, end=2.0), "pyav", new)
    assert answer.frame_index[0].tolist() == [27, 33, 39, 45]
    answer = decode(Job(str(file), "a", (Take(frames=4),), start=9.0), "pyav", new)
    assert answer.error == "no frame starts between 9.0 s and the end"


def test_every_look_is_served_by_one_pass(file: Path) -> None:
    odd.video(file, CLIP)
    memory: list[np.ndarray] = []

    def new(shape: tuple[int, ...]) -> np.ndarray:
        memory.append(np.empty(shape, np.uint8))
        return memory[-1]

    looks = (Take(), *(Take("random", seed=3, view=view) for view in range(5)), Take("dense", every=7))
    answer = decode(Job(str(file), "a", looks), "pyav", new)
    (frames,) = memory
    for picks, chosen in zip(answer.picks, answer.frame_index, strict=True):
        assert [odd.frame_number(picture) for picture in frames[picks]] == chosen.tolist()
    assert len(frames) == len(set(np.concatenate(answer.frame_index).tolist()))
