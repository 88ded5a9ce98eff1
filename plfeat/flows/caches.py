"""What has been extracted: listing, describing and choosing caches."""

import json
from pathlib import Path
from typing import Any

from plfeat.errors import CacheError, UsageError
from plfeat.progress import stage
from plfeat.records import Tick
from plfeat.shards import upkeep
from plfeat.shards.folder import Tally
from plfeat.shards.reader import Cache, find_caches, open_cache

_FACTS = ("path", "dataset", "model", "pretrained", "frames", "videos", "failed")


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


def find_one(path: Path) -> Path:
    """The folder of the cache at `path`, or of the only one under it, sound or not."""
    return path if (path / "spec.json").is_file() else choose_cache(path).path


def merge(parts: list[Path], cache_root: Path, tick: Tick) -> tuple[Path, Tally]:
    with stage(tick, "merging"):
        return upkeep.merge(parts, cache_root)


def collect(cache_root: Path, days: float, really: bool) -> list[upkeep.Waste]:
    """What nobody will miss; gone afterwards, if `really`."""
    found = upkeep.waste(cache_root, days)
    if really:
        upkeep.throw_away(found)
    return found


def describe(cache: Cache) -> dict[str, Any]:
    """Everything that a cache says of itself."""
    made = cache.path / "made.json"
    files = [path for path in cache.path.rglob("*") if path.is_file()]
    return {
        "path": str(cache.path),
        "fingerprint": cache.fingerprint,
        "bytes": sum(path.stat().st_size for path in files),
        "splits": {
            split: {key: sum(e[key] for e in cache.manifest["shards"] if e["split"] == split) for key in _COUNTS}
            for split in cache.spec["dataset"]["splits"]
        },
        "text": cache.manifest["text"],
        "spec": cache.spec,
        "made": json.loads(made.read_text(encoding="utf-8")) if made.is_file() else None,
    }


_COUNTS = ("videos", "rows", "failed", "doubtful")


def in_words(about: dict[str, Any]) -> list[list[str]]:
    """The same as rows of two cells."""
    spec = about["spec"]
    model, measured = spec["model"], spec.get("measured", {}).get("preprocess", {})
    rows = [
        ["path", about["path"]],
        ["dataset", f"{spec['dataset']['name']}, {len(spec['dataset']['classes'])} classes"],
        *(
            [f"  {split}", f"{c['videos']} videos, {c['rows']} frames, {c['failed']} failed, {c['doubtful']} in doubt"]
            for split, c in about["splits"].items()
        ),
        ["model", f"{model['model']}, {model['pretrained']}, {model['activation']}"],
        ["weights", model["weights_sha256"]],
        ["preprocess", _facts(spec["preprocess"])],
        ["  against open_clip", _facts(measured)],
        ["sampler", _facts(spec["sampler"])],
        ["augment", json.dumps(spec["augment"])],
        ["decoder", _facts(spec["decoder"])],
        ["features", _facts(spec["features"])],
        ["text", _facts(about["text"])],
        ["disk", f"{about['bytes']:,} bytes"],
    ]
    if about["made"]:
        rows.append(["made from", about["made"]["root"]])
    return rows


def _facts(facts: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in facts.items())


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
