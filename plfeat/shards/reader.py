"""A shard's file in, a `Shard` out, mapped. Nothing that a foreign or damaged file holds makes it read another file."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from plfeat.errors import CacheError
from plfeat.shards.hdf5 import decoded, read_arrays
from plfeat.shards.room import KEY
from plfeat.shards.schema import DOUBTFUL, FAILED, FEATURES, FORMAT, LAYOUT, WORDS, Shard, seal, take_of

State = tuple[int, int, int] | None


def read_shard(path: Path) -> tuple[Shard, str, np.ndarray]:
    """A shard, its seal, and the checksums that its features should have. Everything but the features is checked."""
    take = take_of(path.name)
    if take is None:
        raise CacheError(f"{path}: not the name of a shard")
    arrays, words = read_arrays(path, LAYOUT | FEATURES[take.output], {}, FORMAT, WORDS)
    if words["take"] != take.name:
        raise CacheError(f"{path}: holds the take {words['take'][:80]!r}, its name says {take.name!r}")
    if seal(words, arrays) != words["seal"]:
        raise CacheError(f"{path}: its contents do not have the seal stored with them")
    pointers, rows, videos = arrays["video_ptr"], len(arrays["features"]), len(arrays["video"])
    if len(pointers) != videos + 1 or pointers[0] != 0 or pointers[-1] != rows or (np.diff(pointers) < 0).any():
        raise CacheError(f"{path}: video_ptr does not divide {rows} rows among {videos} videos")
    status = arrays["status"]
    if (status > DOUBTFUL).any() or ((np.diff(pointers) > 0) != (status != FAILED)).any():
        raise CacheError(f"{path}: status does not say which videos have rows")
    keys = decoded(arrays["video"], path)
    if odd := next(_odd(keys), None):
        raise CacheError(f"{path}: {odd}")
    try:
        maker = json.loads(words["maker"])
        assert isinstance(maker, dict)
    except (ValueError, RecursionError, AssertionError):
        raise CacheError(f"{path}: its attribute maker is no JSON object") from None
    shard = Shard(
        features_RX=arrays["features"],
        frame_index_R=arrays["frame_index"],
        video_ptr=pointers,
        status_N=status,
        video_N=keys,
        decoder_N=decoded(arrays["decoder"], path),
        error_N=decoded(arrays["error"], path),
        take=take,
        recipe=words["recipe"],
        maker=maker,
    )
    return shard, words["seal"], arrays["checksum"]


def _odd(keys: tuple[str, ...]) -> Iterator[str]:
    if len(set(keys)) < len(keys):
        yield "a video stands in it twice"
    yield from (f"{key[:80]!r} is not a video" for key in islice((k for k in keys if not KEY.fullmatch(k)), 1))


def state_of(path: Path) -> State:
    """All that changes when a file does; None if there is none."""
    try:
        about = path.lstat()
    except OSError:
        return None
    return about.st_size, about.st_mtime_ns, about.st_ino
