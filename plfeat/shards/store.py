"""A store in, what it holds out: which takes of which videos, and their features, checked as they are read.

Nothing here writes. What it costs to read some videos is about what those videos are: the shards' small arrays are
looked at whole, of the features only the rows that are asked for.

Shapes: N videos that were asked for, T frames of each, X what is kept of a frame.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plfeat.errors import CacheError, DataError, first_line, unknown
from plfeat.recipe import Recipe, Take
from plfeat.records import VideoList
from plfeat.shards.hdf5 import unpack
from plfeat.shards.lists import read_list
from plfeat.shards.reader import State, read_shard, state_of
from plfeat.shards.room import HASH, NAME, file_in, place
from plfeat.shards.schema import FAILED, FORMAT, Shard, take_of

RECIPE, MANIFEST, LEDGER, CATALOGUE = "recipe.json", "manifest.json", "ledger.jsonl", "catalogue.csv"
LISTS, SHARDS, TEXT = "lists", "shards", "text"

UNMADE = 255
"""The status of a video that no shard knows."""


@dataclass
class Opened:
    """A shard's mapped file. `checked_N`: whose features had the right checksum, so that they are looked at once."""

    path: Path
    shard: Shard
    seal: str
    checksum_N: NDArray[np.uint32]
    checked_N: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        self.checked_N = np.zeros(len(self.shard.video_N), bool)

    def bad(self, number: int) -> bool:
        """The features of a video are not what was written."""
        if not self.checked_N[number]:
            self.checked_N[number] = self.shard.checksum(number) == self.checksum_N[number]
        return not self.checked_N[number]


_open: dict[tuple[str, State], Opened] = {}
"""Shards that are mapped, by all that changes when their file does."""


def open_shard(store: Path, name: str) -> Opened:
    path = file_in(store, SHARDS, name)
    state = (str(path), state_of(path))
    if state not in _open:
        _open[state] = Opened(path, *read_shard(path))
    return _open[state]


@dataclass(frozen=True)
class Index:
    """Where each video of one take is: a shard, and its number there. Of several the first one with features counts,
    else the last failure."""

    shards: list[Opened]
    where: dict[str, tuple[int, int]]

    @staticmethod
    def of(shards: list[Opened]) -> "Index":
        where: dict[str, tuple[int, int]] = {}
        for number, opened in enumerate(shards):
            for row, key in enumerate(opened.shard.video_N):
                there = where.get(key)
                if there is None or shards[there[0]].shard.status_N[there[1]] == FAILED:
                    where[key] = number, row
        return Index(shards, where)

    def shard(self, key: str) -> tuple[Opened, int] | None:
        """The shard that has a video, and the video's number there."""
        at = self.where.get(key)
        return None if at is None else (self.shards[at[0]], at[1])

    def status(self, videos: Sequence[str]) -> NDArray[np.uint8]:
        return np.array(
            [UNMADE if at is None else at[0].shard.status_N[at[1]] for at in map(self.shard, videos)], np.uint8
        )


