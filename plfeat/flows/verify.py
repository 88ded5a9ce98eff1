"""Is a cache still what it was, and would it be made like that today?"""

import json
from collections import ChainMap
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from plfeat.config import ExtractConfig
from plfeat.errors import CacheError, DataError, first_line
from plfeat.flows.extract import extract
from plfeat.flows.given import check_model, list_videos
from plfeat.means import Means
from plfeat.progress import load_torch
from plfeat.records import Tick, silent
from plfeat.settings import build
from plfeat.shards.folder import require_same, stored_spec
from plfeat.shards.hdf5 import unpack
from plfeat.shards.reader import open_cache
from plfeat.shards.schema import FAILED
from plfeat.shards.upkeep import problems


@dataclass(frozen=True)
class Live:
    """Videos decoded and encoded again, against what is stored: the worst cosine of a frame, and the largest difference
    of a number in units of the features' standard deviation."""

    videos: int
    frames: int
    failed: int
    worst_cosine: float
    worst_difference: float
    worst_video: str


@dataclass(frozen=True)
class Verdict:
    path: Path
    problems: list[str]
    repaired: bool
    live: Live | None


def verify(
    folder: Path, live: int, repair: bool, root: Path | None, weights: Path | None, tick: Tick, means: Means
) -> Verdict:
    try:
        found = list(problems(folder, tick))
    except CacheError as error:
        if not repair:
            raise
        found = [str(error)]
    repaired = bool(found and repair)
    if repaired:
        config, place = how_made(folder, root, weights)
        extract(config, place, folder, tick, means)
        left = list(problems(folder, tick))
        if left:
            raise CacheError(f"cache {folder}: could not be repaired: {left[0]}")
    checked = again(folder, live, root, weights, means, tick) if live and (repaired or not found) else None
    return Verdict(folder, found, repaired, checked)


def how_made(folder: Path, root: Path | None, weights: Path | None) -> tuple[ExtractConfig, Path]:
    """The configuration that made a cache, and where the videos lie."""
    try:
        made = json.loads((folder / "made.json").read_text(encoding="utf-8"))
        changes = {} if weights is None else {"weights": weights, "pretrained": None}
        config = build(ExtractConfig, settings={**made["config"], **changes})
        return config, root or Path(made["root"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CacheError(f"cache {folder}: made.json is missing or damaged ({first_line(error)})") from error


def again(folder: Path, count: int, root: Path | None, weights: Path | None, means: Means, tick: Tick = silent) -> Live:
    """Makes the features of `count` videos, spread over the cache, once more."""
    config, place = how_made(folder, root, weights)
    check_model(config)
    listed = list_videos(config, place, tick)
    load_torch(tick)
    from plfeat.flows.work import equip

    work = equip(config, listed, tick)
    require_same(work.spec, stored_spec(folder), f"cache {folder}")
    cache = open_cache(folder)
    stored = ChainMap(*(dict(cache.videos(split)) for split in cache.spec["dataset"]["splits"]))
    good = [video for video in work.dataset.videos if video.id in stored and video.id not in work.absent]
    if not good:
        raise DataError(f"cache {folder}: none of its videos is under {place}; name their folder with --root")
    chosen = [good[i] for i in np.unique(np.linspace(0, len(good) - 1, min(count, len(good)), dtype=int))]
    worst, difference, at, frames, failed = 1.0, 0.0, "", 0, 0
    with work.kit.crew(replace(means, workers=min(means.workers, len(chosen)))) as crew:
        maker = work.kit.maker()
        clips = crew.run(maker.job(video) for video in chosen)
        for number, video in enumerate(chosen):
            tick("making again", number, len(chosen))
            rows_KD = stored[video.id]
            shard = maker.make([video], clips, frozenset(), lambda done: None)
            if shard.status_N[0] == FAILED or len(shard.features_RD) != len(rows_KD):
                failed += 1
                at = at or video.id
                continue
            old, new = (unpack(rows).astype(np.float64) for rows in (rows_KD, shard.features_RD))
            cosine = float(((old * new).sum(1) / np.linalg.norm(old, axis=1) / np.linalg.norm(new, axis=1)).min())
            frames += len(old)
            difference = max(difference, float(np.abs(old - new).max() / max(old.std(), 1e-12)))
            if cosine < worst:
                worst, at = cosine, video.id
    tick("making again", len(chosen), len(chosen))
    return Live(len(chosen), frames, failed, worst, difference, at)
