"""A store in, what it holds out: which takes of which videos, and their features, checked as they are read.

Nothing here writes. What it costs to read some videos is about what those videos are: the shards' small arrays are
looked at whole, of the features only the rows that are asked for.

Shapes: N videos that were asked for, T frames of each, X what is kept of a frame.
"""

import os
import re
import zlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from plfeat.errors import CacheError, DataError, first_line, unknown
from plfeat.files import sha256_of
from plfeat.recipe import Recipe, Take
from plfeat.records import VideoList
from plfeat.shards.hdf5 import STORED_AS, OnDisk, unpack
from plfeat.shards.lists import FOLDER, read_list
from plfeat.shards.reader import State, read_shard, state_of
from plfeat.shards.room import HASH, NAME, SHA256, TEXT_FILE, file_in, place, read_json
from plfeat.shards.schema import FAILED, FORMAT, Shard, take_of

RECIPE, MANIFEST, LEDGER, CATALOGUE = "recipe.json", "manifest.json", "ledger.jsonl", "catalogue.csv"
LISTS, SHARDS, TEXT = FOLDER, "shards", "text"

_FINGERPRINT = re.compile(r"[0-9a-f]{16}")
_BOOKS = {"format", "fingerprint", "shards", "lists", "texts", "makers"}
_COUNTS = ("videos", "rows", "failed", "doubtful")
_ENTRY = {"name", "take", "seal", *_COUNTS}
"""What manifest.json says, and of each shard."""

UNMADE = 255
"""The status of a video that no shard knows."""


