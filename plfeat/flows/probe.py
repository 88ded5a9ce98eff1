"""A short look before the run: a few videos, spread over the list. What the run will cost, and how far the fast
preprocess is from open_clip's own."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from plfeat.backbone.vision import Batches, deviation
from plfeat.device import accelerator
from plfeat.errors import DataError
from plfeat.means import Means
from plfeat.progress import LOOKING, stage
from plfeat.flows.work import Work
from plfeat.records import Tick, silent
from plfeat.video.crew import Crew, Decoded

_FEW, _MORE = 8, 24  # videos looked at for the spec, and for an estimate


@dataclass(frozen=True)
class Estimate:
    """Rates a second, measured on a few videos: decoding on all workers, encoding on the device. `limit` is the slower
    one; on a CPU the two share the cores and their times add up."""

    videos: int
    missing: int
    frames: int
    bytes: int
    seconds: float
    decode_videos: float
    encode_frames: float
    limit: str
    looked_at: int
    unreadable: int


def measured(work: Work, means: Means) -> dict[str, Any]:
    """What the spec says besides what was decided: the cosine between features of the fast and of open_clip's own
    preprocess, over a few pictures of this very dataset; and on which GPU it was begun."""
    with work.kit.crew(replace(means, workers=1)) as crew:
        pictures = [_middle(clip) for clip in _look(work, crew, _FEW) if not clip.answer.error]
    encoder, card = work.kit.encoder, accelerator(work.kit.encoder.device)
    found = {"preprocess": deviation(encoder, work.kit.backbone.preprocess, pictures)}
    return found | ({"accelerator": card} if card else {})


def estimate(work: Work, means: Means, tick: Tick = silent) -> Estimate:
    """Decodes and encodes a few videos; writes nothing."""
    with stage(tick, LOOKING):
        return _estimate(work, means)


def _estimate(work: Work, means: Means) -> Estimate:
    with work.kit.crew(means) as crew:
        for _ in _look(work, crew, means.workers):
            pass  # the first videos pay for starting up
        crew.forget()
        frames, rows, unreadable, fitting = [], 0, 0, 0.0
        for clip in _look(work, crew, _MORE):
            if clip.answer.error:
                unreadable += 1
                continue
            started = time.perf_counter()
            work.kit.encoder.fit(clip.frames_UHWC)
            fitting += time.perf_counter() - started
            frames.append(len(clip.answer.picks[0]))
            rows += len(clip.frames_UHWC)
        decode_videos = crew.rate
    if not frames:
        raise DataError(f"{work.dataset.name}: none of the {unreadable} videos looked at can be decoded")
    per_frame, widths = _encoding(work)
    encode_frames = 1 / (per_frame + fitting / rows)
    total = round(sum(map(work.kit.maker().views_of, work.present)) * float(np.mean(frames)))
    decoding, encoding = len(work.present) / decode_videos, total / encode_frames
    shared = work.kit.encoder.device.type == "cpu"
    return Estimate(
        videos=len(work.dataset.videos),
        missing=len(work.absent),
        frames=total,
        bytes=total * sum(widths) * (4 if work.kit.config.dtype == "float32" else 2),
        seconds=decoding + encoding if shared else max(decoding, encoding),
        decode_videos=decode_videos,
        encode_frames=encode_frames,
        limit="decode" if decoding > encoding else "encode",
        looked_at=len(frames) + unreadable,
        unreadable=unreadable,
    )


def _look(work: Work, crew: Crew, count: int) -> Iterator[Decoded]:
    """Up to `count` of the videos that are there, evenly spread over the list."""
    present, maker = work.present, work.kit.maker()
    count = min(count, len(present))
    return crew.run(maker.job(present[(2 * i + 1) * len(present) // (2 * count)]) for i in range(count))


def _middle(clip: Decoded) -> Any:
    return np.array(clip.frames_UHWC[len(clip.frames_UHWC) // 2])


def _encoding(work: Work) -> tuple[float, list[int]]:
    """Seconds a frame, and how many numbers are kept of it."""
    batches = Batches(work.kit.encoder, work.kit.batch)
    count, seconds = batches.batch * work.kit.encoder.ahead, []
    for _ in range(2):  # the first one pays for starting up
        started = time.perf_counter()
        batches.add(work.kit.encoder.blank(count))
        outputs = batches.finish()
        seconds.append(time.perf_counter() - started)
    return min(seconds) / count, [math.prod(value.shape[1:]) for value in outputs.values()]
