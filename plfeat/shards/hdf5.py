"""Named arrays in, one HDF5 file out, and back. The only place that touches HDF5.

Every array is contiguous and unfiltered, so that it can be mapped and read at the speed of memory. Nothing that a
foreign or damaged file holds can make us read another file, run out of memory or crash.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from plfeat.errors import CacheError, first_line

Arrays = dict[str, NDArray[Any]]
Layout = dict[str, tuple[str, str]]
"""For each name: the kinds of dtype it may have, and its axes, a letter each. Equal letters have equal lengths."""

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


def read_arrays(
    path: Path, layout: Layout, optional: Layout, version: int, words: Collection[str] = ()
) -> tuple[Arrays, dict[str, str]]:
    """Maps what the layout names, each checked before it is touched; and the attributes that are asked for."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            found = file.attrs.get("plfeat_format")
            if not isinstance(found, np.integer) or found != version:
                raise CacheError(f"{path}: expected format {version}, found {found!s:.20}")
            said = {name: _word(file, name, path) for name in words}
            known = layout | {name: about for name, about in optional.items() if name in file}
            located = {name: _locate(file, name, about, path) for name, about in known.items()}
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise CacheError(f"{path}: not a readable HDF5 file ({first_line(error)})") from error
    arrays = {name: _map(path, *where) for name, where in located.items()}
    lengths: dict[str, int] = {}
    for name, array in arrays.items():
        for axis, length in zip(known[name][1], array.shape, strict=True):
            if lengths.setdefault(axis, length) != length:
                raise CacheError(f"{path}: {name} has {length} along {axis}, expected {lengths[axis]}")
    return arrays, said


def _word(file: h5py.File, name: str, path: Path) -> str:
    """An attribute that is a short text."""
    text = file.attrs.get(name)
    if not isinstance(text, np.bytes_) or len(text) > _LONGEST:
        raise CacheError(f"{path}: its attribute {name} is missing or no text")
    return text.decode()


def fixed_width(texts: tuple[str, ...]) -> NDArray[Any]:
    encoded = [text.encode() for text in texts]
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


def _locate(
    file: h5py.File, name: str, about: tuple[str, str], path: Path
) -> tuple[np.dtype[Any], tuple[int, ...], int | None]:
    """dtype, shape and byte offset of a dataset that lies contiguously in this very file."""
    kinds, axes = about
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise CacheError(f"{path}: {name} is missing or a link; a shard holds its own data")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external or dataset.chunks:
        raise CacheError(f"{path}: {name} is not a contiguous dataset of this file")
    dtype = dataset.dtype
    odd = dtype.hasobject or dtype.names or ("f" in kinds and dtype.name not in STORED_AS.values())
    if odd or dtype.kind not in kinds or len(dataset.shape) != len(axes):
        raise CacheError(f"{path}: {name} is {dtype} {dataset.shape}, expected kind {kinds!r} with axes {axes}")
    return dtype, dataset.shape, dataset.id.get_offset()


def _map(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...], offset: int | None) -> NDArray[Any]:
    size = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if size == 0:
        return np.empty(shape, dtype)
    if offset is None or offset + size > path.stat().st_size:
        raise CacheError(f"{path}: a dataset of {size} bytes does not lie within the file")
    return np.asarray(np.memmap(path, dtype, "r", offset, shape))
