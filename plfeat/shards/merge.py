"""Several stores of one recipe in, one store out: a union by video and take.

Everything is looked at before anything is written: a part with a damaged file is refused, and so are two that hold
other features of one video.
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np

from plfeat.errors import CacheError, UsageError
from plfeat.files import publish
from plfeat.recipe import Recipe, Take
from plfeat.records import Listed, Tick, VideoList, silent
from plfeat.shards.catalogue import Seen, read_catalogue
from plfeat.shards.growth import Growth, require_same
from plfeat.shards.hdf5 import unpack
from plfeat.shards.room import LIST_FILE, NAME, TEXT_FILE, file_in, names_in, place
from plfeat.shards.schema import FAILED, take_of
from plfeat.shards.store import (
    LISTS,
    MANIFEST,
    SHARDS,
    TEXT,
    Opened,
    Store,
    belongs,
    open_list,
    open_store,
    read_recipe,
    reopen_shard,
)
from plfeat.shards.texts import Texts, read_texts
from plfeat.shards.upkeep import check_text, contradictions

Takes = dict[str, tuple[Take, ...]]


@dataclass(frozen=True)
class Part:
    """What a store has, finished or not. All of it was read."""

    store: Store
    shards: list[Opened]
    lists: list[VideoList]
    texts: list[str]
    seen: list[Seen]


@dataclass(frozen=True)
class Merged:
    store: Store
    shards: int  # that were copied
    said: list[str]  # what was decided on the way


def merge(parts: Sequence[Path], cache_root: Path, pool: str | None = None, tick: Tick = silent) -> Merged:
    """`cache_root/<pool>/<fingerprint>`: what all parts have, and what is there already."""
    recipe = read_recipe(parts[0])
    for part in parts[1:]:
        require_same(recipe, read_recipe(part), f"store {part}")
    folder = place(cache_root, _pool(parts, pool), recipe.fingerprint)
    paths = list({path.resolve(): path for path in (*([folder] if folder.exists() else []), *parts)}.values())
    found = [_read(path, recipe, tick) for path in paths]
    _require_no_contradiction(found)
    lists, said = _current(found)
    texts = _texts(found)
    old = {(videos.name, id(videos)): videos for part in found for videos in part.lists}.values()
    with Growth(folder, recipe, tick) as growth:
        copied = 0
        for opened in _wanted([opened for part in found for opened in part.shards]):
            if opened.path.parents[1].resolve() != folder.resolve():
                growth.copy(opened.path.parents[1], opened.path.name)
                copied += 1
        for videos in old:
            growth.keep_list(videos)
        for videos, takes in lists:
            growth.put_list(videos, takes)
        for path in texts:
            _copy(path, place(folder, TEXT, path.name))
        growth.makers += [maker for part in found for maker in part.store.manifest["makers"]]
        growth.note_files(seen for part in reversed(found) for seen in part.seen)
        return Merged(growth.finish(), copied, said)


def _pool(parts: Sequence[Path], wanted: str | None) -> str:
    names = {wanted} if wanted is not None else {part.resolve().parent.name for part in parts}
    if len(names) > 1:
        raise UsageError(
            f"the parts are of several pools, {', '.join(sorted(map(repr, names)))}; say which with --pool"
        )
    name = names.pop()
    if not NAME.fullmatch(name or ""):
        raise UsageError(f"{name!r:.90} cannot be the name of a pool; say another with --pool")
    return str(name)


def _read(path: Path, recipe: Recipe, tick: Tick) -> Part:
    if place(path, MANIFEST).exists():
        store = open_store(path)
    else:  # it was never finished
        store = Store(path, recipe, {"shards": [], "lists": {}, "texts": [], "makers": []})
    told = {entry["name"]: entry for entry in store.manifest["shards"]}
    names = sorted({*told, *(name for name in names_in(path, SHARDS) if take_of(name))})
    shards = []
    for number, name in enumerate(names):
        tick("reading parts", number, len(names))
        opened = reopen_shard(file_in(path, SHARDS, name))
        if name in told:
            store.told(opened, told[name])
        elif not belongs(opened, recipe):
            raise CacheError(
                f"{opened.path}: of another recipe, {opened.shard.recipe[:40]!r}, not {recipe.fingerprint}"
            )
        if opened.damaged(range(len(opened.shard.video_N))):
            raise CacheError(
                f"{opened.path}: features do not have their checksums; `plfeat cache verify --repair` first"
            )
        shards.append(opened)
    titles = {name.removesuffix(".csv") for name in names_in(path, LISTS) if LIST_FILE.fullmatch(name)}
    lists = [open_list(path, title) for title in sorted(titles | {about.title for about in store.lists.values()})]
    texts = sorted({*store.texts, *(name for name in names_in(path, TEXT) if TEXT_FILE.fullmatch(name))})
    for name in texts:
        check_text(store, name)
    return Part(store, shards, lists, texts, read_catalogue(path))


def _require_no_contradiction(parts: list[Part]) -> None:
    shards = sorted((o for part in parts for o in part.shards), key=lambda opened: opened.shard.take.name)
    for name, mine in groupby(shards, lambda opened: opened.shard.take.name):
        for one, other, key in contradictions(list(mine)):
            raise CacheError(
                f"{one.path} and {other.path} hold other features of video {key}, take {name}; "
                "`plfeat cache verify --live 16` says how far each is from a fresh one"
            )


def _wanted(shards: list[Opened]) -> Iterator[Opened]:
    """Those that add features, or a failure where nobody has features: the ones with the fewest failures first."""
    have: dict[str, dict[str, bool]] = {}
    for opened in sorted(shards, key=lambda opened: opened.shard.counts["failed"]):
        shard, mine = opened.shard, have.setdefault(opened.shard.take.name, {})
        good_N = (shard.status_N != FAILED).tolist()
        if any(
            not mine.get(key, False) if good else key not in mine
            for key, good in zip(shard.video_N, good_N, strict=True)
        ):
            mine.update((key, good or mine.get(key, False)) for key, good in zip(shard.video_N, good_N, strict=True))
            yield opened


def _current(parts: list[Part]) -> tuple[list[tuple[VideoList, Takes]], list[str]]:
    """The newest version of each list, with the takes that any part has of it; and which one that was, where parts
    have several."""
    newest: dict[str, tuple[VideoList, Takes, str]] = {}
    said = []
    for part in parts:
        for name, about in part.store.lists.items():
            videos = part.store.read_list(name)
            before = newest.setdefault(name, (videos, about.takes, about.title))
            takes = {of: tuple(dict.fromkeys([*before[1][of], *about.takes[of]])) for of in about.takes}
            if before[2] == about.title or succeeds(before[0], videos):
                chosen = before
            elif succeeds(videos, before[0]):
                chosen = videos, takes, about.title
            else:
                raise CacheError(
                    f"list {name}: {before[2]} and {about.title}, of store {part.store.path}, contradict each other; "
                    "give one of them another name with `plfeat extract --name`"
                )
            if before[2] != about.title:
                said.append(f"list {name}: {chosen[2]} goes on from the other version, and is the current one")
            newest[name] = chosen[0], takes, chosen[2]
    return [(videos, takes) for videos, takes, _ in newest.values()], said


def succeeds(newer: VideoList, older: VideoList) -> bool:
    """It has every row of the older one, as it was there; only a file that was missing may have been found."""
    if newer.folds != older.folds:
        return False
    rows = {row.name: row for row in newer.rows}
    return all(_same(rows.get(row.name), row, newer.classes, older.classes) for row in older.rows)


def _same(new: Listed | None, old: Listed, classes: Sequence[str], before: Sequence[str]) -> bool:
    if new is None or (classes[new.label] if new.label >= 0 else None) != (
        before[old.label] if old.label >= 0 else None
    ):
        return False
    return replace(new, label=0, path=None, video="") == replace(old, label=0, path=None, video="") and (
        new.video == old.video or not old.video
    )


def _texts(parts: list[Part]) -> list[Path]:
    """Each file once. Two machines may round differently; what is not nearly the same is refused."""
    found: dict[str, Path] = {}
    for part in parts:
        for name in part.texts:
            path = place(part.store.path, TEXT, name)
            first = found.setdefault(name, path)
            if path.read_bytes() != first.read_bytes() and not (
                name.endswith(".h5") and _near(*map(read_texts, (first, path)))
            ):
                raise CacheError(f"{first} and {path} should be the same and are not; remove the wrong one")
    return list(found.values())


def _near(one: Texts, other: Texts) -> bool:
    if not np.array_equal(one.token_S, other.token_S) or not np.array_equal(one.text_ptr, other.text_ptr):
        return False
    pairs = ((one.sentence_ND, other.sentence_ND), (one.word_SW, other.word_SW), (one.embedding_SW, other.embedding_SW))
    return all(a.shape == b.shape and np.allclose(unpack(a), unpack(b), rtol=0.02, atol=0.02) for a, b in pairs)


def _copy(source: Path, goal: Path) -> None:
    if not goal.exists():
        with publish(goal) as part:
            shutil.copyfile(source, part, follow_symlinks=False)
