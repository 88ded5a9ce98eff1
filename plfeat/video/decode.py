"""The only place that opens a video: a path in, chosen frames out as uint8 RGB. Never imports torch."""

import importlib.metadata
import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plfeat.errors import UsageError

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
        raise UsageError(f"decoder {name} is not installed; install it or use --decoder {default_decoder()}") from None


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
        raise DecodeError(
            f"{decoder}: {str(error).strip().splitlines()[0] if str(error).strip() else repr(error)}"
        ) from error


def _decord(path: Path, choose: Choose) -> tuple[Frames, NDArray[np.int64]]:
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    reader = decord.VideoReader(str(path), num_threads=1)
    if len(reader) == 0:
        raise DecodeError("the video has no frames")
    indices = choose(len(reader))
    return reader.get_batch(indices).asnumpy(), indices


def _pyav(path: Path, choose: Choose) -> tuple[Frames, NDArray[np.int64]]:
    import av

    with av.open(str(path)) as container:
        if not container.streams.video:
            raise DecodeError("the file has no video stream")
        container.streams.video[0].thread_type = "NONE"
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    if not frames:
        raise DecodeError("the video has no frames")
    indices = choose(len(frames))
    return np.stack([frames[i] for i in indices]), indices
