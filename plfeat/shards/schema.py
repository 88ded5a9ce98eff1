"""What a shard holds: one take of some videos. The format in words is in `cache/README.md`.

Shapes: R frames (all videos of the shard, end to end), N videos, D feature width, W width before the projection,
Q patches of a frame. `X` is what is kept of a frame: D, W, or Q and W.
"""

import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plfeat.errors import CacheError
from plfeat.recipe import Take
from plfeat.shards.hdf5 import FLOATS, Layout

FORMAT = 3
OK, FAILED, DOUBTFUL = 0, 1, 2  # doubtful: it has features, but its decoder spoke of damage

FEATURES: dict[str, Layout] = {
    "features": {"features": (FLOATS, "RD")},
    "pre": {"features": (FLOATS, "RW")},
    "patch": {"features": (FLOATS, "RQW")},
}
"""By a take's output."""

LAYOUT: Layout = {
    "frame_index": ("int32", "R"),
    "video_ptr": ("int64", "P"),  # P = N + 1
    "status": ("uint8", "N"),
    "checksum": ("uint32", "N"),
    "video": ("S", "N"),
    "decoder": ("S", "N"),
    "error": ("S", "N"),
}
WORDS = ("take", "recipe", "maker")
"""A shard's attributes. Its seal is of them and of everything but the features' bytes, whose checksums are among it."""


@dataclass(frozen=True)
class Shard:
    """Video n owns the rows `video_ptr[n]:video_ptr[n+1]`; a failed video owns none and has an error."""

    features_RX: NDArray[Any]
    frame_index_R: NDArray[np.int32]
    video_ptr: NDArray[np.int64]
    status_N: NDArray[np.uint8]
    video_N: tuple[str, ...]
    decoder_N: tuple[str, ...]
    error_N: tuple[str, ...]
    take: Take
    recipe: str  # the fingerprint
    maker: Mapping[str, Any]  # what made it: versions, device, batch

    @property
    def name(self) -> str:
        """Of its file. Two shards of the same videos, of which the same ones failed, have the same name."""
        told = json.dumps([self.video_N, self.status_N.tolist(), dict(self.maker)], sort_keys=True)
        return f"{self.take.name}-{hashlib.sha256(told.encode()).hexdigest()[:12]}.h5"

    @property
    def counts(self) -> dict[str, int]:
        return {
            "videos": len(self.video_N),
            "rows": len(self.features_RX),
            "failed": int((self.status_N == FAILED).sum()),
            "doubtful": int((self.status_N == DOUBTFUL).sum()),
        }

    def checksum(self, number: int) -> int:
        """CRC-32 of the bytes of a video's features."""
        start, end = self.video_ptr[number : number + 2].tolist()
        return zlib.crc32(np.ascontiguousarray(self.features_RX[start:end]).data)

    def checksums(self) -> NDArray[np.uint32]:
        rows = np.ascontiguousarray(self.features_RX)
        return np.array([zlib.crc32(rows[a:b].data) for a, b in pairwise(self.video_ptr.tolist())], np.uint32)


_NAME = re.compile(r"(.{1,120})-([0-9a-f]{12})\.h5")


def take_of(name: str) -> Take | None:
    """The take that a file's name says; None if it is not the name of a shard."""
    found = _NAME.fullmatch(name)
    try:
        return Take.named(found[1]) if found else None
    except CacheError:
        return None
