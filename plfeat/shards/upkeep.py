"""What is wrong with a store: every file, count, key, order and hash. And taking away what is damaged, so that an
extraction makes it again."""

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from plfeat.errors import CacheError, first_line
from plfeat.records import Tick, silent
from plfeat.shards.catalogue import read_catalogue
from plfeat.shards.room import LIST_FILE, TEXT_FILE, Unreadable, file_in, names_in, opened_file, place
from plfeat.shards.schema import FAILED, take_of
from plfeat.shards.store import (
    CATALOGUE,
    LEDGER,
    LISTS,
    MANIFEST,
    RECIPE,
    SHARDS,
    TEXT,
    Opened,
    Store,
    belongs,
    open_list,
    open_store,
    read_manifest,
    read_recipe,
    reopen_shard,
    require_one_shape,
)
from plfeat.shards.texts import read_texts

Fault = tuple[Path | None, str]
"""What is wrong, and the file that an extraction makes again once it is gone; None: there is no such file."""


def problems(store: Path, tick: Tick = silent) -> Iterator[str]:
    """Everything that is wrong with a store, a line each. Every file is read whole, as if nobody had read it before."""
    for _, said in _faults(store, tick):
        yield said


def remove_damaged(store: Path, tick: Tick = silent) -> list[Path]:
    """Takes away the damaged files of a store. Only ordinary ones in it: no link, no folder, nothing unknown."""
    gone = []
    for path, _ in list(_faults(store, tick)):
        if path and path not in gone and stat.S_ISREG(place(path.parent, path.name).lstat().st_mode):
            path.unlink()
            gone.append(path)
    return gone


def unfinished(store: Path) -> Iterator[str]:
    """What a run made that never finished: whole shards that the manifest does not tell of. Nobody reads them, and they
    do no harm; the same command takes them in."""
    found = open_store(store)
    told = {entry["name"] for entry in found.manifest["shards"]}
    if rest := [name for name in _names(store, SHARDS) if name not in told]:
        what = "one shard" if len(rest) == 1 else f"{len(rest)} shards"
        yield f"{what} of a run that did not finish; run the same `plfeat extract` again"


def lacking(store: Store) -> Iterator[str]:
    """What was promised of each list and nobody has tried yet. Videos that some fold trains on have the takes of
    `train`, the others those of `other`."""
    for name, about in sorted(store.lists.items()):
        rows = [row for row in store.read_list(name).rows if row.video and any(row.split)]
        for of, takes in about.takes.items():
            videos = list(dict.fromkeys(row.video for row in rows if ("train" in row.split) == (of == "train")))
            for take in takes:
                if lack := store.lacks(videos, take):
                    yield f"list {about.title}: {len(lack)} of {len(videos)} videos have no take {take.name} yet"


def _faults(path: Path, tick: Tick) -> Iterator[Fault]:
    try:
        recipe = read_recipe(path)
    except CacheError as error:
        yield None, str(error)
        return
    store, told = Store(path, recipe, {"shards": [], "lists": {}, "texts": [], "makers": []}), True
    try:
        store = Store(path, recipe, read_manifest(path, recipe))
    except CacheError as error:
        told = False
        yield None, str(error)
    yield from _strays(path)
    sound = True
    for check in (_shard_faults(store, tick), _list_faults(store, told), _text_faults(store), _book_faults(path)):
        for fault in check:
            sound = False
            yield fault
    if sound:
        yield from ((None, said) for said in lacking(store))


def _strays(store: Path) -> Iterator[Fault]:
    known = {RECIPE, MANIFEST, LEDGER, CATALOGUE, LISTS, SHARDS, TEXT, "lock"}
    for name in _names(store):
        if name not in known:
            yield None, f"{store / name}: not part of a store"
        elif (store / name).is_symlink():
            yield None, f"{store / name}: a link; a store holds its own files, so copy what it leads to"


def _names(store: Path, *folder: str) -> list[str]:
    """Whatever lies there, but what is being written or a killed process has left behind."""
    try:
        return [name for name in names_in(store, *folder) if not name.endswith(".part")]
    except CacheError:
        return []  # a link, or no folder: said where it is looked for


