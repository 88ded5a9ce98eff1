"""A list in, what has to be made for it out: takes of videos, in chunks that are the same whenever they are cut.

A chunk is decoded once and leaves one shard a take. Chunks are cut from everything that a list wants, and what is there
is taken out of them afterwards: so a run that was killed, and the parts of a run, have the same chunks.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from plfeat.config import SampleConfig
from plfeat.recipe import Output, Take
from plfeat.records import Listed, VideoList
from plfeat.shards.growth import Growth

Takes = tuple[Take, ...]
Wanted = dict[str, Takes]
"""For every video, by its key, the takes of it."""

FRAMES = {"cpu": 256, "cuda": 16_384}
"""Of a chunk. On a CPU they are a matter of seconds, which is what a kill costs."""
_FEWEST = 8  # videos of a chunk: with many views a shard would have next to none
_DENSE = 64  # frames that a video is taken to have when nobody has counted them


def takes_of(sample: SampleConfig, augment: str, also: Iterable[Output]) -> dict[str, Takes]:
    """Of the training videos, `train`, and of the `other`s. Both have the centre: any list can test on any video."""
    looks = {"train": [Take(frames=sample.frames)], "other": [Take(frames=sample.frames)]}
    for of, views, change in (("train", sample.views, augment), ("other", sample.test_views, "none")):
        if views > 1:
            looks[of] += [Take("random", sample.frames, sample.seed, view, change) for view in range(views)]
        if sample.every or sample.fps:
            looks[of].append(Take("dense", every=sample.every, fps=sample.fps, cap=sample.cap))
    outputs: tuple[Output, ...] = ("features", *also)
    return {of: tuple(replace(look, output=output) for look in looks[of] for output in outputs) for of in looks}


def takes_for(row: Listed, takes: Mapping[str, Takes]) -> Takes:
    """Those of a training video if any fold trains on it; those of the others if any fold tests on it."""
    trains, tests = "train" in row.split, bool({"val", "test"} & set(row.split))
    of_train, of_other = takes["train"] if trains else (), takes["other"] if tests or not trains else ()
    return tuple(dict.fromkeys((*of_train, *of_other)))


def wanted(videos: VideoList, takes: Mapping[str, Takes]) -> Wanted:
    """Of all videos that have a file, sorted by key. A video that stands in the list twice is one."""
    found: Wanted = {}
    by_split: dict[tuple[str, ...], Takes] = {}
    for row in videos.rows:
        if row.video:
            mine = by_split.setdefault(row.split, takes_for(row, takes))
            there = found.get(row.video)
            found[row.video] = mine if there in (None, mine) else tuple(dict.fromkeys((*found[row.video], *mine)))
    return dict(sorted(found.items()))


@dataclass(frozen=True)
class Chunk:
    """Videos that are decoded one after the other, and the takes that are made of each."""

    takes: Wanted

    @property
    def by_take(self) -> dict[Take, list[str]]:
        found: dict[Take, list[str]] = {}
        for key, takes in self.takes.items():
            for take in takes:
                found.setdefault(take, []).append(key)
        return found

    @property
    def frames(self) -> int:
        """About so many are looked at."""
        return sum(frames_of(takes) for takes in self.takes.values())


def looks_of(takes: Iterable[Take]) -> Takes:
    """What is decoded for them."""
    return tuple(dict.fromkeys(take.look for take in takes))


def frames_of(takes: Iterable[Take]) -> int:
    return sum(min(look.cap, _DENSE) if look.kind == "dense" else look.frames for look in looks_of(takes))


def cut(want: Wanted, videos: int | None, frames: int) -> list[Chunk]:
    """Chunks of so many `videos`; unless that is said, of about so many `frames`."""
    chunks: list[Chunk] = []
    mine: Wanted = {}
    cost: dict[Takes, int] = {}
    full = 0
    for key, takes in want.items():
        mine[key] = takes
        full += cost.setdefault(takes, frames_of(takes))
        if len(mine) == videos if videos else full >= frames and len(mine) >= _FEWEST:
            chunks.append(Chunk(mine))
            mine, full = {}, 0
    return [*chunks, Chunk(mine)] if mine else chunks


def lacking(growth: Growth | None, want: Wanted, retry: bool = False) -> Wanted:
    """What nobody has made yet; with `retry` what failed, too."""
    if growth is None:
        return dict(want)
    lacks: dict[Take, set[str]] = {}
    for take, keys in Chunk(want).by_take.items():
        lacks[take] = {*growth.lacks(keys, take), *(growth.failed(keys, take) if retry else ())}
    rest = {key: tuple(take for take in takes if key in lacks[take]) for key, takes in want.items()}
    return {key: takes for key, takes in rest.items() if takes}


def rest_of(chunks: Iterable[Chunk], lacks: Wanted) -> list[Chunk]:
    """The same chunks, with nothing in them but what is lacking."""
    found = (Chunk({key: lacks[key] for key in chunk.takes if key in lacks}) for chunk in chunks)
    return [chunk for chunk in found if chunk.takes]
