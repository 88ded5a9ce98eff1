"""Where features of a list's videos belong: the folder of a pool and a recipe. Looks, and writes nothing."""

from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

from plfeat.errors import UsageError
from plfeat.recipe import Recipe
from plfeat.records import VideoList
from plfeat.shards.catalogue import Seen
from plfeat.shards.room import NAME
from plfeat.shards.store import RECIPE

_SHARE = 0.1
"""Of the list's videos, or of the pool's, whichever are fewer: with less in common the two have little to do with each
other. (Many data sets have an empty file, and all empty files are one video.)"""


def is_store(path: Path) -> bool:
    return (path / RECIPE).is_file() or (path / "spec.json").is_file()


def pool_of(videos: VideoList, asked: str | None, known: Mapping[Path, Collection[Seen]]) -> str:
    """The pool that was asked for; else the one that knows most of these videos; else one called like the list."""
    if asked is not None:
        if not NAME.fullmatch(asked):
            raise UsageError(f"--pool {asked[:80]}: expected a name of letters, digits, dots and hyphens, no path")
        return asked
    mine = {row.video.partition("#")[0] for row in videos.rows if row.video}
    pools: dict[str, set[str]] = {}
    for store, seen in known.items():
        pools.setdefault(store.absolute().parent.name, set()).update(each.video for each in seen)
    common = Counter({pool: len(mine & theirs) for pool, theirs in sorted(pools.items())})
    for pool, count in common.most_common():
        if count and count >= _SHARE * min(len(mine), len(pools[pool])):
            return pool
    return videos.name


def folder_of(cache_root: Path, pool: str, recipe: Recipe) -> Path:
    """If a store itself is named, that one is grown, or refused because it is another's."""
    return cache_root if is_store(cache_root) else cache_root / pool / recipe.fingerprint


def seen_under(root: Path, pool: str | None, known: Mapping[Path, Collection[Seen]]) -> set[str]:
    """What lay under a root when a store looked there, or, of a pool that was asked for, under any root."""
    base = str(root.absolute())
    theirs = [seen for store, seen in known.items() if pool in (None, store.absolute().parent.name)]
    found = {each.path for seen in theirs for each in seen if each.root == base}
    return found or ({each.path for seen in theirs for each in seen if each.root} if pool is not None else set())
