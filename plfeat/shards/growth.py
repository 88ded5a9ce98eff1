"""A store that grows: shards in as they are made; the ledger and the manifest are written last.

Everything but recipe.json is rebuilt from the shards and the lists, so a kill can lose no line of it. Any number of
processes may grow a store at once: a shard is called after what it holds, so none writes over another's. While one of
them is at work, nothing is thrown away.
"""

import fcntl
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from plfeat.errors import CacheError
from plfeat.files import publish, sha256_of, write_bytes, write_json, write_text
from plfeat.recipe import Recipe, Take
from plfeat.records import Tick, VideoList, silent
from plfeat.shards.catalogue import Seen, read_catalogue, write_catalogue
from plfeat.shards.lists import list_files, list_hash, lists_in, write_list
from plfeat.shards.reader import state_of
from plfeat.shards.room import TEXT_FILE, Unreadable, file_in, files_in, goal, place
from plfeat.shards.schema import DOUBTFUL, FAILED, FORMAT, Shard, take_of
from plfeat.shards.store import (
    CATALOGUE,
    LEDGER,
    LISTS,
    MANIFEST,
    RECIPE,
    SHARDS,
    TEXT,
    Index,
    Opened,
    Store,
    belongs,
    open_list,
    open_shard,
    open_store,
    plain,
    read_manifest,
    read_recipe,
)
from plfeat.shards.writer import shard_bytes

MISSING = "the file does not exist"
"""The error of a video whose file was not there."""


@dataclass(frozen=True)
class Tally:
    """What became of the videos of a list."""

    videos: int
    failed: int  # without features: they cannot be read, or there is no file
    missing: int  # of the failed, those without a file
    doubtful: int
    unmade: int  # those that nobody has tried yet
    reasons: dict[str, int]

    @property
    def complete(self) -> bool:
        return not self.unmade


@contextmanager
def locked(path: Path, how: int) -> Iterator[bool]:
    """Holds a lock on a file or folder; False if another process has it and `how` says not to wait. It goes with the
    process. A file system that knows no locks gives it to everybody."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(handle, how)
        except BlockingIOError:
            yield False
            return
        except OSError:
            pass
        yield True
    finally:
        os.close(handle)


@contextmanager
def idle(folder: Path) -> Iterator[bool]:
    """Whether nobody grows a store; until the end of it, nobody can."""
    folder = folder.absolute()
    with locked(place(folder.parent, folder.name), fcntl.LOCK_EX | fcntl.LOCK_NB) as ours:
        yield ours


def _hold(folder: Path) -> int:
    """The folder, made if it is not there, and held so that nothing in it is thrown away. Whoever waited for a lock
    may hold what is gone by then."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_SH)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), folder.stat()):
                return handle
        os.close(handle)


def require_same(wanted: Recipe, found: Recipe, where: str) -> None:
    different = list(wanted.diff(found))
    if different:
        key, here, there = different[0]
        more = f" (and {len(different) - 1} more: {', '.join(name for name, *_ in different[1:6])})"
        raise CacheError(
            f"{where}: {key} is {_short(there)}, but what is asked for has {_short(here)}"
            f"{more if len(different) > 1 else ''}; features made differently are never mixed"
        )


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 48 else text[:45] + "…"


