"""What is asked of a decode worker, what it answers, and the work itself: one video, all looks at it. Never imports
torch."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plfeat.recipe import Take
from plfeat.video.decode import Allocate, Choose, read_frames
from plfeat.video.sampling import Indices, Seconds, choose, within
from plfeat.video.scan import DecodeError

CENTRE = (Take(),)


@dataclass(frozen=True, slots=True)
class Job:
    """One video to decode, `start` to `end` seconds of it, and the looks that are wanted of it."""

    path: str
    key: str
    looks: tuple[Take, ...] = CENTRE
    start: float | None = None
    end: float | None = None
    size: int | None = None  # bytes that the file had when it was found; if it has others by now it is another video


@dataclass(frozen=True, slots=True)
class Orders:
    """What a worker is told once."""

    decoder: str
    fallback: str | None = None  # the other decoder, if a video may be tried with it
    limit: float = 60.0  # seconds for one try at one video


@dataclass(frozen=True, slots=True)
class Answer:
    """`shape` of the frames in the slot; for each look, which of them it shows, and which frame of the file each is."""

    shape: tuple[int, ...] = (0, 0, 0, 3)
    picks: tuple[NDArray[np.int64], ...] = ()
    frame_index: tuple[Indices, ...] = ()
    decoder: str = ""
    error: str = ""
    complaint: str = ""
    seconds: float = 0.0


def decode(job: Job, decoder: str, allocate: Allocate) -> Answer:
    """Every frame that some look shows is decoded once, into what `allocate` gives."""
    chosen: list[Indices] = []
    try:
        _require_size(job)
        clip = read_frames(Path(job.path), _chooser(job, chosen), decoder, allocate)
        _require_size(job)
    except DecodeError as error:
        return Answer(error=str(error)[:200], decoder=decoder)
    return Answer(
        shape=clip.frames_UHWC.shape,
        picks=tuple(np.searchsorted(clip.indices_U, indices) for indices in chosen),
        frame_index=tuple(chosen),
        decoder=decoder,
        complaint=clip.complaint,
    )


def _require_size(job: Job) -> None:
    if job.size is not None and os.path.exists(job.path) and os.stat(job.path).st_size != job.size:
        raise DecodeError("the file changed during the run")


def _chooser(job: Job, chosen: list[Indices]) -> Choose:
    def choose_all(seconds_F: Seconds) -> Indices:
        part = slice(0, None) if job.start is None else within(seconds_F, job.start, job.end)
        if not len(seconds_F[part]):
            end = "the end" if job.end is None else f"{job.end} s"
            raise DecodeError(f"no frame starts between {job.start} s and {end}")
        chosen[:] = [choose(look, seconds_F[part], job.key) + (part.start or 0) for look in job.looks]
        return np.unique(np.concatenate(chosen))

    return choose_all