def _shard_faults(store: Store, tick: Tick) -> Iterator[Fault]:
    told = {entry["name"]: entry for entry in store.manifest["shards"]}
    there = _names(store.path, SHARDS)
    takes: dict[str, list[Opened]] = {}
    names = sorted({*told, *there})
    for number, name in enumerate(names):
        tick("verifying shards", number, len(names))
        path = store.path / SHARDS / name
        try:
            if take_of(name) is None:
                yield None, f"{path}: not the name of a shard"
                continue
            opened = reopen_shard(file_in(store.path, SHARDS, name))
            if name in told:
                store.told(opened, told[name])
            elif not belongs(opened, store.recipe):
                raise CacheError(f"{path}: of another recipe, {opened.shard.recipe[:40]!r}")
            if bad := opened.damaged(range(len(opened.shard.video_N))):
                first = opened.shard.video_N[bad[0]]
                raise CacheError(f"{path}: {len(bad)} videos do not have the checksum stored with them, first {first}")
            takes.setdefault(opened.shard.take.name, []).append(opened)
        except Unreadable as error:
            yield None, str(error)
        except CacheError as error:
            yield path if _ordinary(path) else None, str(error)
    tick("verifying shards", len(names), len(names))
    for shards in takes.values():
        yield from _contradictions(shards)


def _contradictions(shards: list[Opened]) -> Iterator[Fault]:
    """Shards of one take that hold other features of one video, or of another shape."""
    try:
        require_one_shape(shards)
    except CacheError as error:
        yield None, str(error)
    for one, other, key in contradictions(shards):
        yield None, f"{other.path}: its features of {key} are not those of {one.path.name}, which is read"


def contradictions(shards: list[Opened]) -> Iterator[tuple[Opened, Opened, str]]:
    """Two shards of one take with other features of one video, the first such video of the two."""
    first: dict[str, tuple[Opened, int]] = {}
    for opened in shards:
        has = np.flatnonzero(opened.shard.status_N != FAILED).tolist()
        mine = {opened.shard.video_N[number]: number for number in has}
        for key in sorted(mine.keys() & first.keys()):
            one, number = first[key]
            if one.checksum_N[number] != opened.checksum_N[mine[key]]:
                yield one, opened, key
                break
        first.update((key, (opened, number)) for key, number in mine.items() if key not in first)


def _list_faults(store: Store, told: bool) -> Iterator[Fault]:
    """A list is its owner's, who may have drawn or edited it: none is ever taken away."""
    titles = {about.title for about in store.lists.values()}
    there = [name.removesuffix(".csv") for name in _names(store.path, LISTS) if LIST_FILE.fullmatch(name)]
    for name in _names(store.path, LISTS):
        if not LIST_FILE.fullmatch(name):
            yield None, f"{store.path / LISTS / name}: not the name of a list"
        elif told and name.rpartition("@")[0] not in store.lists:
            path = store.path / LISTS / name
            yield None, f"{path}: {MANIFEST} does not tell of this list; run the same `plfeat extract` again"
    for title in sorted({*titles, *there}):
        try:
            open_list(store.path, title)
        except CacheError as error:
            yield None, str(error)


def _text_faults(store: Store) -> Iterator[Fault]:
    for name in sorted({*store.texts, *_names(store.path, TEXT)}):
        path = store.path / TEXT / name
        try:
            if not TEXT_FILE.fullmatch(name):
                yield None, f"{path}: not the name of a file of texts"
                continue
            check_text(store, name)
        except Unreadable as error:
            yield None, str(error)
        except CacheError as error:
            yield path if _ordinary(path) else None, str(error)


def check_text(store: Store, name: str) -> None:
    """A file of texts, or a tower, is what it was when it was written."""
    path = store.text(name)
    if name.endswith(".h5"):
        if bad := read_texts(path).bad():
            raise CacheError(f"{path}: {len(bad)} sentences have features that are no numbers, first {bad[0][:80]!r}")
        return
    with opened_file(path) as handle:  # safetensors: the length of a header, the header, the numbers
        length = int.from_bytes(os.pread(handle, 8, 0), "little")
        try:
            header = json.loads(os.pread(handle, min(length, 1 << 26), 8))
            ends = [about["data_offsets"][1] for name, about in header.items() if name != "__metadata__"]
            whole = 8 + length + max(ends) == os.fstat(handle).st_size
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
            whole = False
    if not whole:
        raise CacheError(f"{path}: not a whole file of weights")


def _book_faults(store: Path) -> Iterator[Fault]:
    """The ledger and the catalogue."""
    try:
        content = file_in(store, LEDGER).read_bytes()
        for line in content.splitlines():
            if not isinstance(json.loads(line), dict):
                raise ValueError("a line is no JSON object")
    except (CacheError, OSError) as error:
        yield None, str(error)
    except (ValueError, RecursionError) as error:
        yield store / LEDGER, f"{store / LEDGER} is damaged ({first_line(error)[:120]})"
    try:
        read_catalogue(store)
    except CacheError as error:
        yield store / CATALOGUE if _ordinary(store / CATALOGUE) else None, str(error)


def _ordinary(path: Path) -> bool:
    """A file that may be taken away; neither it nor its folder is a link."""
    try:
        return stat.S_ISREG(path.lstat().st_mode) and not path.parent.is_symlink()
    except OSError:
        return False
