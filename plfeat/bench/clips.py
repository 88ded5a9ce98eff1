"""Video files to measure extraction on."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from plfeat.records import Tick
from plfeat.toy.videos import frames_of, write_video

_DRAWN = 16  # the others are copies of these


@contextmanager
def own_clips(count: int, tick: Tick) -> Iterator[Path]:
    """A folder of clips like those of Kinetics: 340x256, 10 s at 25 frames/s, H.264, a key frame every 12."""
    with tempfile.TemporaryDirectory() as folder:
        made = [Path(folder) / "clips" / "action" / f"{number:04}.mp4" for number in range(count)]
        made[0].parent.mkdir(parents=True)
        for number, path in enumerate(made):
            if number < _DRAWN:
                small = frames_of("train", number % 24, number, seed=0)
                large = small.repeat(4, axis=1).repeat(6, axis=2)[:, :, :340]
                write_video(path, np.concatenate([large] * 11)[:250], rate=25, gop=12)
            else:
                path.write_bytes(made[number % _DRAWN].read_bytes() + _free_box(number))
            tick("drawing clips", number + 1, count)
        yield Path(folder) / "clips"


def _free_box(number: int) -> bytes:
    """Bytes that every reader of an MP4 passes over. With them a copy is a video of its own, decoded like any other."""
    return (16).to_bytes(4, "big") + b"free" + number.to_bytes(8, "big")
