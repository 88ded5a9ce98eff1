"""A shard's file in, a `Shard` out, whose features stay on disk until they are asked for."""

import json
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from plfeat.errors import CacheError
from plfeat.shards.hdf5 import Arrays, decoded, read_arrays, seal
from plfeat.shards.room import KEY
from plfeat.shards.schema import DOUBTFUL, FAILED, FEATURES, FORMAT, LAYOUT, WORDS, Shard, take_of

State = tuple[int, int, int] | None


def read_shard(path: Path) -> tuple[Shard, str, np.ndarray]:
    """A shard, its seal, and the checksums that its features should have. Everything but the features is checked."""
    take = take_of(path.name)
    if take is None:
        raise CacheError(f"{path}: not the name of a shard")
    arrays, said = read_arrays(path, LAYOUT | FEATURES[take.output], FORMAT, (*WORDS, "seal"), ["features"])
    words = {name: said[name] for name in WORDS}
    if words["take"] != take.name:
        raise CacheError(f"{path}: holds the take {words['take'][:80]!r}, its name says {take.name!r}")
    if seal(words, arrays, ["features"]) != said["seal"]:
        raise CacheError(f"{path}: its contents do not have the seal stored with them")
    _check(arrays, path)
    keys, decoders, errors = (tuple(map(sys.intern, decoded(arrays[of], path))) for of in ("video", "decoder", "error"))
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
        video_ptr=arrays["video_ptr"],
        status_N=arrays["status"],
        video_N=keys,
        decoder_N=decoders,
        error_N=errors,
        take=take,
        recipe=words["recipe"],
        maker=maker,
    )
    if shard.name != path.name:
        raise CacheError(f"{path}: its name is not that of what it holds, {shard.name}")
    return shard, said["seal"], arrays["checksum"]


def _check(arrays: Arrays, path: Path) -> None:
    pointers, status, rows = arrays["video_ptr"], arrays["status"], len(arrays["features"])
    whole = len(pointers) == len(status) + 1 and pointers[0] == 0 and pointers[-1] == rows
    if not whole or pointers.min() < 0 or pointers.max() > rows or (np.diff(pointers) < 0).any():
        raise CacheError(f"{path}: video_ptr does not divide {rows} rows among {len(status)} videos")
    if (status > DOUBTFUL).any() or ((np.diff(pointers) > 0) != (status != FAILED)).any():
        raise CacheError(f"{path}: status does not say which videos have rows")


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