@dataclass
class Opened:
    """A shard's file. `checked_N`: whose features had the right checksum, so that they are looked at once."""

    path: Path
    shard: Shard
    seal: str
    checksum_N: NDArray[np.uint32]
    checked_N: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        self.checked_N = self.shard.status_N == FAILED

    @property
    def stored(self) -> OnDisk:
        """The features."""
        return cast(OnDisk, self.shard.features_RX)

    def damaged(self, numbers: Iterable[int]) -> list[int]:
        """Those of some videos whose features are not what was written. What lies end to end is read at once."""
        numbers = list(numbers)
        starts = self.shard.video_ptr.tolist()
        most = max(1, _BLOCK // max(1, self.stored.row))
        for first, last in _runs(sorted({n for n in numbers if not self.checked_N[n]}), starts, most):
            block = self.stored[starts[first] : starts[last]]
            for number in range(first, last):
                mine = block[starts[number] - starts[first] : starts[number + 1] - starts[first]]
                self.check(number, mine)
        return [number for number in numbers if not self.checked_N[number]]

    def check(self, number: int, features: NDArray[Any]) -> bool:
        """Whether these are the features that were written for a video."""
        self.checked_N[number] = zlib.crc32(features.data if features.size else b"") == self.checksum_N[number]
        return bool(self.checked_N[number])


_BLOCK = 1 << 24  # bytes that are read at once to be checked


def _runs(numbers: list[int], starts: list[int], most: int) -> Iterator[tuple[int, int]]:
    """Rising numbers in runs without a gap, `first` to before `last`, of at most so many rows (or one video)."""
    first = 0
    for at in range(1, len(numbers) + 1):
        ends = at == len(numbers) or numbers[at] != numbers[at - 1] + 1
        if ends or starts[numbers[at] + 1] - starts[numbers[first]] > most:
            yield numbers[first], numbers[at - 1] + 1
            first = at


_open: dict[tuple[str, State], Opened] = {}
"""Shards that were read, by all that changes when their file does."""


def open_shard(store: Path, name: str) -> Opened:
    path = file_in(store, SHARDS, name)
    state = (str(path), state_of(path))
    if state not in _open:
        _open[state] = reopen_shard(path)
    return _open[state]


def reopen_shard(path: Path) -> Opened:
    """As if nobody had read it before."""
    return Opened(path, *read_shard(path))


@dataclass(frozen=True)
class Index:
    """Where each video of one take is: at which place, counted through the shards. Of several the first one with
    features counts, else the last failure."""

    shards: list[Opened]
    first: list[int]  # the place of each shard's first video
    where: dict[str, int]

    @staticmethod
    def of(shards: Sequence[Opened]) -> "Index":
        where: dict[str, int] = {}
        first = np.cumsum([0, *(len(opened.shard.video_N) for opened in shards)]).tolist()
        for start, opened in zip(first, shards, strict=False):
            # what is there already goes over what is new, unless it failed
            mine = dict(zip(opened.shard.video_N, range(start, start + len(opened.shard.video_N)), strict=True))
            again = mine.keys() & where.keys()
            mine |= {key: where[key] for key in again if not _failed(shards, first, where[key])}
            where |= mine
        require_one_shape(shards)
        return Index(list(shards), first, where)

    def shard(self, key: str) -> tuple[Opened, int] | None:
        """The shard that has a video, and the video's number there."""
        at = self.where.get(key)
        return None if at is None else _at(self.shards, self.first, at)

    def status(self, videos: Sequence[str]) -> NDArray[np.uint8]:
        return np.array(
            [UNMADE if at is None else at[0].shard.status_N[at[1]] for at in map(self.shard, videos)], np.uint8
        )


def _at(shards: Sequence[Opened], first: list[int], place: int) -> tuple[Opened, int]:
    number = bisect_right(first, place) - 1
    return shards[number], place - first[number]


def _failed(shards: Sequence[Opened], first: list[int], place: int) -> bool:
    opened, number = _at(shards, first, place)
    return bool(opened.shard.status_N[number] == FAILED)


def require_one_shape(shards: Sequence[Opened]) -> None:
    """What is kept of a frame is the same in all shards of a take that hold any."""
    full = [opened for opened in shards if len(opened.stored)]
    for opened in full[1:]:
        one, other = ((each.stored.dtype.name, each.stored.shape[1:]) for each in (full[0], opened))
        if one != other:
            raise CacheError(f"{opened.path}: holds {other} of a frame, {full[0].path.name} beside it {one}")


class Rows:
    """One take of some videos, in the order in which they were asked for. Those without features have length 0."""

    def __init__(self, index: Index, videos: Sequence[str], take: Take, where: str) -> None:
        self.video, self.take, self.where, self._shards = tuple(videos), take, where, index.shards
        first = np.array(index.first)
        at = np.fromiter((index.where.get(key, -1) for key in videos), np.int64, len(videos))
        self._shard_N = np.searchsorted(first, at, "right") - 1  # those that are nowhere get -1
        self._number_N = at - first[self._shard_N]
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
        return int(lengths[0]), *self._shards[int(self._shard_N[self.has][0])].stored.shape[1:]

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """Of features that are read: bfloat16 becomes float32."""
        return unpack(np.empty(0, self._shards[int(self._shard_N[self.has][0])].stored.dtype)).dtype

    def read(self) -> NDArray[Any]:
        """The features of the videos that have some, `[n, T, X]`, in memory once."""
        kept_N, out = np.cumsum(self.has) - 1, self.empty(int(self.has.sum()))
        for shard, some in self._pieces(4096):
            kept = kept_N[some]
            in_order = (np.diff(kept) == 1).all() and self._shards[shard].stored.dtype == out.dtype
            if in_order:  # from the file to where it stays
                self._load(shard, some, self.shape[0], out[kept[0] : kept[-1] + 1])
            else:
                out[kept] = unpack(self._load(shard, some, self.shape[0]))
        return out

    def blocks(self, most: int = 4096) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
        """The same, at most so many videos at a time, as they lie in the files: which of the videos they are, and
        their features. Checksums are looked at on the way, once a process."""
        for shard, some in self._pieces(most):
            yield some, unpack(self._load(shard, some, self.shape[0]))

    def _pieces(self, most: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """The videos with features as they lie in the files, at most so many of one shard at a time."""
        for shard, mine in _by_shard(self._shard_N):
            mine = mine[self.has[mine]]
            mine = mine[np.argsort(self._start_N[mine], kind="stable")]
            yield from ((shard, mine[first : first + most]) for first in range(0, len(mine), most))

    def gather(self, video_K: NDArray[np.int64]) -> NDArray[Any]:
        """The features of some of the videos, `[K, T, X]`, in the order given; each of them has features."""
        out = self.empty(len(video_K))
        for shard, mine in _by_shard(self._shard_N[video_K]):
            mine = mine[np.argsort(self._start_N[video_K[mine]], kind="stable")]
            out[mine] = unpack(self._load(shard, video_K[mine], self.shape[0]))
        return out

    def empty(self, count: int) -> NDArray[Any]:
        """Room for the features of so many videos, `[count, T, X]`."""
        return np.empty((count, *self.shape), self.dtype)

    def one(self, number: int) -> NDArray[Any]:
        """The features of one video `[T, X]`, however many frames it has; none if it has none."""
        start, length = int(self._start_N[number]), int(self.length_N[number])
        if not length:
            raise CacheError(f"{self.where}: {self.video[number]} has no features")
        opened, at = self._shards[int(self._shard_N[number])], int(self._number_N[number])
        features = opened.stored[start : start + length]
        if not opened.checked_N[at] and not opened.check(at, features):
            raise _damaged(opened, 1, self.video[number])
        return unpack(features)

    def _load(self, shard: int, some: NDArray[np.int64], frames: int, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """`[K, T, X]` of videos of one shard, in the order in which they lie there."""
        opened, starts = self._shards[shard], self._start_N[some]
        if out is None:
            out = np.empty((len(some), frames, *opened.stored.shape[1:]), opened.stored.dtype)
        end_to_end = (np.diff(starts) == frames).all()
        opened.stored.read_into(out, starts[:1].tolist() if end_to_end else starts.tolist())
        numbers = self._number_N[some]
        unchecked = np.flatnonzero(~opened.checked_N[numbers])
        bad = [n for n in unchecked.tolist() if not opened.check(int(numbers[n]), out[n])]
        if bad:
            raise _damaged(opened, len(bad), self.video[some[bad[0]]])
        return out


def _damaged(opened: Opened, count: int, first: str) -> CacheError:
    return CacheError(
        f"{opened.path}: the features of {count} videos do not have the checksum stored with them, "
        f"the first is {first}; run the same `plfeat extract` again"
    )


def _by_shard(shard_N: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Each shard that has some of the videos, and which ones. Those that no shard has are -1."""
    order = np.argsort(shard_N, kind="stable")
    order = order[np.searchsorted(shard_N[order], 0) :]
    numbers, first = np.unique(shard_N[order], return_index=True)
    yield from zip(numbers.tolist(), np.split(order, first[1:]), strict=False)


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
        return open_list(self.path, self.lists[name].title)

    @cached_property
    def texts(self) -> dict[str, str]:
        """The files of text/, with their SHA-256."""
        return {entry["name"]: entry["sha256"] for entry in self.manifest["texts"]}

    def text(self, name: str) -> Path:
        """A file of text/. One that manifest.json tells of holds what was written into it."""
        path = file_in(self.path, TEXT, name)
        if name in self.texts and sha256_of(path) != self.texts[name]:
            raise CacheError(f"{path}: its sha256 is not the one that {MANIFEST} tells of")
        return path

    @cached_property
    def _makers(self) -> list[dict[str, Any]]:
        return [plain(maker) for maker in self.manifest["makers"]]

    def index(self, take: Take) -> Index:
        if take not in self._indices:
            entries = [entry for entry in self.manifest["shards"] if entry["take"] == take.name]
            self._indices[take] = Index.of([self.shard(entry) for entry in sorted(entries, key=itemgetter("name"))])
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

    def shard(self, entry: Mapping[str, Any]) -> Opened:
        """One shard of the manifest, as it was when it was written."""
        return self.told(open_shard(self.path, entry["name"]), entry)

    def told(self, opened: Opened, entry: Mapping[str, Any]) -> Opened:
        """A shard that is the one of which the manifest tells."""
        if opened.seal != entry["seal"] or not belongs(opened, self.recipe):
            raise CacheError(
                f"{opened.path}: not the shard that manifest.json tells of; run the same `plfeat extract` again"
            )
        if plain(opened.shard.maker) not in self._makers:
            raise CacheError(
                f"{opened.path}: {MANIFEST} does not tell of its maker; run the same `plfeat extract` again"
            )
        for key, count in opened.shard.counts.items():
            if entry[key] != count:
                raise CacheError(f"{opened.path}: holds {count} {key}, manifest.json says {entry[key]}")
        return opened


def plain(maker: Mapping[str, Any]) -> dict[str, Any]:
    """A maker without what came of comparing it with others."""
    return {key: fact for key, fact in maker.items() if key != "compared"}


def belongs(opened: Opened, recipe: Recipe) -> bool:
    """Whether a shard is of this recipe."""
    return opened.shard.recipe == recipe.fingerprint and opened.stored.dtype.name == STORED_AS[recipe.dtype]


def open_list(store: Path, title: str) -> VideoList:
    """A version of a list, `name@hash`."""
    return read_list(file_in(store, LISTS, f"{title}.csv"))


def open_store(path: Path) -> Store:
    recipe = read_recipe(path)
    if not os.path.lexists(place(path, MANIFEST)):
        raise CacheError(
            f"store {path}: no {MANIFEST}: the extraction was not finished; run the same `plfeat extract` again"
        )
    return Store(path, recipe, read_manifest(path, recipe))


def read_recipe(path: Path) -> Recipe:
    if not os.path.lexists(place(path, RECIPE)):
        old = (path / "spec.json").is_file()
        reason = "made by an earlier version, whose format 2 is not read; extract again" if old else f"no {RECIPE}"
        raise CacheError(f"{path} is not a store: {reason}")
    said = read_json(file_in(path, RECIPE))
    try:
        if repr(said["format"]) != repr(FORMAT):
            raise ValueError(f"expected format {FORMAT}, found {said['format']!s:.20}")
        recipe = Recipe.of(said)
        if recipe.dtype not in STORED_AS:
            raise ValueError(f"{recipe.dtype!r:.40} is not a type of features")
        name, fingerprint = path.absolute().name, recipe.fingerprint
        if _FINGERPRINT.fullmatch(name) and name != fingerprint:
            raise ValueError(f"it is recipe {fingerprint}, its folder is called {name}; one of them was changed")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CacheError(f"store {path}: {RECIPE} is damaged ({first_line(error)[:120]})") from error
    return recipe


def read_manifest(path: Path, recipe: Recipe) -> dict[str, Any]:
    """Everything in it is what it should be; whether the shards are, is found out as they are read."""
    said = read_json(file_in(path, MANIFEST))
    try:
        if repr(said["format"]) != repr(FORMAT) or said["fingerprint"] != recipe.fingerprint:
            raise ValueError(
                f"expected format {FORMAT} of recipe {recipe.fingerprint}, found {said['format']!s:.20} "
                f"of {said['fingerprint']!s:.40}; one of {RECIPE} and {MANIFEST} was edited"
            )
        _require_keys(said, _BOOKS)
        _check_shards(said["shards"])
        _check_lists(said["lists"])
        _check_texts(said["texts"])
        if not isinstance(said["makers"], list) or not all(isinstance(maker, dict) for maker in said["makers"]):
            raise TypeError("makers is no list of objects")
    except CacheError as error:
        raise CacheError(f"store {path}: {MANIFEST} is damaged ({error})") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CacheError(f"store {path}: {MANIFEST} is damaged ({first_line(error)[:160]})") from error
    return dict(said)


def _check_shards(entries: Any) -> None:
    _require_list(entries)
    names = [entry["name"] for entry in entries]
    if len(set(names)) < len(names):
        raise ValueError("a shard is listed twice")
    for entry in entries:
        _require_keys(entry, _ENTRY)
        take = take_of(entry["name"])
        if take is None or entry["take"] != take.name:
            raise ValueError(f"{entry['name']!r:.90} is not the name of a shard of {entry['take']!r:.90}")
        if not isinstance(entry["seal"], str):
            raise TypeError(f"{entry['name']} has no seal")
        for key in _COUNTS:
            if type(entry[key]) is not int or not 0 <= entry[key] < 1 << 40:
                raise TypeError(f"{entry['name']}: {key} is {entry[key]!r:.40}")


def _check_lists(lists: Any) -> None:
    for name, said in lists.items():
        _require_keys(said, {"hash", "takes"})
        if not NAME.fullmatch(name) or not isinstance(said["hash"], str) or not HASH.fullmatch(said["hash"]):
            raise ValueError(f"{name!r:.90} is not the name of a list with a hash")
        _require_keys(said["takes"], {"train", "other"})
        for take in (*said["takes"]["train"], *said["takes"]["other"]):
            Take.named(take)


def _require_keys(said: Any, wanted: set[str]) -> None:
    if said.keys() != wanted:
        raise ValueError(f"expected {', '.join(sorted(wanted))}, found {', '.join(sorted(said))[:80]!r}")


def _require_list(entries: Any) -> None:
    if not isinstance(entries, list):
        raise TypeError("shards or texts are no list")


def _check_texts(entries: Any) -> None:
    _require_list(entries)
    names = [entry["name"] for entry in entries]
    if len(set(names)) < len(names):
        raise ValueError("a text file is listed twice")
    for entry in entries:
        _require_keys(entry, {"name", "sha256"})
        if not TEXT_FILE.fullmatch(entry["name"]) or not SHA256.fullmatch(entry["sha256"]):
            raise ValueError(f"{entry['name']!r:.90} is not the name of a text file with its sha256")


def find_stores(root: Path) -> list[Path]:
    """Every folder that says it is a store: `root` itself, or `<pool>/<recipe>` under it, or `<recipe>` under a pool.
    Folders of the format before are among them, so that they are named and refused."""
    if (root / RECIPE).is_file() or (root / "spec.json").is_file():
        return [root]
    names = [f"{depth}/{name}" for depth in ("*", "*/*") for name in (RECIPE, "spec.json")]
    return sorted({said.parent for name in names for said in root.glob(name)})
