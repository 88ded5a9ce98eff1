"""Decoded clips in, one shard out: fitted, augmented, encoded in fixed batches, packed.

Batches run across videos and never beyond the shard. A video that fails is blank in its batch, so that every other
video keeps its place there and its exact bits. (Dense sampling cannot know how long a failed video would have been;
there it takes no place.)
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from plfeat.backbone.vision import Batches, FrameEncoder
from plfeat.device import sent
from plfeat.errors import PlfeatError
from plfeat.records import VideoRef
from plfeat.shards.folder import MISSING
from plfeat.shards.hdf5 import pack, unpack
from plfeat.shards.schema import DOUBTFUL, FAILED, OK, Shard
from plfeat.video.augment import augment
from plfeat.video.crew import Decoded
from plfeat.video.job import Job
from plfeat.video.sampling import Sampler


@dataclass
class ShardMaker:
    """`seconds` and `frames` count what was encoded so far."""

    encoder: FrameEncoder
    sampler: Sampler
    batches: Batches
    dtype: str
    views: int = 1
    test_views: int = 1
    augment: str = "none"
    seconds: float = field(default=0.0, init=False)
    frames: int = field(default=0, init=False)

    def views_of(self, video: VideoRef) -> int:
        return self.views if video.split == "train" else self.test_views

    def job(self, video: VideoRef, size: int | None = None) -> Job:
        return Job(str(video.path), video.id, self.views_of(video), video.start, video.end, size)

    def make(
        self, videos: list[VideoRef], clips: Iterator[Decoded], absent: frozenset[str], done: Callable[[int], None]
    ) -> Shard:
        """`clips` yields the videos that are not `absent`, in order."""
        parts = [
            _Part.missing() if video.id in absent else self._add(video, next(clips), number, done)
            for number, video in enumerate(videos, 1)
        ]
        started = time.perf_counter()
        outputs = self.batches.finish()
        self.seconds += time.perf_counter() - started
        keep_R = np.concatenate([np.full(part.places, part.rows > 0) for part in parts])
        packed = {name: pack(value.numpy()[keep_R], self.dtype) for name, value in outputs.items()}
        for name, rows in packed.items():
            if not np.isfinite(unpack(rows)).all():
                raise PlfeatError(
                    f"{name} of {videos[0].id} or a later video overflow; "
                    "set dtype=float32, and on a GPU compute=bfloat16 or float32"
                )
        done(len(videos))
        return Shard(
            features_RD=packed.pop("features"),
            frame_index_R=np.concatenate([part.frame_index for part in parts]).astype(np.int32),
            view_R=np.concatenate([part.view for part in parts]).astype(np.int32),
            video_ptr=np.cumsum([0, *(part.rows for part in parts)], dtype=np.int64),
            label_N=np.array([video.label for video in videos], np.int64),
            status_N=np.array([part.status for part in parts], np.uint8),
            id_N=tuple(video.id for video in videos),
            decoder_N=tuple(part.decoder for part in parts),
            error_N=tuple(part.error for part in parts),
            more=packed,
        )

    def _add(self, video: VideoRef, clip: Decoded, number: int, done: Callable[[int], None]) -> "_Part":
        assert clip.job.id == video.id
        started = time.perf_counter()
        if clip.answer.error:
            part = _Part.failed(clip, 0 if self.sampler.dense else self.views_of(video) * self.sampler.frames)
            self.batches.add(self.encoder.blank(part.places))
        else:
            part = _Part.read(clip)
            self._encode(video, clip)
        self.frames += part.places
        self.seconds += time.perf_counter() - started
        done(number)
        return part

    def _encode(self, video: VideoRef, clip: Decoded) -> None:
        fitted = self.encoder.fit(clip.frames_UHWC)
        for view, picks in enumerate(clip.answer.picks):
            with self.encoder.beside():
                frames = fitted[sent(torch.from_numpy(picks), fitted.device)]
                if video.split == "train" and self.augment != "none":
                    frames = augment(frames, self.augment, f"{self.sampler.seed}/{view}/{video.id}")
            self.batches.add(frames)


@dataclass(frozen=True)
class _Part:
    """One video's share of a shard: places in the batches, and the rows that are kept of them."""

    places: int
    rows: int
    frame_index: Any
    view: Any
    status: int
    decoder: str
    error: str

    @staticmethod
    def read(clip: Decoded) -> "_Part":
        answer = clip.answer
        index = np.concatenate(answer.frame_index)
        view = np.repeat(np.arange(len(answer.frame_index)), [len(chosen) for chosen in answer.frame_index])
        status = DOUBTFUL if answer.complaint else OK
        return _Part(len(index), len(index), index, view, status, answer.decoder, answer.complaint)

    @staticmethod
    def failed(clip: Decoded, places: int) -> "_Part":
        return _Part(places, 0, np.empty(0), np.empty(0), FAILED, clip.answer.decoder, clip.answer.error)

    @staticmethod
    def missing() -> "_Part":
        return _Part(0, 0, np.empty(0), np.empty(0), FAILED, "", MISSING)
