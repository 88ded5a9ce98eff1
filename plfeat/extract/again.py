"""Stored features made once more, and compared with what is stored: would they be made like that today?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plfeat.errors import CacheError
from plfeat.extract.encode import ShardMaker
from plfeat.extract.make import Files, jobs
from plfeat.extract.plan import Chunk
from plfeat.frames.kit import Kit
from plfeat.means import Means
from plfeat.recipe import Take
from plfeat.records import Tick
from plfeat.shards.growth import Growth
from plfeat.shards.hdf5 import unpack
from plfeat.shards.schema import FAILED
from plfeat.shards.store import Index

ALIKE = 0.999
"""Cosine that a feature made again must reach: another batch or machine changes the last bits, not more."""

SAMPLE = 16
"""Videos that another maker makes again before it grows a store."""

Stored = tuple[str, Take]


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

    @property
    def equal(self) -> bool:
        return not self.failed and self.worst_difference == 0

    @property
    def alike(self) -> bool:
        return not self.failed and self.worst_cosine >= ALIKE


def spread(among: Sequence[Any], count: int) -> list[Any]:
    """So many of them, evenly spread."""
    if not among:
        return []
    return [among[i] for i in np.unique(np.linspace(0, len(among) - 1, min(count, len(among)), dtype=int))]


def made_again(
    kit: Kit, chosen: Sequence[Stored], index: Callable[[Take], Index], files: Files, means: Means, tick: Tick
) -> Live:
    """Each take of each video by itself: bits do not depend on what else is made."""
    chunks = [Chunk({key: (take,)}) for key, take in chosen]
    worst, difference, at, frames, failed = 1.0, 0.0, "", 0, 0
    maker = ShardMaker(kit)
    with kit.crew(replace(means, workers=max(1, min(means.workers, len(chunks)))), 1) as crew:
        clips = crew.run(job for chunk in chunks for job in jobs(chunk, files))
        for number, (chunk, (key, take)) in enumerate(zip(chunks, chosen, strict=True)):
            tick("making again", number, len(chunks))
            maker.add(next(clips))
            (fresh,) = maker.finish(chunk)
            old, new = _stored(index(take), key), unpack(fresh.features_RX)
            if fresh.status_N[0] == FAILED or new.shape != old.shape:
                failed += 1
                at = at or key
                continue
            old, new = (rows.reshape(-1, rows.shape[-1]).astype(np.float64) for rows in (old, new))
            frames += len(fresh.frame_index_R)
            far = float(np.abs(old - new).max(initial=0.0) / max(old.std(), 1e-12))
            cosine = float(_cosines(old, new).min(initial=1.0)) if far else 1.0
            if cosine < worst or (far and not at):
                at = key
            worst, difference = min(worst, cosine), max(difference, far)
    tick("making again", len(chunks), len(chunks))
    return Live(len(chunks), frames, failed, worst, difference, at)


def require_alike(
    growth: Growth, kit: Kit, files: Files, means: Means, tick: Tick, tell: Callable[[str], None]
) -> None:
    """A store that others made grows only by what they would have made: some of its videos are made again, and what
    came of it is noted beside the maker, unless it is the same bits."""
    makers = growth.known_makers
    if not makers or kit.maker in makers:
        return
    others = f"store {growth.folder}: made by others ({_difference(makers[0], kit.maker)})"
    centre = next((take for take in growth.takes if take.kind == "centre" and take.output == "features"), None)
    index = growth.index(centre) if centre else None
    there = [key for key in sorted(index.where) if key.partition("#")[0] in files] if index else []
    good = [key for key in there if index and _status(index, key) != FAILED]
    if centre is None or not good:
        growth.makers.append({**kit.maker, "compared": {"unchecked": "no file of a stored video was there"}})
        tell(f"{others}; none of its videos is here to compare with")
        return
    found = made_again(kit, [(key, centre) for key in spread(good, SAMPLE)], growth.index, files, means, tick)
    if found.equal:
        growth.makers.append(kit.maker)
        return
    if not found.alike:
        raise CacheError(
            f"store {growth.folder}: made again here, the features of video {found.worst_video} are others (worst "
            f"cosine {found.worst_cosine:.5f}, {found.failed} of {found.videos} failed); it was made with "
            f"{_spelled(makers[0])}, here are {_spelled(kit.maker)}; extract into another --cache"
        )
    compared = {"videos": found.videos, "worst_cosine": found.worst_cosine, "worst_difference": found.worst_difference}
    growth.makers.append({**kit.maker, "compared": compared | {"worst_video": found.worst_video}})
    tell(
        f"{others}; {found.videos} of its videos made again are within tolerance (worst cosine "
        f"{found.worst_cosine:.7f}), which its manifest notes"
    )


def _stored(index: Index, key: str) -> NDArray[Any]:
    at = index.shard(key)
    assert at is not None
    opened, number = at
    if opened.damaged([number]):
        raise CacheError(f"{opened.path}: the features of {key} do not have the checksum stored with them")
    start, end = opened.shard.video_ptr[number : number + 2].tolist()
    return unpack(opened.stored[start:end])


def _status(index: Index, key: str) -> int:
    return int(index.status([key])[0])


def _cosines(old_RD: NDArray[np.float64], new_RD: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths_R = np.linalg.norm(old_RD, axis=1) * np.linalg.norm(new_RD, axis=1)
    cosines: NDArray[np.float64] = (old_RD * new_RD).sum(1) / np.maximum(lengths_R, 1e-300)
    return cosines


def _flat(maker: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in maker.items() if key != "versions"} | dict(maker.get("versions") or {})


def _difference(one: dict[str, Any], other: dict[str, Any]) -> str:
    """`torch 2.6 there, 2.7 here`"""
    there, here = _flat(one), _flat(other)
    return ", ".join(
        f"{key} {there.get(key)} there, {here.get(key)} here"
        for key in sorted(there.keys() | here.keys())
        if there.get(key) != here.get(key)
    )


def _spelled(maker: dict[str, Any]) -> str:
    return " ".join(f"{key} {value}" for key, value in _flat(maker).items() if value not in (None, False))
