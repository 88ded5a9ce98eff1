"""Named arrays in, one HDF5 file out, and back. The only place that touches HDF5.

Every array is contiguous and unfiltered, so that it can be read at the speed of memory. Nothing that a foreign or
damaged file holds can make us read another file, run out of memory or crash.
"""

import hashlib
import json
import math
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import h5py
import numpy as np
from numpy.typing import NDArray

from plfeat.errors import CacheError, first_line
from plfeat.shards.room import opened_file

Arrays = dict[str, NDArray[Any]]
Layout = dict[str, tuple[str, str]]
"""For each name: the dtypes it may have (`S` is text of any width), and its axes, a letter each. Equal letters have
equal lengths."""

FLOATS = "float16 float32 uint16"
STORED_AS = {"float16": "float16", "float32": "float32", "bfloat16": "uint16"}
"""Feature types, and what HDF5 stores them as: it has no bfloat16."""


_LONGEST = 65536  # bytes of an attribute


def as_bytes(arrays: Arrays, version: int, words: Mapping[str, str] = MappingProxyType({})) -> bytes:
    """The whole file, made in memory: HDF5 crashes the process when a disk fills up under it. `words` become
    attributes."""
    with h5py.File("arrays", "w", driver="core", backing_store=False) as file:
        file.attrs["plfeat_format"] = version
        for name, text in words.items():
            file.attrs[name] = np.bytes_(text.encode())
        for name, array in arrays.items():
            file.create_dataset(name, data=array)
        file.flush()
        image: bytes = file.id.get_file_image()
        return image


