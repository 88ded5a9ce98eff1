"""A cache folder in, `FrameSet`s out. Nothing a foreign or damaged file holds can make it read another file."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, compress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plfeat.errors import CacheError, DataError, first_line
from plfeat.files import sha256_of
from plfeat.records import FrameSet
from plfeat.shards.hdf5 import decoded, read_arrays, unpack
from plfeat.shards.schema import FAILED, FORMAT, LAYOUT, MORE, Shard, fingerprint, shard_name

State = tuple[int, int, int] | None

_sound: dict[tuple[object, ...], Shard] = {}
"""Shards whose hash was right when they were last looked at, by all that changes when their file does. Still mapped."""


@dataclass(frozen=True)
class Cache:
    """One finished extraction."""

    path: Path
    spec: dict[str, Any]
    manifest: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        return str(self.manifest["fingerprint"])

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.spec["dataset"]["classes"])

    @property
    def evaluation(self) -> str:
        """The split that is reported on: test, or val where the test labels are not public."""
        splits = {entry["split"] for entry in self.manifest["shards"]}
        return "val" if "val" in splits and "test" not in splits else "test"

    def read(self, split: str) -> FrameSet:
        """All videos of a split that have features. Shards are hashed before they are opened, once a process."""
        shards = [self.shard(entry) for entry in self._entries(split)]
        return _frame_set(shards, f"cache {self.path}, split {split!r}")

    def videos(self, split: str) -> "Videos":
        """The same, video by video and not in memory: for any number of frames each, in any order."""
        return Videos([self.shard(entry) for entry in self._entries(split)])

    def _entries(self, split: str) -> list[dict[str, Any]]:
        entries = [entry for entry in self.manifest["shards"] if entry["split"] == split]
        if not entries:
            splits = sorted({entry["split"] for entry in self.manifest["shards"]})
            raise DataError(f"cache {self.path}: no split {split!r}; it holds {', '.join(splits)}")
        return entries

    def shard(self, entry: dict[str, Any]) -> Shard:
        """One shard of the manifest, as it was when it was written."""
        path = self.path / "shards" / entry["name"]
        if not path.is_file() or path.is_symlink():
            raise CacheError(f"{path}: no such file; run the same `plfeat extract` again")
        state = (str(path), entry["sha256"], state_of(path))
        if state not in _sound:
            found = sha256_of(path)
            if found != entry["sha256"]:
                raise CacheError(
                    f"{path}: expected sha256 {entry['sha256'][:12]}…, found {found[:12]}; "
                    "run the same `plfeat extract` again"
                )
            _sound[state] = read_shard(path)
        return _sound[state]


class Videos(Mapping[str, NDArray[Any]]):
    """Id to the video's rows `[R, D]` as they are stored, straight from the mapped files. Without the failed."""

    def __init__(self, shards: list[Shard]) -> None:
        self._rows = {
            name: (shard.features_RD, start, end)
            for shard in shards
            for name, start, end in zip(
                shard.id_N, shard.video_ptr.tolist(), shard.video_ptr[1:].tolist(), strict=False
            )
            if end > start
        }

    def __getitem__(self, name: str) -> NDArray[Any]:
        features, start, end = self._rows[name]
        return features[start:end]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


def open_cache(path: Path) -> Cache:
    manifest_path, spec_path = path / "manifest.json", path / "spec.json"
    if not manifest_path.is_file():
        reason = (
            "the extraction was not finished; run the same `plfeat extract` again"
            if spec_path.is_file()
            else "not a cache"
        )
        raise CacheError(f"cache {path}: no manifest.json: {reason}")
    try:
        spec, manifest = (
            json.loads(spec_path.read_text(encoding="utf-8")),
            json.loads(manifest_path.read_text(encoding="utf-8")),
        )
        said, is_now = manifest["fingerprint"], fingerprint(spec)
        _check_bookkeeping(spec, manifest)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CacheError(f"cache {path}: spec.json or manifest.json is damaged ({first_line(error)})") from error
    if said != is_now:
        raise CacheError(f"cache {path}: spec.json has fingerprint {is_now}, the manifest says {said}; one was edited")
    return Cache(path, spec, manifest)


