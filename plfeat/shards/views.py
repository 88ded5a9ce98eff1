"""Several takes of the same videos, left in the store until they are asked for: for features that do not fit in memory.

Shapes: N videos, K those that are asked for, V views, T frames of each, X what is kept of a frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plfeat.errors import CacheError, DataError
from plfeat.shards.store import Rows


@dataclass(frozen=True)
class Views:
    """`rows` has an entry for each view, all of the same videos; `place_N` says which of these are meant. Every one of
    them has features in every view."""

    rows: tuple[Rows, ...]
    place_N: NDArray[np.int64]

    @staticmethod
    def of(rows: Sequence[Rows]) -> "Views":
        """All the videos that have features in every view."""
        if len({each.shape for each in rows}) > 1:
            raise DataError(f"{rows[0].where}: its views have other frames: {sorted({each.shape for each in rows})}")
        return Views(tuple(rows), np.flatnonzero(np.logical_and.reduce([each.has for each in rows])))

    def __len__(self) -> int:
        return len(self.place_N)

    def __getitem__(self, some: NDArray[np.int64] | NDArray[np.bool_] | slice) -> "Views":
        """The same of fewer videos; nothing is read."""
        return Views(self.rows, self.place_N[some])

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self), len(self.rows), *self.rows[0].shape

    @property
    def nbytes(self) -> int:
        """Of all features in memory."""
        return int(np.prod(self.shape, dtype=object)) * self.rows[0].dtype.itemsize

    def gather(self, video_K: NDArray[np.int64], view_K: NDArray[np.int64]) -> NDArray[Any]:
        """One view of each video `[K, T, X]`; a video may be asked for more than once. Checksums are checked on the
        way, and that all features are numbers."""
        out = self.rows[0].empty(len(video_K))
        for view in np.unique(view_K).tolist():
            mine = np.flatnonzero(view_K == view)
            place = self.place_N[video_K[mine]]
            out[mine] = self.rows[view].gather(place)
            bad = ~np.isfinite(out[mine]).all(axis=tuple(range(1, out.ndim)))
            if bad.any():
                raise CacheError(
                    f"{self.rows[view].where}: the features of video {self.rows[view].video[place[bad.argmax()]]} are "
                    "not numbers; extract again, in float32 if float16 was too small"
                )
        return out

    def read(self, first: int = 0, last: int | None = None) -> NDArray[Any]:
        """All views of the videos from `first` to before `last`, `[K, V, T, X]`."""
        video_K, views = np.arange(len(self))[first:last], len(self.rows)
        features = self.gather(video_K.repeat(views), np.tile(np.arange(views), len(video_K)))
        return features.reshape(len(video_K), views, *features.shape[1:])
