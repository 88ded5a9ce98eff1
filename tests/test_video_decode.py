"""Opening videos: the right frames from good files, one reason for each bad one."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from plfeat.toy.videos import frames_of, write_video
from plfeat.video.decode import decoder_version, read_frames
from plfeat.video.sampling import segment_centres
from plfeat.video.scan import DecodeError

DECODERS = ["pyav"] + (["decord"] if importlib.util.find_spec("decord") else [])


def eight(seconds):
    return segment_centres(len(seconds), 8)


@pytest.fixture
def drawing(tmp_path: Path) -> tuple[Path, np.ndarray]:
    frames = frames_of("test", 12, 0, seed=1)
    write_video(tmp_path / "ünï codé.mp4", frames)
    return tmp_path / "ünï codé.mp4", frames


@pytest.mark.parametrize("decoder", DECODERS)
def test_the_chosen_frames_come_back_in_order(drawing: tuple[Path, np.ndarray], decoder: str) -> None:
    path, drawn = drawing
    clip = read_frames(path, eight, decoder)
    frames, indices = clip.frames_UHWC, clip.indices_U
    assert clip.complaint == ""
    assert indices.tolist() == [1, 4, 7, 10, 13, 16, 19, 22]
    distance = np.abs(frames[:, None].astype(float) - drawn[None].astype(float)).mean(axis=(2, 3, 4))
    assert distance.argmin(axis=1).tolist() == indices.tolist()  # each is closest to the very frame it should be


@pytest.mark.skipif(len(DECODERS) < 2, reason="decord has no wheel here")
def test_the_two_decoders_agree_to_the_bit(drawing: tuple[Path, np.ndarray]) -> None:
    first, second = (read_frames(drawing[0], eight, decoder).frames_UHWC for decoder in DECODERS)
    assert np.array_equal(first, second)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("damage", ["missing", "empty", "garbage", "truncated", "text"])
def test_a_bad_file_is_a_decode_error_with_one_line(
    drawing: tuple[Path, np.ndarray], decoder: str, damage: str
) -> None:
    path, _ = drawing
    whole = path.read_bytes()
    rubbish = {
        "empty": b"",
        "garbage": np.random.default_rng(0).bytes(5000),
        "truncated": whole[: len(whole) // 2],
        "text": b"this is not a video\n" * 50,
    }
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(rubbish[damage])
    with pytest.raises(DecodeError) as caught:
        read_frames(path, eight, decoder)
    assert str(caught.value)
    assert "\n" not in str(caught.value)


def test_decoders_say_their_version() -> None:
    for decoder in DECODERS:
        assert decoder_version(decoder)[0].isdigit()
