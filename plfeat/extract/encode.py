"""Decoded clips in, the shards of a chunk out, one a take: fitted, augmented, encoded in fixed batches, packed.

Batches run across videos and never beyond the chunk. A video that fails is blank in its batch, so that every other
video keeps its place there. (Dense sampling cannot know how long a failed video would have been; there it takes none.)
"""

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from plfeat.backbone.vision import Batches
from plfeat.errors import PlfeatError
from plfeat.extract.plan import Chunk
from plfeat.frames.kit import Kit
from plfeat.recipe import Take
from plfeat.shards.hdf5 import pack, unpack
from plfeat.shards.schema import DOUBTFUL, FAILED, OK, Shard
from plfeat.video.crew import Decoded


@dataclass(frozen=True)
class _Part:
    """What a look at a video has in the batches, from `first` on, and which frames those are."""

    first: int
    frame_index: NDArray[np.int64]
    status: int
    decoder: str
    error: str


@dataclass
class ShardMaker:
    """`seconds` and `frames` count what was encoded so far."""

    kit: Kit
    seconds: float = field(default=0.0, init=False)
    frames: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._batches = Batches(self.kit.encoder, self.kit.batch)
        self._maker = self.kit.maker
        self._parts: dict[tuple[str, Take], _Part] = {}
        self._filled = 0

    def add(self, clip: Decoded) -> None:
        started = time.perf_counter()
        answer, job = clip.answer, clip.job
        looks = [] if answer.error else self.kit.fit(clip)
        for number, look in enumerate(job.looks):
            if answer.error:
                frames = self.kit.encoder.blank(0 if look.kind == "dense" else look.frames)
                status, index = FAILED, np.empty(0, np.int64)
            else:
                frames, index = looks[number], answer.frame_index[number]
                status = DOUBTFUL if answer.complaint else OK
            self._batches.add(frames)
            error = answer.error or answer.complaint
            self._parts[job.key, look] = _Part(self._filled, index, status, answer.decoder, error)
            self._filled += len(frames)
            self.frames += len(frames)
        self.seconds += time.perf_counter() - started

    def finish(self, chunk: Chunk) -> list[Shard]:
        """One for each take of the chunk, of which every video was added; afterwards the next one can begin."""
        started = time.perf_counter()
        outputs = self._batches.finish()
        self.seconds += time.perf_counter() - started
        shards = [self._shard(take, keys, outputs) for take, keys in chunk.by_take.items()]
        self._parts, self._filled = {}, 0
        return shards

    def _shard(self, take: Take, keys: list[str], outputs: dict[str, torch.Tensor]) -> Shard:
        parts = [self._parts[key, take.look] for key in keys]
        at_R = [np.arange(part.first, part.first + len(part.frame_index)) for part in parts]
        features_RX = pack(_rows(outputs[take.output], np.concatenate(at_R)), self.kit.config.dtype)
        _require_finite(features_RX, take, keys, [len(at) for at in at_R])
        return Shard(
            features_RX=features_RX,
            frame_index_R=np.concatenate([part.frame_index for part in parts]).astype(np.int32),
            video_ptr=np.cumsum([0, *map(len, at_R)], dtype=np.int64),
            status_N=np.array([part.status for part in parts], np.uint8),
            video_N=tuple(keys),
            decoder_N=tuple(part.decoder for part in parts),
            error_N=tuple(part.error for part in parts),
            take=take,
            recipe=self.kit.recipe.fingerprint,
            maker=self._maker,
        )


def _rows(value: torch.Tensor, at_R: NDArray[np.int64]) -> Any:
    """All rows are no copy: every patch of a chunk is much to have twice."""
    rows = value.numpy()
    return rows if len(at_R) == len(rows) and (np.diff(at_R) == 1).all() else rows[at_R]


def _require_finite(features_RX: NDArray[Any], take: Take, keys: list[str], lengths: list[int]) -> None:
    finite_R = np.isfinite(unpack(features_RX)).all(axis=tuple(range(1, features_RX.ndim)))
    if not finite_R.all():
        first = keys[int(np.repeat(np.arange(len(keys)), lengths)[~finite_R][0])]
        raise PlfeatError(
            f"{take.output} of video {first} overflow; set dtype=float32, and on a GPU compute=bfloat16 or float32"
        )
