"""Memory that two processes share: frames are handed over without being copied or pickled."""

import mmap
import os
import tempfile

import numpy as np

from plfeat.video.decode import Frames

_SMALL = 64 << 20  # bytes that may stay allocated for the next video, however little that needs


class Slot:
    """An unnamed file in memory, so that nothing is left behind however a process ends. It grows when a video needs
    more, and is made smaller again after one very large video."""

    def __init__(self, descriptor: int | None = None) -> None:
        self.descriptor = _unnamed_file() if descriptor is None else descriptor
        self._map: mmap.mmap | None = None

    def array(self, shape: tuple[int, ...]) -> Frames:
        """The start of the memory as uint8 `shape`. Valid until the next call."""
        size = max(1, int(np.prod(shape)))
        held = os.fstat(self.descriptor).st_size
        if not size <= held <= max(_SMALL, 4 * size):
            os.ftruncate(self.descriptor, size)
            self._map = None
        if self._map is None or len(self._map) < size:
            self._map = mmap.mmap(self.descriptor, os.fstat(self.descriptor).st_size)
        return np.frombuffer(self._map, np.uint8, int(np.prod(shape))).reshape(shape)

    def close(self) -> None:
        self._map = None  # unmapped once no array points into it
        os.close(self.descriptor)


def _unnamed_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("plfeat frames")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
