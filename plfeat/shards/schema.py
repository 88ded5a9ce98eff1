"""What a shard holds. The format in words is in `cache/README.md`.

Shapes: R frames (all videos of the shard, end to end), N videos, D feature width, W width before the projection,
Q patches of a frame.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plfeat.files import sha256_of_json
from plfeat.shards.hdf5 import Layout

FORMAT = 2
OK, FAILED, DOUBTFUL = 0, 1, 2  # doubtful: it has features, but its decoder spoke of damage

LAYOUT: Layout = {
    "features": ("fu", "RD"),
    "frame_index": ("i", "R"),
    "view": ("i", "R"),
    "video_ptr": ("i", "P"),  # P = N + 1
    "label": ("i", "N"),
    "status": ("u", "N"),
    "checksum": ("u", "N"),
    "id": ("S", "N"),
    "decoder": ("S", "N"),
    "error": ("S", "N"),
}
MORE: Layout = {"pre": ("fu", "RW"), "patch": ("fu", "RQW")}
"""What a shard may hold besides."""


@dataclass(frozen=True)
class Shard:
    """Video n owns the rows `video_ptr[n]:video_ptr[n+1]`; a failed video owns none and has an error."""

    features_RD: NDArray[Any]
    frame_index_R: NDArray[np.int32]
    view_R: NDArray[np.int32]
    video_ptr: NDArray[np.int64]
    label_N: NDArray[np.int64]
    status_N: NDArray[np.uint8]
    id_N: tuple[str, ...]
    decoder_N: tuple[str, ...]
    error_N: tuple[str, ...]
    more: dict[str, NDArray[Any]] = field(default_factory=dict)

    def checksums(self) -> NDArray[np.uint32]:
        """CRC-32 of the bytes of each video's features, of what is kept besides, of its frames and views, its label."""
        by_row = (self.features_RD, *self.more.values(), self.frame_index_R, self.view_R)
        arrays = [np.ascontiguousarray(rows) for rows in by_row]
        labels, checksums = np.ascontiguousarray(self.label_N), []
        for number, (start, end) in enumerate(pairwise(self.video_ptr.tolist())):
            value = 0
            for rows in arrays:
                value = zlib.crc32(rows[start:end].data, value)
            checksums.append(zlib.crc32(labels[number : number + 1].data, value))
        return np.array(checksums, np.uint32)


def shard_name(split: str, index: int) -> str:
    return f"{split}-{index:05d}.h5"


def expected_shards(spec: dict[str, Any]) -> dict[str, tuple[str, int]]:
    """The name of every shard that a spec leads to, with its split and how many videos it holds."""
    size = spec["shard"]
    return {
        shard_name(split, number): (split, min(size, videos - number * size))
        for split, videos in spec["dataset"]["splits"].items()
        for number in range(-(-videos // size))
    }


def fingerprint(spec: dict[str, Any]) -> str:
    """Sixteen hex digits that change when anything that made the features changes. What was measured on the way is not
    part of it."""
    return sha256_of_json({key: value for key, value in spec.items() if key != "measured"})[:16]


def differences(spec: Any, other: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Every dotted key in which two specs differ, with both values."""
    for key in sorted(spec.keys() | other.keys()):
        here, there = spec.get(key), other.get(key)
        if isinstance(here, dict) and isinstance(there, dict):
            yield from differences(here, there, f"{prefix}{key}.")
        elif here != there and prefix + key != "measured":
            yield prefix + key, here, there
