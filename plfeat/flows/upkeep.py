"""Keeping stores: looking for damage, merging parts, throwing away what nobody needs."""

from collections.abc import Sequence
from pathlib import Path

from plfeat.records import Tick
from plfeat.shards.merge import Merged
from plfeat.shards.merge import merge as merge_stores
from plfeat.shards.upkeep import lacking
from plfeat.shards.waste import Waste, throw_away, waste


def merge(parts: Sequence[Path], cache_root: Path, pool: str | None, tick: Tick) -> tuple[Merged, list[str]]:
    """What came of it, and which videos no part has."""
    merged = merge_stores(parts, cache_root, pool, tick)
    return merged, list(lacking(merged.store))


def collect(cache_root: Path, days: float, really: bool) -> list[Waste]:
    """What nobody will miss; gone afterwards, if `really`."""
    found = waste(cache_root, days)
    return throw_away(found, days) if really else found