@dataclass
class Growth:
    """`with Growth(folder, recipe) as growth: growth.add(shard)`; `finish` writes down what there is.

    A shard that is not whole is as good as not there, and is taken away."""

    folder: Path
    recipe: Recipe
    tick: Tick = silent
    lists: dict[str, tuple[VideoList, dict[str, tuple[Take, ...]]]] = field(default_factory=dict)
    makers: list[dict[str, Any]] = field(default_factory=list)

    def __enter__(self) -> "Growth":
        self._lock = _hold(self.folder)
        try:
            for book in (RECIPE, MANIFEST, LEDGER, CATALOGUE):
                goal(self.folder, book)
            if place(self.folder, RECIPE).exists() or (self.folder / "spec.json").exists():
                require_same(self.recipe, read_recipe(self.folder), f"store {self.folder}")
            else:
                write_json(self.folder / RECIPE, {"format": FORMAT} | self.recipe.as_dict())
            self._known = self._read_known()
            self._texts = {name: state_of(self.folder / TEXT / name) for name in self._text_names()}
            self._shards: dict[str, Opened] = {}
            self._indices: dict[Take, Index] = {}
            self.look()
        except BaseException:
            os.close(self._lock)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._lock)

    @property
    def takes(self) -> tuple[Take, ...]:
        return tuple(dict.fromkeys(opened.shard.take for opened in self._shards.values()))

    @property
    def known_makers(self) -> list[dict[str, Any]]:
        """Those of the shards that are there, and those that were compared with them."""
        return [plain(maker) for maker in self.all_makers()]

    def index(self, take: Take) -> Index:
        if take not in self._indices:
            mine = [opened for _, opened in sorted(self._shards.items()) if opened.shard.take == take]
            self._indices[take] = Index.of(mine)
        return self._indices[take]

    def lacks(self, videos: Sequence[str], take: Take) -> list[str]:
        """Those that nobody has tried yet. What is there is read: a shard with damaged features is taken away, and
        everything that it held is lacking."""
        keys = list(dict.fromkeys(videos))
        while damaged := self._damaged(keys, take):
            for opened in damaged:
                self._drop(opened)
        where = self.index(take).where
        return [key for key in keys if key not in where]

    def failed(self, videos: Sequence[str], take: Take) -> list[str]:
        keys = list(dict.fromkeys(videos))
        return [key for key, status in zip(keys, self.index(take).status(keys), strict=True) if status == FAILED]

    def add(self, shard: Shard) -> None:
        """A shard that was just made. One of the same name that is whole holds the same already."""
        assert shard.recipe == self.recipe.fingerprint
        if shard.name in self._shards:
            return
        with publish(goal(self.folder, SHARDS, shard.name)) as part:
            part.write_bytes(shard_bytes(shard))
        self._shards[shard.name] = open_shard(self.folder, shard.name)
        self._indices.pop(shard.take, None)

    def copy(self, source: Path, name: str) -> None:
        """A whole shard of another store of the same recipe."""
        content = file_in(source, SHARDS, name).read_bytes()
        write_bytes(goal(self.folder, SHARDS, name), content)
        if self._adopt(name) is None:
            raise CacheError(f"{source / SHARDS / name}: not a whole shard")

    def put_list(self, videos: VideoList, takes: Mapping[str, Sequence[Take]]) -> None:
        """The list is written with the manifest, once its videos are there. `takes` of its training videos, `train`,
        and of the `other`s are what `--repair` makes again."""
        self.lists[videos.name] = videos, {of: tuple(takes[of]) for of in ("train", "other")}

    def keep_list(self, videos: VideoList) -> None:
        """A version of a list that is not the current one."""
        if not place(self.folder, LISTS, f"{videos.name}@{list_hash(videos)}.csv").exists():
            write_list(self.folder, videos)

    def put_text(self, name: str, content: bytes) -> None:
        write_bytes(goal(self.folder, TEXT, name), content)

    def note_files(self, seen: Iterable[Seen]) -> None:
        with locked(self.folder / RECIPE, fcntl.LOCK_EX):
            write_catalogue(self.folder, [*self._catalogue(), *seen])

    def finish(self) -> Store:
        """Writes the ledger and the manifest: of everything that is there by now, whoever made it."""
        with locked(self.folder / RECIPE, fcntl.LOCK_EX):
            self._known = self._read_known()
            self.look()
            lists = dict(self._known["lists"])
            for name, said in lists.items():
                if said["takes"] is None:
                    made = self._takes_made(open_list(self.folder, f"{name}@{said['hash']}"))
                    lists[name] = said | {"takes": made}
            for name, (videos, takes) in self.lists.items():
                write_list(self.folder, videos)
                wanted = {of: [take.name for take in takes[of]] for of in takes}
                for of, before in lists.get(name, {"takes": {}})["takes"].items():
                    wanted[of] = list(dict.fromkeys([*before, *wanted[of]]))
                lists[name] = {"hash": list_hash(videos), "takes": wanted}
            entries = [
                {"name": name, "take": opened.shard.take.name, "seal": opened.seal, **opened.shard.counts}
                for name, opened in sorted(self._shards.items())
            ]
            current = [f"{name}@{said['hash']}" for name, said in lists.items()]
            lines = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in self._ledger(current))
            lines = lines.encode(errors="backslashreplace").decode()  # names that are no UTF-8
            write_text(place(self.folder, LEDGER), lines)
            manifest = {
                "format": FORMAT,
                "fingerprint": self.recipe.fingerprint,
                "shards": entries,
                "lists": lists,
                "texts": [{"name": name, "sha256": self._text_hash(name)} for name in self._text_names()],
                "makers": self.all_makers(),
            }
            write_json(place(self.folder, MANIFEST), manifest)
        return open_store(self.folder)

    def tally(self, videos: VideoList, takes: Callable[[Any], Sequence[Take]]) -> Tally:
        """`takes` of a row are those that it should have."""
        missing = [row for row in videos.rows if not row.video]
        failed, doubtful, unmade, reasons = 0, 0, 0, Counter({MISSING: len(missing)} if missing else {})
        for row in videos.rows:
            found = [self.index(take).shard(row.video) for take in takes(row)] if row.video else []
            if not all(found):
                unmade += bool(found)
                continue
            said = [(int(at[0].shard.status_N[at[1]]), at[0].shard.error_N[at[1]]) for at in found if at]
            worst = next((pair for pair in said if pair[0] == FAILED), None)
            worst = worst or next((pair for pair in said if pair[0] == DOUBTFUL), None)
            if worst:
                failed, doubtful = failed + (worst[0] == FAILED), doubtful + (worst[0] == DOUBTFUL)
                reasons[_kind(worst[1], row.path, worst[0] == DOUBTFUL)] += 1
        ordered = dict(reasons.most_common())
        return Tally(len(videos.rows), failed + len(missing), len(missing), doubtful, unmade, ordered)

    def all_makers(self) -> list[dict[str, Any]]:
        """Each once, with what came of comparing it with the others, if it was (`compared`)."""
        made = [dict(opened.shard.maker) for opened in self._shards.values()]
        found: dict[str, dict[str, Any]] = {}
        for maker in [*made, *self._known["makers"], *self.makers]:
            found[json.dumps(plain(maker), sort_keys=True)] = maker
        return [found[text] for text in sorted(found)]

    def _read_known(self) -> dict[str, Any]:
        """What an earlier run wrote down. A manifest that is damaged is as good as none: the shards say it all, and of
        the lists that lie there and that it does not tell of, the version that was written last is the current one."""
        try:
            known = read_manifest(self.folder, self.recipe)
        except Unreadable:
            raise
        except CacheError:
            known = {"shards": [], "makers": [], "texts": [], "lists": {}}
        return known | {"lists": self._lists_there(set(known["lists"])) | known["lists"]}

    def _lists_there(self, told: set[str]) -> dict[str, Any]:
        names = {file.name.rpartition("@")[0] for file in list_files(self.folder)}
        current = lists_in(self.folder) if names - told else {}
        return {name: {"hash": file.stem.rpartition("@")[2], "takes": None} for name, file in current.items()}

    def _takes_made(self, videos: VideoList) -> dict[str, list[str]]:
        """Those that some training video of a list has, and some other one."""
        of = {True: set[str](), False: set[str]()}
        for take in self.takes:
            where = self.index(take).where
            for trains in {"train" in row.split for row in videos.rows if row.video in where}:
                of[trains].add(take.name)
        return {"train": sorted(of[True]), "other": sorted(of[False])}

    def look(self) -> None:
        """Takes in every whole shard that is there: those that the manifest tells of as it tells of them, any other
        one once all its features were read."""
        names = [name for name in files_in(self.folder, SHARDS) if take_of(name)]
        for gone in self._shards.keys() - set(names):
            self._indices.pop(self._shards.pop(gone).shard.take, None)
        for number, name in enumerate(names):
            if name not in self._shards:
                self._adopt(name)
            if number % 64 == 63:
                self.tick("looking at shards", number + 1, len(names))

    def _text_names(self) -> list[str]:
        return [name for name in files_in(self.folder, TEXT) if TEXT_FILE.fullmatch(name)]

    def _text_hash(self, name: str) -> str:
        """Of a file that nobody touched since it was written down: what was written down then."""
        path = file_in(self.folder, TEXT, name)
        known = {entry["name"]: entry["sha256"] for entry in self._known["texts"]}.get(name)
        return known if known and state_of(path) == self._texts.get(name) else sha256_of(path)

    def _adopt(self, name: str) -> Opened | None:
        said = {entry["name"]: entry["seal"] for entry in self._known["shards"]}.get(name)
        try:
            opened = open_shard(self.folder, name)
            whole = belongs(opened, self.recipe)
            whole = whole and (opened.seal == said or not opened.damaged(range(len(opened.shard.video_N))))
        except Unreadable:
            raise
        except CacheError:
            whole = False
        if not whole:
            place(self.folder, SHARDS, name).unlink(missing_ok=True)
            return None
        self._shards[name] = opened
        self._indices.pop(opened.shard.take, None)
        return opened

    def _damaged(self, keys: list[str], take: Take) -> list[Opened]:
        index = self.index(take)
        asked: dict[int, list[int]] = {}
        for at in filter(None, map(index.shard, keys)):
            asked.setdefault(id(at[0]), []).append(at[1])
        found = []
        for number, opened in enumerate(index.shards):
            if opened.damaged(asked.get(id(opened), ())):
                found.append(opened)
            if number % 64 == 63:
                self.tick(f"checking {take.name}", number + 1, len(index.shards))
        return found

    def _drop(self, opened: Opened) -> None:
        del self._shards[opened.path.name]
        self._indices.pop(opened.shard.take, None)
        opened.path.unlink(missing_ok=True)

    def _catalogue(self) -> list[Seen]:
        try:
            return read_catalogue(self.folder)
        except CacheError:
            return []

    def _ledger(self, lists: Iterable[str]) -> Iterator[dict[str, Any]]:
        """A line for each video that failed or whose decoder had doubts, and for each of a list without a file."""
        paths = {seen.video: seen.where for seen in self._catalogue()}
        for take in sorted(self.takes, key=lambda take: take.name):
            index = self.index(take)
            odd = {key for o in index.shards if o.shard.status_N.any() for key in o.shard.video_N}
            for key in sorted(odd):
                opened, number = index.shard(key) or (index.shards[0], 0)
                if error := opened.shard.error_N[number]:
                    yield {
                        "video": key,
                        "path": paths.get(key.partition("#")[0]),
                        "take": take.name,
                        "stage": "decode",
                        "kept": bool(opened.shard.status_N[number] == DOUBTFUL),
                        "error": error,
                    }
        for title in lists:
            try:
                rows = open_list(self.folder, title).rows
            except CacheError:
                continue
            for row in rows:
                if not row.video:
                    yield {"name": row.name, "list": title, "stage": "find", "kept": False, "error": MISSING}


def _kind(error: str, path: Path | None, kept: bool) -> str:
    """An error without what is its own: names and numbers."""
    plain = error.replace(path.name, "…") if path else error
    plain = re.sub(r"\d+", "#", plain)
    return f"kept, but {plain}" if kept else plain