def _check_bookkeeping(spec: dict[str, Any], manifest: dict[str, Any]) -> None:
    """Raises unless everything that is read later is there, and a shard's name can only be that of a shard."""
    if spec["format"] != FORMAT:
        raise ValueError(f"expected format {FORMAT}, found {spec['format']}")
    for section, keys in {
        "dataset": ("name", "classes", "group", "mirror", "splits", "list_sha256"),
        "model": ("model", "pretrained", "weights_sha256", "activation"),
        "sampler": ("kind",),
    }.items():
        for key in keys:
            spec[section][key]
    _ = manifest["videos"], manifest["failed"]
    names = [entry["name"] for entry in manifest["shards"]]
    if len(set(names)) < len(names):
        raise ValueError("a shard is listed twice")
    for entry in manifest["shards"]:
        _ = entry["sha256"], entry["videos"], entry["failed"]
        number = str(entry["name"]).removeprefix(f"{entry['split']}-").removesuffix(".h5")
        if not number.isdecimal() or entry["name"] != shard_name(entry["split"], int(number)):
            raise ValueError(f"{entry['name']!r} is not the name of a shard of split {entry['split']!r}")


def state_of(path: Path) -> State:
    """All that changes when a file does; None if there is none."""
    try:
        about = path.lstat()
    except OSError:
        return None
    return about.st_size, about.st_mtime_ns, about.st_ino


def find_caches(root: Path) -> Iterator[Path]:
    """Finished caches under `root`, `<root>/<dataset>/<fingerprint>`, or under one of its datasets."""
    found = (manifest.parent for depth in ("*", "*/*") for manifest in root.glob(f"{depth}/manifest.json"))
    yield from sorted(found)


def read_shard(path: Path, verify: bool = False) -> Shard:
    """One shard, everything in it checked against the schema; with `verify`, every checksum too."""
    arrays = read_arrays(path, LAYOUT, MORE, FORMAT)
    pointers, rows, videos = arrays["video_ptr"], len(arrays["features"]), len(arrays["id"])
    if len(pointers) != videos + 1 or pointers[0] != 0 or pointers[-1] != rows or (np.diff(pointers) < 0).any():
        raise CacheError(f"{path}: video_ptr does not divide {rows} rows among {videos} videos")
    if ((np.diff(pointers) > 0) != (arrays["status"] != FAILED)).any():
        raise CacheError(f"{path}: status does not say which videos have rows")
    shard = Shard(
        features_RD=arrays["features"],
        frame_index_R=arrays["frame_index"],
        view_R=arrays["view"],
        video_ptr=pointers,
        label_N=arrays["label"],
        status_N=arrays["status"],
        id_N=decoded(arrays["id"], path),
        decoder_N=decoded(arrays["decoder"], path),
        error_N=decoded(arrays["error"], path),
        more={name: arrays[name] for name in MORE if name in arrays},
    )
    if verify and not np.array_equal(shard.checksums(), arrays["checksum"]):
        raise CacheError(f"{path}: features do not have the checksums stored with them")
    return shard


def _frame_set(shards: list[Shard], where: str) -> FrameSet:
    good = [shard.status_N != FAILED for shard in shards]
    count = sum(int(ok.sum()) for ok in good)
    if not count:
        raise CacheError(f"{where}: no video has features; the cache's ledger.jsonl says why")
    shapes = {shape for shard, ok in zip(shards, good, strict=True) for shape in _shapes(shard, ok)}
    if len(shapes) != 1:
        lengths = sorted(length for _, length in shapes)
        raise CacheError(f"{where}: videos have {lengths[0]} to {lengths[-1]} frames; training needs the same for all")
    views, frames = shapes.pop()
    rows = np.concatenate([shard.features_RD for shard in shards])
    return FrameSet(
        features_NVTD=unpack(rows).reshape(count, views, frames, rows.shape[1]),
        label_N=np.concatenate([shard.label_N[ok] for shard, ok in zip(shards, good, strict=True)]).astype(np.int64),
        id_N=tuple(chain.from_iterable(_kept_ids(shard, ok) for shard, ok in zip(shards, good, strict=True))),
        missing=sum(len(ok) for ok in good) - count,
    )


def _kept_ids(shard: Shard, ok: np.ndarray) -> Iterable[str]:
    return shard.id_N if ok.all() else compress(shard.id_N, ok)


def _shapes(shard: Shard, ok: np.ndarray) -> set[tuple[int, int]]:
    """Views and frames a view, of every video that has rows."""
    if not ok.any():
        return set()
    last = shard.video_ptr[1:][ok] - 1
    views, rows = shard.view_R[last] + 1, np.diff(shard.video_ptr)[ok]
    pairs = np.unique(views.astype(np.int64) << 32 | rows)
    return {(int(pair) >> 32, (int(pair) & 0xFFFFFFFF) // (int(pair) >> 32)) for pair in pairs}
