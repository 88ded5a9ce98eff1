"""What has been extracted: listing and describing stores, merging them, throwing away what nobody misses."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from plfeat.errors import CacheError, PlfeatError
from plfeat.files import sha256_of_json
from plfeat.model.templates import TEMPLATES
from plfeat.recipe import Take
from plfeat.shards.room import files_in, place
from plfeat.shards.store import MANIFEST, TEXT, Store, find_stores, open_store
from plfeat.shards.texts import read_texts

_COUNTS = ("videos", "rows", "failed", "doubtful")
_TOLD = ("encoder", "features", "takes", "lists", "videos", "failed", "size", "date")
_FACTS = ("path", "pool", "recipe", *_TOLD)
LS = ("path", "encoder", "takes", "lists", "videos", "failed", "size", "date")
"""What a line of a table shows. The path says pool and recipe."""


def stores(root: Path) -> list[dict[str, Any]]:
    """What each is; a damaged one is listed as such."""
    return [_summary(path) for path in find_stores(root)]


def apart(paths: Sequence[Path]) -> dict[Path, str]:
    """For each store the facts in which they differ, in words."""
    said = {path: _summary(path) for path in paths}
    facts = [key for key in _TOLD if len({str(one[key]) for one in said.values()}) > 1]
    return {path: ", ".join(f"{key} {one[key]}" for key in facts) or "no difference" for path, one in said.items()}


def _summary(path: Path) -> dict[str, Any]:
    try:
        store = open_store(path)
    except PlfeatError as error:
        return dict.fromkeys(_FACTS, "") | {"path": str(path), "encoder": "damaged", "why": str(error)}
    counts, recipe = _counts(store), store.recipe
    facts = (
        str(path),
        store.pool,
        store.fingerprint,
        f"{recipe.encoder['model']}, {recipe.source.get('pretrained', '?')}",
        f"{recipe.decoder}, {recipe.compute}, {recipe.dtype}",
        _takes_in_short(store.takes),
        ", ".join(sorted(file.title for file in store.lists.values())) or "none",
        max((one["videos"] for one in counts.values()), default=0),
        max((one["failed"] for one in counts.values()), default=0),
        _size(path),
        _date(path),
    )
    return dict(zip(_FACTS, facts, strict=True)) | {"why": ""}


def _takes_in_short(takes: Sequence[Take]) -> str:
    """Views that differ in nothing but their number are one entry."""
    ways = Counter(replace(take, view=0).name.replace("-view0", "") for take in takes)
    return ", ".join(way if number == 1 else f"{number} × {way}" for way, number in sorted(ways.items())) or "none"


def _counts(store: Store) -> dict[str, dict[str, int]]:
    """By take. What the manifest says: no shard is opened."""
    found: dict[str, Counter[str]] = {}
    for entry in store.manifest["shards"]:
        found.setdefault(entry["take"], Counter()).update({key: entry[key] for key in _COUNTS})
    return {take: {key: counts[key] for key in _COUNTS} for take, counts in sorted(found.items())}


def _size(path: Path) -> int:
    return sum(file.lstat().st_size for file in path.rglob("*") if file.is_file() and not file.is_symlink())


def _date(path: Path) -> str:
    return datetime.fromtimestamp((path / MANIFEST).stat().st_mtime).strftime("%Y-%m-%d %H:%M")


def describe(store: Store) -> dict[str, Any]:
    """Everything that a store says of itself."""
    return {
        "path": str(store.path),
        "pool": store.pool,
        "fingerprint": store.fingerprint,
        "bytes": _size(store.path),
        "date": _date(store.path),
        "recipe": store.recipe.as_dict(),
        "takes": _counts(store),
        "lists": {name: _about_list(store, name) for name in sorted(store.lists)},
        "texts": [_about_text(store, name) for name in files_in(store.path, TEXT)],
        "makers": store.manifest["makers"],
    }


def _about_list(store: Store, name: str) -> dict[str, Any]:
    file = store.lists[name]
    takes = {of: [take.name for take in takes] for of, takes in file.takes.items()}
    try:
        videos = store.read_list(name)
    except PlfeatError as error:
        return {"title": file.title, "takes": takes, "damaged": str(error)}
    counts = [
        {split: len(videos.of(split, fold)) for split in videos.splits(fold)} for fold in range(1, videos.folds + 1)
    ]
    return {
        "title": file.title,
        "classes": len(videos.classes),
        "videos": len(videos.rows),
        "missing": sum(not row.video for row in videos.rows),
        "unlabelled": sum(row.label < 0 for row in videos.rows),
        "folds": counts,
        "takes": takes,
    }


def _about_text(store: Store, name: str) -> dict[str, Any]:
    path = place(store.path, TEXT, name)
    about: dict[str, Any] = {"name": name, "bytes": path.stat().st_size}
    if path.suffix != ".h5":
        return about
    try:
        texts = read_texts(path)
    except CacheError as error:
        return about | {"damaged": str(error)}
    own = texts.templates == TEMPLATES
    return about | {
        "classes": len(texts.classes),
        "templates": len(texts.templates),
        "of": "the usual templates" if own else f"templates @{sha256_of_json(texts.templates)[:6]}",
    }


def in_words(about: dict[str, Any]) -> list[list[str]]:
    """The same as rows of two cells."""
    recipe = about["recipe"]
    rows = [
        ["path", about["path"]],
        ["pool", about["pool"]],
        ["recipe", about["fingerprint"]],
        ["  encoder", _facts(recipe["encoder"])],
        ["  source", _facts(recipe["source"])],
        ["  preprocess", _facts(recipe["preprocess"])],
        ["  decoder", recipe["decoder"]],
        ["  features", f"{recipe['dtype']}, computed in {recipe['compute']}"],
        *(["take", f"{name}: {_rare(counts)}"] for name, counts in about["takes"].items()),
    ]
    for said in about["lists"].values():
        rows += [["list", said.get("damaged") or f"{said['title']}: {said['classes']} classes, {_rare(_of(said))}"]]
        for fold, counts in enumerate(said.get("folds", ()), 1):
            name = f"  fold {fold}" if len(said["folds"]) > 1 else "  splits"
            rows.append([name, ", ".join(f"{number} {split}" for split, number in counts.items()) or "none"])
    for text in about["texts"]:
        what = f", {text['classes']} classes in {text['templates']} templates ({text['of']})" if "of" in text else ""
        rows.append(["text", text.get("damaged") or f"{text['name']}{what}, {text['bytes']:,} bytes"])
    rows += [["maker", _facts(maker)] for maker in about["makers"]]
    return [*rows, ["disk", f"{about['bytes']:,} bytes, {about['date']}"]]


def _of(said: dict[str, Any]) -> dict[str, int]:
    return {key: said[key] for key in ("videos", "missing", "unlabelled")}


def _rare(counts: dict[str, int]) -> str:
    """`48 videos, 384 rows`; of what is rare, only what there is."""
    return ", ".join(f"{number} {key}" for key, number in counts.items() if number or key in ("videos", "rows"))


def _facts(facts: dict[str, Any]) -> str:
    told = {key: fact if isinstance(fact, str | int | float) else json.dumps(fact) for key, fact in facts.items()}
    return ", ".join(f"{key} {fact}" for key, fact in told.items())
