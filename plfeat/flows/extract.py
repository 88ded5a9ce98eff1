"""Videos in, a cache out: datasets → video → backbone → shards. The unit of work is a shard.

The list is read before torch is loaded, and so are all names looked at: a mistake costs a second.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from plfeat.config import ExtractConfig
from plfeat.files import write_json
from plfeat.flows.given import check_model, list_videos
from plfeat.means import Means
from plfeat.progress import LOOKING, Pace, Progress, load_torch, stage
from plfeat.records import Tick
from plfeat.shards.folder import Books, Tally, claim
from plfeat.shards.schema import FAILED, Shard

if TYPE_CHECKING:
    from plfeat.flows.work import Portion, Work


@dataclass(frozen=True)
class Extraction:
    """What an extraction left behind, and how fast it went: videos a second that the workers could decode, frames a
    second that the encoder could take, and which of the two was the limit."""

    path: Path
    tally: Tally
    shards: int  # of this run's part
    reused: int  # shards that were already there
    seconds: float
    decode_videos: float
    encode_frames: float
    limit: str


def extract(config: ExtractConfig, root: Path, cache_root: Path, tick: Tick, means: Means | None = None) -> Extraction:
    """Every video of a dataset, once. Running it again continues; a video that cannot be decoded never stops it."""
    started = time.perf_counter()
    check_model(config)
    listed = list_videos(config, root, tick)
    load_torch(tick)
    from plfeat.device import enough_memory
    from plfeat.flows.make import smaller
    from plfeat.flows.work import equip

    work = equip(config, listed, tick)
    with enough_memory(smaller(work.kit.batch)):
        return _extract(work, root, work.folder(cache_root), tick, means or Means(), started)


def _extract(work: "Work", root: Path, folder: Path, tick: Tick, means: Means, started: float) -> Extraction:
    from plfeat.flows.make import make_here, make_on_ray
    from plfeat.flows.probe import measured
    from plfeat.flows.texts import keep_texts
    from plfeat.flows.work import require_videos_for_views

    if not (folder / "spec.json").exists():
        require_videos_for_views(work)
        with stage(tick, LOOKING):
            work.spec["measured"] = measured(work, means)
    claim(folder, work.spec)
    if not (folder / "made.json").exists():
        settings = work.kit.config.model_dump(mode="json")
        for name in ("lists", "names", "weights"):  # wherever the next command is given
            settings[name] = settings[name] and str(Path(settings[name]).absolute())
        settings["device"] = settings["device"] and work.kit.encoder.device.type  # there may be fewer there
        write_json(folder / "made.json", {"root": str(root.absolute()), "config": settings})
    text = keep_texts(folder, work.kit, work.dataset.classes, means.templates, tick)
    number, count = means.part
    mine = work.portions[number - 1 :: count]
    books = Books(folder, work.spec, {video.id: str(video.path) for video in work.dataset.videos})
    todo = []
    for number, portion in enumerate(mine, 1):
        if not _usable(books.check(portion.name), portion, means.retry):
            todo.append(portion)
        tick("checking shards", number, len(mine))
    progress, pace = Progress(tick, sum(len(p.videos) for p in mine)), Pace(means.workers)
    progress.shard(progress.total - sum(len(p.videos) for p in todo), pace)
    make = {"local": make_here, "ray": make_on_ray}[means.engine]
    for made in make(work, todo, means, progress) if todo else ():
        books.write(made.name, made.image)
        pace = made.pace
    with stage(tick, "closing the books"):
        tally = books.finish(text)
    return Extraction(
        path=folder,
        tally=tally,
        shards=len(mine),
        reused=len(mine) - len(todo),
        seconds=time.perf_counter() - started,
        decode_videos=pace.decode_videos,
        encode_frames=pace.encode_frames,
        limit=pace.limit,
    )


def _usable(shard: Shard | None, portion: "Portion", retry: bool) -> bool:
    """It is there and holds just these videos. (With `retry`: and none of them failed.)"""
    if shard is None or (retry and (shard.status_N == FAILED).any()):
        return False
    return shard.id_N == tuple(v.id for v in portion.videos) and shard.label_N.tolist() == [
        v.label for v in portion.videos
    ]