def seal(words: Mapping[str, str], arrays: Mapping[str, Any], checked: Collection[str] = ()) -> str:
    """SHA-256 over attributes and arrays. Of the arrays whose bytes are `checked` otherwise: only what they are."""
    digest = hashlib.sha256(json.dumps(sorted(words.items())).encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype.str} {list(arrays[name].shape)}".encode())
        if name not in checked:
            digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class OnDisk:
    """An array in a file. Only the rows that are asked for are ever read, and no file stays open: a store has tens of
    thousands of them."""

    path: Path
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def row(self) -> int:
        """Bytes of a row."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        first, last, step = rows.indices(len(self))
        assert step == 1
        out = np.empty((max(0, last - first), *self.shape[1:]), self.dtype)
        self.read_into(out, [first])
        return out

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:] if dtype is None else self[:].astype(dtype)

    def read_into(self, out: NDArray[Any], starts: Collection[int]) -> None:
        """Fills `out`, which lies in memory end to end, with equally many rows from each start."""
        if not out.size:
            return
        content = out.reshape(-1).view(np.uint8).data
        size = len(content) // len(starts)
        with opened_file(self.path) as file:
            for number, start in enumerate(starts):
                piece = content[number * size : (number + 1) * size]
                if _read(file, piece, self.offset + start * self.row) < size:
                    raise CacheError(f"{self.path}: it is shorter than it was a moment ago")


def _read(file: int, piece: memoryview, offset: int) -> int:
    """The kernel gives at most 2 GiB at once."""
    done = 0
    while done < len(piece) and (got := os.preadv(file, [piece[done:]], offset + done)):
        done += got
    return done


def read_arrays(
    path: Path, layout: Layout, version: int, words: Collection[str], later: Collection[str] = (), most: int = 1 << 28
) -> tuple[Arrays, dict[str, str]]:
    """What the layout names, each checked before it is read; and the attributes that are asked for. Those for `later`
    are left on disk: an `OnDisk`. None of the others has `most` bytes or more."""
    with opened_file(path) as handle:
        size = os.fstat(handle).st_size
        try:
            with h5py.File(path, "r", locking=False) as file:
                found = _number(file, "plfeat_format", path)
                if found != version:
                    raise CacheError(f"{path}: expected format {version}, found {found}")
                said = {name: _word(file, name, path) for name in words}
                located = {name: _locate(file, name, about, path, size) for name, about in layout.items()}
        except CacheError:
            raise
        except Exception as error:  # whatever HDF5 makes of a damaged file
            raise CacheError(f"{path}: not a readable HDF5 file ({first_line(error)[:160]})") from error
    lengths: dict[str, int] = {}
    for name, array in located.items():
        for axis, length in zip(layout[name][1], array.shape, strict=True):
            if lengths.setdefault(axis, length) != length:
                raise CacheError(f"{path}: {name} has {length} along {axis}, expected {lengths[axis]}")
        if name not in later and math.prod(array.shape) * array.dtype.itemsize >= most:
            raise CacheError(f"{path}: {name} is {array.dtype.str} {array.shape}, larger than any should be")
    return {name: cast("NDArray[Any]", array) if name in later else array[:] for name, array in located.items()}, said


def _attribute(file: h5py.File, name: str, path: Path) -> Any:
    """One value of a size that is known before it is read."""
    there = h5py.h5a.exists(file.id, name.encode())
    about = h5py.h5a.open(file.id, name.encode()) if there else None
    if about is None or about.shape != () or about.dtype.kind not in "Siu" or about.dtype.itemsize > _LONGEST:
        raise CacheError(f"{path}: its attribute {name} is missing or not a short text or number")
    value = np.empty((), about.dtype)
    about.read(value)
    return value[()]


def _number(file: h5py.File, name: str, path: Path) -> int:
    value = _attribute(file, name, path)
    return int(value) if isinstance(value, np.integer) else -1


def _word(file: h5py.File, name: str, path: Path) -> str:
    value = _attribute(file, name, path)
    if not isinstance(value, np.bytes_):
        raise CacheError(f"{path}: its attribute {name} is no text")
    return value.decode()


def fixed_width(texts: tuple[str, ...]) -> NDArray[Any]:
    encoded = [text.encode(errors="backslashreplace") for text in texts]
    return np.array(encoded, dtype=f"S{max([1, *map(len, encoded)])}")


def decoded(array: NDArray[Any], path: Path) -> tuple[str, ...]:
    try:
        texts = tuple(b"\0".join(array.tolist()).decode().split("\0"))  # at once: there are hundreds of thousands
        return texts if len(texts) == len(array) else tuple(text.decode() for text in array.tolist())
    except UnicodeDecodeError as error:
        raise CacheError(f"{path}: a name in it is not UTF-8") from error


def pack(values: NDArray[np.float32], dtype: str) -> NDArray[Any]:
    """float32 to what is stored; bfloat16 is rounded to nearest even."""
    if dtype != "bfloat16":
        with np.errstate(over="ignore"):
            return values.astype(dtype)
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(values), np.uint32(0x7FC0), rounded).astype(np.uint16)


def unpack(stored: NDArray[Any]) -> NDArray[Any]:
    """What is stored to numbers: float16 and float32 as they are, bfloat16 as float32."""
    if stored.dtype != np.uint16:
        return stored
    return (stored.astype(np.uint32) << 16).view(np.float32)


def _locate(file: h5py.File, name: str, about: tuple[str, str], path: Path, size: int) -> OnDisk:
    """A dataset that lies contiguously in this very file, of so many bytes."""
    kinds, axes = about
    links = file.id.links
    if not links.exists(name.encode()) or links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
        raise CacheError(f"{path}: {name} is missing or a link; a shard holds its own data")
    dataset = h5py.h5d.open(file.id, name.encode())  # the layer below: a store may have thousands of shards
    made = dataset.get_create_plist()
    if made.get_layout() != h5py.h5d.CONTIGUOUS or made.get_external_count():
        raise CacheError(f"{path}: {name} is not a contiguous dataset of this file")
    dtype, shape = dataset.dtype, dataset.shape
    plain = not (dtype.hasobject or dtype.names) and (dtype.kind if dtype.kind == "S" else dtype.name) in kinds.split()
    if not plain or not dtype.isnative or shape is None or len(shape) != len(axes) or not all(shape[1:]):
        raise CacheError(f"{path}: {name} is {dtype.str} {shape}, expected {kinds} with axes {', '.join(axes)}")
    length = math.prod(shape) * dtype.itemsize
    offset = dataset.get_offset() or 0
    if length and (offset == 0 or offset + length > size):
        raise CacheError(f"{path}: {name}, of {length} bytes, does not lie within the file")
    return OnDisk(path, dtype, shape, offset)
