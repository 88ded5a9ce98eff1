"""The only place that opens a video: a path in, chosen frames out as uint8 RGB. Never imports torch."""

import importlib.metadata
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from plfeat.errors import UsageError, first_line

if TYPE_CHECKING:
    import av

Frames = NDArray[np.uint8]
Choose = Callable[[int], NDArray[np.int64]]


class DecodeError(Exception):
    """This video cannot be decoded; the message says why. A run goes on without it."""


def default_decoder() -> str:
    """decord where it is installed (it has wheels for x86-64 only), else PyAV."""
    return "decord" if importlib.util.find_spec("decord") else "pyav"


def decoder_version(name: str) -> str:
    try:
        return importlib.metadata.version({"decord": "decord", "pyav": "av"}[name])
    except importlib.metadata.PackageNotFoundError:
        raise UsageError(
            f"decoder {name} is not installed; install it or use --set decoder={default_decoder()}"
        ) from None


def read_frames(path: Path, choose: Choose, decoder: str) -> tuple[Frames, NDArray[np.int64]]:
    """`choose(number of frames)` says which indices, in rising order; returns `[K, H, W, 3]` and those indices."""
    if not path.is_file():
        raise DecodeError("the file does not exist")
    if path.stat().st_size == 0:
        raise DecodeError("the file is empty")
    try:
        return {"decord": _decord, "pyav": _pyav}[decoder](path, choose)
    except DecodeError:
        raise
    except Exception as error:  # both libraries raise a zoo of types for a broken file
        raise DecodeError(f"{decoder}: {_reason(error, path)}") from error


def _reason(error: Exception, path: Path) -> str:
    """The same text for the same file wherever it lies and whenever it is read."""
    said = re.sub(r"^\[\d+:\d+:\d+\] \S+: ", "", first_line(error))
    return said.replace(str(path), path.name)


def _decord(path: Path, choose: Choose) -> tuple[Frames, NDArray[np.int64]]:
    import decord

    with _silenced():
        reader = decord.VideoReader(str(path), num_threads=1)
        if len(reader) == 0:
            raise DecodeError("the video has no frames")
        indices = choose(len(reader))
        return reader.get_batch(indices).asnumpy(), indices


@contextmanager
def _silenced() -> Iterator[None]:
    """decord and its FFmpeg write to the process's own stderr, past Python, whatever level is set."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _pyav(path: Path, choose: Choose) -> tuple[Frames, NDArray[np.int64]]:
    """Two passes, so that only the chosen frames are ever held."""
    indices = choose(sum(1 for _ in _av_frames(path)))
    wanted = set(indices.tolist())
    pictures = {i: frame.to_ndarray(format="rgb24") for i, frame in enumerate(_av_frames(path)) if i in wanted}
    return np.stack([pictures[i] for i in indices.tolist()]), indices


def _av_frames(path: Path) -> "Iterator[av.VideoFrame]":
    import av

    count = 0
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise DecodeError("the file has no video stream")
        container.streams.video[0].thread_type = "NONE"
        for frame in container.decode(video=0):
            count += 1
            yield frame
    if not count:
        raise DecodeError("the video has no frames")
