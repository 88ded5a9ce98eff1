"""A cache folder's health, merging the parts of one, and what can be thrown away. Works on files, computes nothing."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plfeat.errors import CacheError
from plfeat.files import abandoned, publish, sha256_of, write_bytes
from plfeat.records import Tick, silent
from plfeat.shards.folder import Books, Tally, ledger_paths, require_same, stored_spec, whole
from plfeat.shards.reader import open_cache
from plfeat.shards.schema import expected_shards, fingerprint
from plfeat.shards.text import NAME as TEXT
from plfeat.shards.text import read_texts

_DAY = 86400.0


def problems(folder: Path, tick: Tick = silent) -> Iterator[str]:
    """Everything that is wrong with a finished cache: every file is read whole."""
    cache = open_cache(folder)
    for number, entry in enumerate(cache.manifest["shards"]):
        tick("verifying shards", number, len(cache.manifest["shards"]))
        path = folder / "shards" / entry["name"]
        if not path.is_file() or path.is_symlink():
            yield f"{path}: no such file"
        elif sha256_of(path) != entry["sha256"]:
            yield f"{path}: its sha256 is not the one it was written with"
        elif whole(path) is None:
            yield f"{path}: not a whole shard"
    tick("verifying shards", len(cache.manifest["shards"]), len(cache.manifest["shards"]))
    text = cache.manifest["text"]
    if text["name"]:
        path = folder / TEXT
        if not path.is_file() or sha256_of(path) != text["sha256"]:
            yield f"{path}: missing, or its sha256 is not the one it was written with"


def strays(folder: Path) -> list[Path]:
    """Files in a cache folder that its spec knows nothing of, such as what a killed process was writing."""
    known = {"spec.json", "made.json", "ledger.jsonl", "manifest.json", TEXT, "shards"}
    found = [path for path in folder.iterdir() if path.name not in known]
    shards = folder / "shards"
    if shards.is_dir():
        expected = expected_shards(stored_spec(folder))
        found += [path for path in shards.iterdir() if path.name not in expected]
    return sorted(found)


def merge(parts: list[Path], cache_root: Path) -> tuple[Path, Tally]:
    """One cache of several parts of it, made on several machines. Parts that were not made alike are refused."""
    spec = stored_spec(parts[0])
    for part in parts[1:]:
        require_same(spec, stored_spec(part), f"cache {part}")
    folder = cache_root / spec["dataset"]["name"] / fingerprint(spec)
    paths = {video: path for part in parts for video, path in ledger_paths(part).items()}
    books = {part: Books(part, spec, paths) for part in (folder, *parts)}
    for name in expected_shards(spec):
        sources = [each for each in books.values() if each.place(name).is_file()]
        found = {each.place(name): each.hash_of(name) for each in sources}
        _merge_file(books[folder].place(name), {path: value for path, value in found.items() if value})
    texts = [path for part in books if _is_text(path := part / TEXT)]
    _merge_file(folder / TEXT, {path: sha256_of(path) for path in texts})
    for name in ("spec.json", "made.json"):
        if (parts[0] / name).is_file() and not (folder / name).exists():
            write_bytes(folder / name, (parts[0] / name).read_bytes())
    text: dict[str, Any] = {"name": None, "why": "no part has any"}
    if (folder / TEXT).is_file():
        templates = len(read_texts(folder / TEXT).templates)
        text = {"name": TEXT, "sha256": sha256_of(folder / TEXT), "templates": templates}
    return folder, books[folder].finish(text)


def _merge_file(goal: Path, sources: dict[Path, str]) -> None:
    """Copies the first of the files, which are whole and come with their hashes. Two that differ are an error: one of
    them is wrong."""
    if len(set(sources.values())) > 1:
        one, other = next((a, b) for a in sources for b in sources if sources[a] != sources[b])
        raise CacheError(
            f"{one} and {other} should be the same bytes and are not; made on different kinds of machine? "
            "`plfeat cache verify --live 16` says how far each is from a fresh one"
        )
    if sources and goal not in sources:
        with publish(goal) as part_file:
            shutil.copyfile(next(iter(sources)), part_file)


def _is_text(path: Path) -> bool:
    try:
        read_texts(path)
    except CacheError:
        return False
    return True


@dataclass(frozen=True)
class Waste:
    path: Path
    why: str
    bytes: int


def waste(cache_root: Path, days: float) -> list[Waste]:
    """What nobody will miss: strays, and caches that nobody went on with for some days."""
    found = []
    for spec in sorted(cache_root.glob("*/*/spec.json")):
        folder = spec.parent
        try:
            is_ours = fingerprint(stored_spec(folder)) == folder.name
            idle = time.time() - max(path.lstat().st_mtime for path in (folder, *folder.rglob("*")))
        except (CacheError, FileNotFoundError):
            continue  # nothing that we would know to be ours, or somebody is at work there
        if is_ours and not (folder / "manifest.json").exists() and idle > days * _DAY:
            found.append(Waste(folder, f"unfinished, and not touched for {idle / _DAY:.0f} days", _size(folder)))
        elif is_ours:
            left = [
                path
                for path in strays(folder)
                if abandoned(path) or (path.parent.name == "shards" and path.suffix == ".h5")
            ]
            found += [Waste(path, "not part of the cache", _size(path)) for path in left]
    return found


def throw_away(found: list[Waste]) -> None:
    for item in found:
        shutil.rmtree(item.path) if item.path.is_dir() and not item.path.is_symlink() else item.path.unlink()


def _size(path: Path) -> int:
    if path.is_dir() and not path.is_symlink():
        return sum(inner.lstat().st_size for inner in path.rglob("*"))
    return path.lstat().st_size
