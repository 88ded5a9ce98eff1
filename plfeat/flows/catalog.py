"""What there is: datasets, models, finished caches; and the toy dataset, which can be made."""

from pathlib import Path
from typing import Any

from plfeat.datasets import READERS
from plfeat.errors import CacheError, UsageError
from plfeat.records import Tick
from plfeat.shards.reader import Cache, find_caches, open_cache
from plfeat.toy import videos

_FACTS = ("path", "dataset", "model", "pretrained", "frames", "videos", "failed")


def datasets() -> list[str]:
    return sorted(READERS)


def models() -> list[dict[str, Any]]:
    import open_clip

    from plfeat.backbone.load import tags_of
    from plfeat.toy import clip

    clip.offer()
    return [{"model": name, "pretrained": tags_of(name)} for name in sorted(open_clip.list_models())]


def caches(root: Path) -> list[dict[str, Any]]:
    """What each is; a damaged one is listed as such."""
    return [_summary(path) for path in find_caches(root)]


def choose_cache(path: Path) -> Cache:
    """The cache at `path`, or the only one under it."""
    if (path / "spec.json").is_file() or (path / "manifest.json").is_file():
        return open_cache(path)
    found = list(find_caches(path))
    if not found:
        raise CacheError(
            f"no finished cache under {path}; make one with `plfeat extract --dataset NAME`, "
            "or name another with --cache"
        )
    if len(found) > 1:
        listed = "; ".join(f"{c['path']} ({c['dataset']}, {c['model']}, {c['frames']} frames)" for c in caches(path))
        raise UsageError(f"{len(found)} caches under {path}; choose one with --cache: {listed}")
    return open_cache(found[0])


def make_dataset(name: str, out: Path, count: int, seed: int, tick: Tick) -> bool:
    """Write a dataset that can be made. False if that very one is already there."""
    if name != "toy":
        READERS[name]  # an unknown name is told so first
        raise UsageError(f"dataset {name!r} cannot be made; only toy can")
    return videos.make(out, count, seed, tick)


def _summary(path: Path) -> dict[str, Any]:
    try:
        cache = open_cache(path)
    except CacheError:
        return dict.fromkeys(_FACTS, "damaged") | {"path": str(path)}
    model, manifest = cache.spec["model"], cache.manifest
    facts = (
        str(path),
        cache.spec["dataset"]["name"],
        model["model"],
        model["pretrained"],
        cache.spec["sampler"].get("frames", "dense"),
        manifest["videos"],
        manifest["failed"],
    )
    return dict(zip(_FACTS, facts, strict=True))
