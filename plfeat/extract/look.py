"""A short look before the run: a few of the videos that are to be made, spread over them. What the run will cost, and
how far the fast preprocess is from open_clip's own."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from plfeat.backbone.vision import Batches, deviation
from plfeat.errors import DataError
from plfeat.extract.make import Files, jobs
from plfeat.extract.plan import Chunk, Wanted, looks_of
from plfeat.frames.kit import Kit
from plfeat.means import Means
from plfeat.video.crew import Crew, Decoded

_FEW, _MORE = 8, 24  # videos looked at for the preprocess, and for an estimate


@dataclass(frozen=True)
class Estimate:
    """What is lacking, and what it takes. Rates a second, measured on a few videos: decoding on all workers, encoding
    on the device. `limit` is the slower one; on a CPU the two share the cores and their times add up."""

    videos: int  # of the list
    missing: int
    lacking: int  # videos that have to be decoded
    frames: int
    bytes: int
    seconds: float
    decode_videos: float
    encode_frames: float
    limit: str
    looked_at: int
    unreadable: int


def preprocess_deviation(kit: Kit, want: Wanted, files: Files, means: Means) -> dict[str, Any]:
    """Cosines between features of the fast and of open_clip's own preprocess, over a few pictures of these videos."""
    here = {key: takes for key, takes in want.items() if key.partition("#")[0] in files}
    with kit.crew(replace(means, workers=1), 1) as crew:
        pictures = [_middle(clip) for clip in _look(crew, here, files, _FEW) if not clip.answer.error]
    return deviation(kit.encoder, kit.backbone.preprocess, pictures)


def estimate(kit: Kit, lacks: Wanted, files: Files, means: Means, videos: int, missing: int) -> Estimate:
    """Decodes and encodes a few videos; writes nothing."""
    if not lacks:
        return Estimate(videos, missing, 0, 0, 0, 0.0, 0.0, 0.0, "decode", 0, 0)
    with kit.crew(means, 1) as crew:
        for _ in _look(crew, lacks, files, means.workers):
            pass  # the first videos pay for starting up
        crew.forget()
        frames, rows, unreadable, fitting = [], 0, 0, 0.0
        for clip in _look(crew, lacks, files, _MORE):
            if clip.answer.error:
                unreadable += 1
                continue
            started = time.perf_counter()
            kit.encoder.fit(clip.frames_UHWC)
            fitting += time.perf_counter() - started
            frames.append(sum(map(len, clip.answer.picks)) / len(clip.answer.picks))
            rows += len(clip.frames_UHWC)
        decode_videos = crew.rate
    if not frames:
        raise DataError(f"none of the {unreadable} videos looked at can be decoded")
    per_frame, widths = _encoding(kit)
    encode_frames, each = 1 / (per_frame + fitting / rows), float(np.mean(frames))
    total = round(sum(len(looks_of(takes)) for takes in lacks.values()) * each)
    kept = sum(widths[take.output] for takes in lacks.values() for take in takes) * each
    decoding, encoding = len(lacks) / decode_videos, total / encode_frames
    return Estimate(
        videos=videos,
        missing=missing,
        lacking=len(lacks),
        frames=total,
        bytes=round(kept) * (4 if kit.config.dtype == "float32" else 2),
        seconds=decoding + encoding if kit.encoder.device.type == "cpu" else max(decoding, encoding),
        decode_videos=decode_videos,
        encode_frames=encode_frames,
        limit="decode" if decoding > encoding else "encode",
        looked_at=len(frames) + unreadable,
        unreadable=unreadable,
    )


def _look(crew: Crew, lacks: Wanted, files: Files, count: int) -> Iterator[Decoded]:
    """Up to `count` of the videos, evenly spread over them."""
    keys = list(lacks)
    count = min(count, len(keys))
    some = [keys[(2 * i + 1) * len(keys) // (2 * count)] for i in range(count)]
    return crew.run(jobs(Chunk({key: lacks[key] for key in some}), files))


def _middle(clip: Decoded) -> Any:
    return np.array(clip.frames_UHWC[len(clip.frames_UHWC) // 2])


def _encoding(kit: Kit) -> tuple[float, dict[str, int]]:
    """Seconds a frame, and how many numbers are kept of it."""
    batches = Batches(kit.encoder, kit.batch)
    count, seconds = batches.batch * kit.encoder.ahead, []
    for _ in range(2):  # the first one pays for starting up
        started = time.perf_counter()
        batches.add(kit.encoder.blank(count))
        outputs = batches.finish()
        seconds.append(time.perf_counter() - started)
    return min(seconds) / count, {name: math.prod(value.shape[1:]) for name, value in outputs.items()}
