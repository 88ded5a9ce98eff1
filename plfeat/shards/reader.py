"""A cache folder in, `FrameSet`s out. Nothing a foreign or damaged file holds can make it read another file."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from plfeat.errors import CacheError, DataError, first_line
from plfeat.files import sha256_of
from plfeat.records import FrameSet
from plfeat.shards.schema import FEATURE_TYPES, FORMAT, LAYOUT, OK, Shard, fingerprint, shard_name


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

    def read(self, split: str) -> FrameSet:
        """All videos of a split that have features. Shards are hashed before they are opened."""
        entries = [entry for entry in self.manifest["shards"] if entry["split"] == split]
        if not entries:
            splits = sorted({entry["split"] for entry in self.manifest["shards"]})
            raise DataError(f"cache {self.path}: no split {split!r}; it holds {', '.join(splits)}")
        shards = []
        for entry in entries:
            path = self.path / "shards" / entry["name"]
            found = sha256_of(path) if path.is_file() and not path.is_symlink() else "no file"
            if found != entry["sha256"]:
                raise CacheError(
                    f"{path}: expected sha256 {entry['sha256'][:12]}…, found {found[:12]}; "
                    "run the same `plfeat extract` again"
                )
            shards.append(read_shard(path))
        return _frame_set(shards, f"cache {self.path}, split {split!r}")


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
        spec, manifest = json.loads(spec_path.read_text()), json.loads(manifest_path.read_text())
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
        "dataset": ("name", "classes", "group", "mirror", "list_sha256"),
        "model": ("model", "pretrained", "weights_sha256", "activation"),
        "sampler": ("frames",),
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


def find_caches(root: Path) -> Iterator[Path]:
    """Finished caches under `root`, `<root>/<dataset>/<fingerprint>`."""
    yield from sorted(manifest.parent for manifest in root.glob("*/*/manifest.json"))


def read_shard(path: Path, verify: bool = False) -> Shard:
    """One shard, every dataset checked against the schema before it is touched; with `verify`, every checksum too."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            if file.attrs.get("plfeat_format") != FORMAT:
                raise CacheError(f"{path}: expected shard format {FORMAT}, found {file.attrs.get('plfeat_format')}")
            located = {name: _locate(file, name, path) for name in LAYOUT}
    except OSError as error:
        raise CacheError(f"{path}: not a readable HDF5 file ({first_line(error)})") from error
    arrays = {name: _map(path, *where) for name, where in located.items()}
    _check_sizes(arrays, path)
    try:
        ids, errors = ([text.decode() for text in arrays[name].tolist()] for name in ("id", "error"))
    except UnicodeDecodeError as error:
        raise CacheError(f"{path}: a name in it is not UTF-8") from error
    shard = Shard(
        features_RD=arrays["features"],
        frame_index_R=arrays["frame_index"],
        view_R=arrays["view"],
        video_ptr=arrays["video_ptr"],
        label_N=arrays["label"],
        status_N=arrays["status"],
        id_N=tuple(ids),
        error_N=tuple(errors),
    )
    if verify and not np.array_equal(shard.checksums(), arrays["checksum"]):
        raise CacheError(f"{path}: features do not have the checksums stored with them")
    return shard


Where = tuple[np.dtype[Any], tuple[int, ...], int | None]


def _locate(file: h5py.File, name: str, path: Path) -> Where:
    """dtype, shape and byte offset of a dataset that lies contiguously in this very file."""
    kind, axes = LAYOUT[name]
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise CacheError(f"{path}: {name} is missing or a link; a shard holds its own data")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external or dataset.chunks:
        raise CacheError(f"{path}: {name} is not a contiguous dataset of this file")
    wrong_type = dataset.dtype.kind != kind or (name == "features" and dataset.dtype.name not in FEATURE_TYPES)
    if wrong_type or len(dataset.shape) != len(axes):
        raise CacheError(f"{path}: {name} is {dataset.dtype} {dataset.shape}, expected kind {kind!r} with axes {axes}")
    return dataset.dtype, dataset.shape, dataset.id.get_offset()


def _map(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...], offset: int | None) -> np.ndarray:
    size = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if size == 0:
        return np.empty(shape, dtype)
    if offset is None or offset + size > path.stat().st_size:
        raise CacheError(f"{path}: a dataset of {size} bytes does not lie within the file")
    return np.memmap(path, dtype, "r", offset, shape)


def _check_sizes(arrays: dict[str, np.ndarray], path: Path) -> None:
    sizes: dict[str, int] = {}
    for name, (_, axes) in LAYOUT.items():
        for axis, length in zip(axes, arrays[name].shape, strict=True):
            if sizes.setdefault(axis, length) != length:
                raise CacheError(f"{path}: {name} has {length} along {axis}, expected {sizes[axis]}")
    pointers = arrays["video_ptr"]
    if sizes["P"] != sizes["N"] + 1 or pointers[0] != 0 or pointers[-1] != sizes["R"] or (np.diff(pointers) < 0).any():
        raise CacheError(f"{path}: video_ptr does not divide {sizes['R']} rows among {sizes['N']} videos")
    if ((np.diff(pointers) > 0) != (arrays["status"] == OK)).any():
        raise CacheError(f"{path}: status does not say which videos have rows")


def _frame_set(shards: list[Shard], where: str) -> FrameSet:
    good = [shard.status_N == OK for shard in shards]
    count = sum(int(ok.sum()) for ok in good)
    lengths = {int(n) for shard, ok in zip(shards, good, strict=True) for n in np.diff(shard.video_ptr)[ok]}
    if not count:
        raise CacheError(f"{where}: no video has features; the cache's ledger.jsonl says why")
    if len(lengths) != 1:
        raise CacheError(f"{where}: videos have {sorted(lengths)} frames; training needs the same number for all")
    (frames,) = lengths
    features = np.concatenate([shard.features_RD for shard in shards])
    return FrameSet(
        features_NTD=features.reshape(count, frames, features.shape[1]),
        label_N=np.concatenate([shard.label_N[ok] for shard, ok in zip(shards, good, strict=True)]).astype(np.int64),
        id_N=tuple(
            id for shard, ok in zip(shards, good, strict=True) for id, keep in zip(shard.id_N, ok, strict=True) if keep
        ),
        missing=sum(len(ok) for ok in good) - count,
    )
