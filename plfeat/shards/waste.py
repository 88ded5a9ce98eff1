"""What can be thrown away under a cache root: what killed processes left behind, stores that nobody went on with, and
shards that add nothing. Nothing is followed that is a link, and no store is touched that somebody grows."""

import os
import shutil
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from plfeat.errors import CacheError
from plfeat.files import abandoned, write_json
from plfeat.shards.growth import idle
from plfeat.shards.room import Unreadable, file_in, names_in, place
from plfeat.shards.schema import take_of
from plfeat.shards.store import LISTS, MANIFEST, RECIPE, SHARDS, TEXT, open_shard, open_store, read_recipe

_DAY = 86400.0


@dataclass(frozen=True)
class Waste:
    """Something that may go, or, if it is `kept`, that nobody touches: `why` says the reason."""

    path: Path
    why: str
    bytes: int = 0
    kept: bool = False
    store: Path | None = None


def waste(cache_root: Path, days: float) -> list[Waste]:
    """What nobody will miss, and what was left out. A folder that cannot be read stops nothing."""
    found: list[Waste] = []
    for folder, why in _stores(cache_root):
        if why:
            found.append(Waste(folder, why, kept=True))
            continue
        try:
            with idle(folder) as ours:
                found += _of(folder, days) if ours else [Waste(folder, "somebody grows it now", kept=True)]
        except (CacheError, OSError) as error:
            found.append(Waste(folder, f"left as it is: {error}", kept=True))
    return found


def throw_away(found: Sequence[Waste], days: float) -> list[Waste]:
    """What is gone, and what was left out. Every store is looked at again once nobody else can write to it, so that
    what has changed since stays."""
    done = [item for item in found if item.kept]
    for folder in dict.fromkeys(item.store for item in found if item.store):
        listed = {item.path for item in found if item.store == folder}
        try:
            with idle(folder) as ours:
                now = [item for item in _of(folder, days) if item.path in listed] if ours else []
                _remove(folder, now)
                done += now if ours else [Waste(folder, "somebody grows it now", kept=True)]
        except (CacheError, OSError) as error:
            done.append(Waste(folder, f"left as it is: {error}", kept=True))
    return done


def _stores(cache_root: Path) -> Iterator[tuple[Path, str]]:
    """Every folder of a store: `cache_root` itself, those in it and those in its pools. Of a link: that it is one."""
    if (cache_root / RECIPE).is_file():
        yield cache_root, ""
        return
    for pool, why in _folders(cache_root):
        if why or _has_recipe(pool):
            yield pool, why
            continue
        for folder, said in _folders(pool):
            if said or _has_recipe(folder):
                yield folder, said


def _folders(where: Path) -> Iterator[tuple[Path, str]]:
    try:
        with os.scandir(where) as entries:
            inner = sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    except OSError as error:
        yield where, f"left as it is: {error.strerror}"
        return
    for entry in inner:
        if entry.is_symlink():
            if entry.is_dir():
                yield where / entry.name, "a link, left as it is"
        elif entry.is_dir():
            yield where / entry.name, ""


def _has_recipe(folder: Path) -> bool:
    try:
        return stat.S_ISREG((folder / RECIPE).lstat().st_mode)
    except OSError:
        return False


def _of(folder: Path, days: float) -> list[Waste]:
    """Of one store. Only a folder that is called after its recipe ever goes as a whole."""
    recipe = read_recipe(folder)
    if not place(folder, MANIFEST).exists():
        rest = time.time() - max(path.lstat().st_mtime for path in _all(folder))
        if recipe.fingerprint == folder.absolute().name and rest > days * _DAY:
            size = sum(path.lstat().st_size for path in _all(folder))
            return [Waste(folder, f"unfinished, and not touched for {rest / _DAY:.0f} days", size, store=folder)]
    left = []
    for inside in ((), (LISTS,), (SHARDS,), (TEXT,)):
        try:
            names = names_in(folder, *inside)
        except CacheError as error:  # a link, say
            left.append(Waste(folder.joinpath(*inside), f"left as it is: {error}", kept=True))
            continue
        paths = [folder.joinpath(*inside, name) for name in names if name.endswith(".part")]
        left += [
            Waste(path, "a killed process was writing it", path.lstat().st_size, store=folder)
            for path in paths
            if stat.S_ISREG(path.lstat().st_mode) and abandoned(path)
        ]
    return left + list(_shards(folder))


def _all(folder: Path) -> Iterator[Path]:
    yield folder
    for where, folders, files in os.walk(folder):
        yield from (Path(where) / name for name in (*folders, *files))


def _shards(folder: Path) -> Iterator[Waste]:
    """Files that are no whole shards, and shards whose every video is read from another one."""
    if not place(folder, MANIFEST).exists():
        return
    store = open_store(folder)
    told = {entry["name"] for entry in store.manifest["shards"]}
    for name in names_in(folder, SHARDS):
        path = folder / SHARDS / name
        if take_of(name) and name not in told and stat.S_ISREG(path.lstat().st_mode):
            try:
                open_shard(folder, name)
            except Unreadable:
                continue
            except CacheError:
                yield Waste(path, "not a whole shard", path.lstat().st_size, store=folder)
    for take in store.takes:
        index = store.index(take)
        read: dict[int, list[int]] = {}
        for opened, number in filter(None, map(index.shard, index.where)):
            read.setdefault(id(opened), []).append(number)
        idle_ones = [opened for opened in index.shards if id(opened) not in read]
        if idle_ones and not any(opened.damaged(read.get(id(opened), ())) for opened in index.shards):
            for opened in idle_ones:
                size = opened.path.lstat().st_size
                yield Waste(opened.path, "every video of it is read from another shard", size, store=folder)


def _remove(folder: Path, items: Sequence[Waste]) -> None:
    """The manifest forgets a shard before it goes: a shard too many is no damage, one too few is."""
    if any(item.path == folder for item in items):
        shutil.rmtree(place(folder.parent, folder.name))
        return
    gone = {item.path.name for item in items if item.path.parent.name == SHARDS}
    if place(folder, MANIFEST).exists() and gone & {entry["name"] for entry in open_store(folder).manifest["shards"]}:
        manifest = open_store(folder).manifest
        manifest["shards"] = [entry for entry in manifest["shards"] if entry["name"] not in gone]
        write_json(file_in(folder, MANIFEST), manifest)
    for item in items:
        place(folder, *item.path.relative_to(folder).parts).unlink(missing_ok=True)