class Rows:
    """One take of some videos, in the order in which they were asked for. Those without features have length 0."""

    def __init__(self, index: Index, videos: Sequence[str], take: Take, where: str) -> None:
        self.video, self.take, self.where, self._shards = tuple(videos), take, where, index.shards
        at = [index.where.get(key, (-1, 0)) for key in videos]
        self._shard_N, self._number_N = np.array(at, np.int64).reshape(-1, 2).T
        self.status_N, self.length_N, self._start_N = (np.full(len(at), start) for start in (np.uint8(UNMADE), 0, 0))
        for number, mine in _by_shard(self._shard_N):
            shard = self._shards[number].shard
            at_N = self._number_N[mine]
            self.status_N[mine] = shard.status_N[at_N]
            self._start_N[mine] = shard.video_ptr[at_N]
            self.length_N[mine] = shard.video_ptr[at_N + 1] - self._start_N[mine]

    def __len__(self) -> int:
        return len(self.video)

    @property
    def has(self) -> NDArray[np.bool_]:
        """Which of the videos have features."""
        return self.length_N > 0

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Of what is kept of a video, `[T, X]`: the same for all, or an error."""
        lengths = np.unique(self.length_N[self.has])
        if not len(lengths):
            raise CacheError(f"{self.where}: no video has features; the store's ledger.jsonl says why")
        if len(lengths) > 1:
            raise DataError(
                f"{self.where}: videos have {lengths[0]} to {lengths[-1]} frames; training needs the same for all"
            )
        return int(lengths[0]), *self._features(int(self._shard_N[self.has][0])).shape[1:]

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """Of features that are read: bfloat16 becomes float32."""
        return unpack(self._features(int(self._shard_N[self.has][0]))[:0]).dtype

    def read(self) -> NDArray[Any]:
        """The features of the videos that have some, `[n, T, X]`, in memory once."""
        kept_N, out = np.cumsum(self.has) - 1, self.empty(int(self.has.sum()))
        for where, block in self.blocks():
            out[kept_N[where]] = block
        return out

    def blocks(self, most: int = 4096) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
        """The same, at most so many videos at a time, as they lie in the files: which of the videos they are, and
        their features. Checksums are looked at on the way, once a process."""
        frames = self.shape[0]
        for number, mine in _by_shard(self._shard_N):
            mine = mine[self.has[mine]]
            mine = mine[np.argsort(self._start_N[mine], kind="stable")]
            for first in range(0, len(mine), most):
                some = mine[first : first + most]
                self._check(number, some)
                yield some, unpack(_gather(self._features(number), self._start_N[some], frames))

    def gather(self, video_K: NDArray[np.int64]) -> NDArray[Any]:
        """The features of some of the videos, `[K, T, X]`, in the order given; each of them has features."""
        out = self.empty(len(video_K))
        for shard, mine in _by_shard(self._shard_N[video_K]):
            some = video_K[mine]
            self._check(shard, some)
            order = np.argsort(self._start_N[some], kind="stable")
            out[mine[order]] = unpack(_gather(self._features(shard), self._start_N[some][order], self.shape[0]))
        return out

    def empty(self, count: int) -> NDArray[Any]:
        """Room for the features of so many videos, `[count, T, X]`."""
        return np.empty((count, *self.shape), self.dtype)

    def one(self, number: int) -> NDArray[Any]:
        """The features of one video `[T, X]`, however many frames it has; none if it has none."""
        shard = int(self._shard_N[number])
        if not self.length_N[number]:
            raise CacheError(f"{self.where}: {self.video[number]} has no features")
        self._check(shard, np.array([number]))
        start = int(self._start_N[number])
        return unpack(self._features(shard)[start : start + int(self.length_N[number])])

    def _features(self, shard: int) -> NDArray[Any]:
        return self._shards[shard].shard.features_RX

    def _check(self, number: int, some: NDArray[np.int64]) -> None:
        opened = self._shards[number]
        bad = [n for n in self._number_N[some].tolist() if opened.bad(n)]
        if bad:
            raise CacheError(
                f"{opened.path}: the features of {len(bad)} videos do not have the checksum stored with them, "
                f"the first is {opened.shard.video_N[bad[0]]}; run the same `plfeat extract` again"
            )


def _by_shard(shard_N: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Each shard that has some of the videos, and which ones. Those that no shard has are -1."""
    order = np.argsort(shard_N, kind="stable")
    order = order[np.searchsorted(shard_N[order], 0) :]
    numbers, first = np.unique(shard_N[order], return_index=True)
    yield from zip(numbers.tolist(), np.split(order, first[1:]), strict=False)


def _gather(rows_RX: NDArray[Any], start_K: NDArray[np.int64], frames: int) -> NDArray[Any]:
    """`[K, T, X]`: `frames` rows from each start, which rise. What lies end to end is not copied."""
    if (np.diff(start_K) == frames).all():
        first, last = int(start_K[0]), int(start_K[-1]) + frames
        return rows_RX[first:last].reshape(len(start_K), frames, *rows_RX.shape[1:])
    out = np.empty((len(start_K), frames, *rows_RX.shape[1:]), rows_RX.dtype)
    for number, start in enumerate(start_K.tolist()):
        out[number] = rows_RX[start : start + frames]
    return out


@dataclass(frozen=True)
class ListFile:
    """The current version of a list, and the takes that were made for it: of training videos, and of the others."""

    name: str
    hash: str
    takes: dict[str, tuple[Take, ...]]

    @property
    def title(self) -> str:
        return f"{self.name}@{self.hash}"


@dataclass(frozen=True)
class Store:
    path: Path
    recipe: Recipe
    manifest: dict[str, Any]
    _indices: dict[Take, Index] = field(default_factory=dict, compare=False, repr=False)

    @property
    def fingerprint(self) -> str:
        return self.recipe.fingerprint

    @property
    def pool(self) -> str:
        return self.path.absolute().parent.name

    @cached_property
    def takes(self) -> tuple[Take, ...]:
        return tuple(dict.fromkeys(Take.named(entry["take"]) for entry in self.manifest["shards"]))

    @cached_property
    def lists(self) -> dict[str, ListFile]:
        found = {}
        for name, said in self.manifest["lists"].items():
            takes = {of: tuple(map(Take.named, said["takes"][of])) for of in ("train", "other")}
            found[name] = ListFile(name, said["hash"], takes)
        return found

    def read_list(self, name: str) -> VideoList:
        """Its current version."""
        if name not in self.lists:
            raise unknown("list", name, self.lists)
        return read_list(file_in(self.path, LISTS, f"{self.lists[name].title}.csv"))

    def index(self, take: Take) -> Index:
        if take not in self._indices:
            entries = [entry for entry in self.manifest["shards"] if entry["take"] == take.name]
            self._indices[take] = Index.of([self._shard(entry) for entry in entries])
        return self._indices[take]

    def lacks(self, videos: Sequence[str], take: Take) -> list[str]:
        """Those that were never made: they have no features, nor a failure that is remembered."""
        where = self.index(take).where
        return [key for key in dict.fromkeys(videos) if key not in where]

    def failed(self, videos: Sequence[str], take: Take) -> list[str]:
        keys = list(dict.fromkeys(videos))
        return [key for key, status in zip(keys, self.index(take).status(keys), strict=True) if status == FAILED]

    def rows(self, videos: Sequence[str], take: Take) -> Rows:
        return Rows(self.index(take), videos, take, f"store {self.path}, take {take.name}")

    def _shard(self, entry: dict[str, Any]) -> Opened:
        """One shard of the manifest, as it was when it was written."""
        opened = open_shard(self.path, entry["name"])
        if opened.seal != entry["seal"] or opened.shard.recipe != self.fingerprint:
            raise CacheError(
                f"{opened.path}: not the shard that manifest.json tells of; run the same `plfeat extract` again"
            )
        for key, count in opened.shard.counts.items():
            if entry[key] != count:
                raise CacheError(f"{opened.path}: holds {count} {key}, manifest.json says {entry[key]}")
        return opened


