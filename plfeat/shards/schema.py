"""What a shard holds. The format in words is in `cache/README.md`.

Shapes: R frames (all videos of the shard, end to end), N videos, D feature width.
"""

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plfeat.files import sha256_of_json

FORMAT = 1
OK, FAILED = 0, 1
FEATURE_TYPES = ("float16", "float32")

LAYOUT: dict[str, tuple[str, str]] = {  # name: kind of dtype, axes
    "features": ("f", "RD"),
    "frame_index": ("i", "R"),
    "view": ("i", "R"),
    "video_ptr": ("i", "P"),  # P = N + 1
    "label": ("i", "N"),
    "status": ("u", "N"),
    "checksum": ("u", "N"),
    "id": ("S", "N"),
    "error": ("S", "N"),
}


@dataclass(frozen=True)
class Shard:
    """Video n owns the rows `video_ptr[n]:video_ptr[n+1]`; a failed video owns none and has an error."""

    features_RD: NDArray[np.floating[Any]]
    frame_index_R: NDArray[np.int32]
    view_R: NDArray[np.int32]
    video_ptr: NDArray[np.int64]
    label_N: NDArray[np.int64]
    status_N: NDArray[np.uint8]
    id_N: tuple[str, ...]
    error_N: tuple[str, ...]

    def checksums(self) -> NDArray[np.uint32]:
        """CRC-32 of each video's feature bytes."""
        rows = np.ascontiguousarray(self.features_RD)
        return np.array(
            [zlib.crc32(rows[a:b].tobytes()) for a, b in zip(self.video_ptr, self.video_ptr[1:], strict=False)],
            dtype=np.uint32,
        )


def shard_name(split: str, index: int) -> str:
    return f"{split}-{index:05d}.h5"


def fingerprint(spec: dict[str, Any]) -> str:
    """Sixteen hex digits that change when anything that made the features changes."""
    return sha256_of_json(spec)[:16]
