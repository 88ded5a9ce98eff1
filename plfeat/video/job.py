"""What is asked of a decode worker, what it answers, and the work itself: one video, all views. Never imports torch."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plfeat.video.decode import Allocate, Choose, read_frames
from plfeat.video.sampling import Indices, Sampler, Seconds, within
from plfeat.video.scan import DecodeError


@dataclass(frozen=True, slots=True)
class Job:
    """One video to decode, in how many views, `start` to `end` seconds of it."""

    path: str
    id: str
    views: int = 1
    start: float | None = None
    end: float | None = None
    size: int | None = None  # bytes, as the list of videos says; a file that has others by now is not that video


@dataclass(frozen=True, slots=True)
class Orders:
    """What a worker is told once."""

    sampler: Sampler
    decoder: str
    fallback: str | None  # the other decoder, if a video may be tried with it
    limit: float  # seconds for one try at one video


@dataclass(frozen=True, slots=True)
class Answer:
    """`shape` of the frames in the slot; for each view, which of them it shows, and which frame of the file each is."""

    shape: tuple[int, ...] = (0, 0, 0, 3)
    picks: tuple[NDArray[np.int64], ...] = ()
    frame_index: tuple[Indices, ...] = ()
    decoder: str = ""
    error: str = ""
    complaint: str = ""
    seconds: float = 0.0


def decode(job: Job, sampler: Sampler, decoder: str, allocate: Allocate) -> Answer:
    """Every frame that some view shows is decoded once, into what `allocate` gives."""
    chosen: list[Indices] = []
    try:
        _require_size(job)
        clip = read_frames(Path(job.path), _chooser(job, sampler, chosen), decoder, allocate)
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


def _chooser(job: Job, sampler: Sampler, chosen: list[Indices]) -> Choose:
    def choose(seconds_T: Seconds) -> Indices:
        part = slice(0, None) if job.start is None else within(seconds_T, job.start, job.end)
        if not len(seconds_T[part]):
            end = "the end" if job.end is None else f"{job.end} s"
            raise DecodeError(f"no frame starts between {job.start} s and {end}")
        chosen[:] = [indices + part.start for indices in sampler.choose(seconds_T[part], job.id, job.views)]
        return np.unique(np.concatenate(chosen))

    return choose