def open_store(path: Path) -> Store:
    recipe = read_recipe(path)
    if not place(path, MANIFEST).is_file():
        raise CacheError(
            f"store {path}: no {MANIFEST}: the extraction was not finished; run the same `plfeat extract` again"
        )
    return Store(path, recipe, read_manifest(path, recipe))


def read_recipe(path: Path) -> Recipe:
    if not place(path, RECIPE).is_file():
        old = (path / "spec.json").is_file()
        reason = "made by an earlier version, whose format 2 is not read; extract again" if old else f"no {RECIPE}"
        raise CacheError(f"{path} is not a store: {reason}")
    said = _read_json(file_in(path, RECIPE))
    try:
        if said["format"] != FORMAT:
            raise ValueError(f"expected format {FORMAT}, found {said['format']!s:.20}")
        return Recipe.of(said)
    except (ValueError, KeyError, TypeError) as error:
        raise CacheError(f"store {path}: {RECIPE} is damaged ({first_line(error)[:120]})") from error


def read_manifest(path: Path, recipe: Recipe) -> dict[str, Any]:
    """Everything in it is what it should be; whether the shards are, is found out as they are read."""
    said = _read_json(file_in(path, MANIFEST))
    try:
        if said["format"] != FORMAT or said["fingerprint"] != recipe.fingerprint:
            raise ValueError(
                f"expected format {FORMAT} of recipe {recipe.fingerprint}, found {said['format']!s:.20} "
                f"of {said['fingerprint']!s:.40}; one of {RECIPE} and {MANIFEST} was edited"
            )
        _check_shards(said["shards"])
        _check_lists(said["lists"])
        if not isinstance(said["makers"], list) or not all(isinstance(maker, dict) for maker in said["makers"]):
            raise TypeError("makers is no list of objects")
    except CacheError as error:
        raise CacheError(f"store {path}: {MANIFEST} is damaged ({error})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CacheError(f"store {path}: {MANIFEST} is damaged ({first_line(error)[:160]})") from error
    return dict(said)


def _check_shards(entries: Any) -> None:
    names = [entry["name"] for entry in entries]
    if len(set(names)) < len(names):
        raise ValueError("a shard is listed twice")
    for entry in entries:
        take = take_of(entry["name"])
        if take is None or entry["take"] != take.name:
            raise ValueError(f"{entry['name']!r:.90} is not the name of a shard of {entry['take']!r:.90}")
        if not isinstance(entry["seal"], str):
            raise TypeError(f"{entry['name']} has no seal")
        for key in ("videos", "rows", "failed", "doubtful"):
            if type(entry[key]) is not int or entry[key] < 0:
                raise TypeError(f"{entry['name']}: {key} is {entry[key]!r:.40}")


def _check_lists(lists: Any) -> None:
    for name, said in lists.items():
        if not NAME.fullmatch(name) or not isinstance(said["hash"], str) or not HASH.fullmatch(said["hash"]):
            raise ValueError(f"{name!r:.90} is not the name of a list with a hash")
        for of in ("train", "other"):
            for take in said["takes"][of]:
                Take.named(take)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CacheError(f"{path} is damaged ({first_line(error)[:120]})") from error
    if not isinstance(said, dict):
        raise CacheError(f"{path} is damaged (expected a JSON object)")
    return said


def find_stores(root: Path) -> list[Path]:
    """Every folder that says it is a store: `root` itself, or `<pool>/<recipe>` under it, or `<recipe>` under a pool.
    Folders of the format before are among them, so that they are named and refused."""
    if (root / RECIPE).is_file() or (root / "spec.json").is_file():
        return [root]
    names = [f"{depth}/{name}" for depth in ("*", "*/*") for name in (RECIPE, "spec.json")]
    return sorted({said.parent for name in names for said in root.glob(name)})
