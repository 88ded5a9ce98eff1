"""How fast features are read from a store, as a share of what copying memory takes. The store is made for it."""

import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from plfeat.bench.timing import Ways, rounds, timed
from plfeat.recipe import Recipe, Take
from plfeat.records import Tick, silent
from plfeat.shards.growth import Growth
from plfeat.shards.schema import OK, Shard
from plfeat.shards.store import Store
from plfeat.shards.views import Views

TAKE = Take("centre", 8)
_VIDEOS, _WIDTH = 20_000, 512  # 164 MB in float16
_SHARD, _BATCH = 2048, 64  # videos
_RECIPE = Recipe(
    encoder={"model": "made up", "image_sha256": "0" * 64, "activation": "gelu"},
    preprocess={},
    decoder="pyav",
    dtype="float16",
    compute="float32",
)


@dataclass(frozen=True)
class ReadRates:
    """Medians over the repeats; all files are in the page cache. `first_of_memcpy` with every checksum looked at."""

    bytes: int
    memcpy_bytes: float  # a second
    of_memcpy: float  # all videos read again
    first_of_memcpy: float
    random_videos: float  # a second, one by one
    batched_videos: float  # a second, in batches that a training would ask for


def bench_read(repeats: int, tick: Tick = silent) -> ReadRates:
    with tempfile.TemporaryDirectory() as folder:
        store, keys = made_up_store(Path(folder), _VIDEOS)
        rows = store.rows(keys, TAKE)
        first = timed(rows.read)
        features, order = rows.read(), np.random.default_rng(0).permutation(len(keys))
        batches, views = np.array_split(order, len(order) // _BATCH), Views.of([rows])
        ways: Ways = {
            "memcpy": features.copy,
            "read": rows.read,
            "one": lambda: [rows.one(number).copy() for number in order.tolist()],
            "batch": lambda: [views.gather(some, np.zeros_like(some)) for some in batches],
        }
        seconds = {name: spent[1:] for name, spent in rounds(ways, repeats + 1, tick).items()}  # the first warms up
    memcpy = statistics.median(seconds["memcpy"])
    return ReadRates(
        bytes=features.nbytes,
        memcpy_bytes=features.nbytes / memcpy,
        of_memcpy=statistics.median(c / r for c, r in zip(seconds["memcpy"], seconds["read"], strict=True)),
        first_of_memcpy=memcpy / first,
        random_videos=len(keys) / statistics.median(seconds["one"]),
        batched_videos=len(keys) / statistics.median(seconds["batch"]),
    )


def made_up_store(folder: Path, videos: int) -> tuple[Store, list[str]]:
    """A store of random features, and its videos."""
    keys, rng = [f"{number:032x}" for number in range(videos)], np.random.default_rng(0)
    with Growth(folder / "store", _RECIPE) as growth:
        for start in range(0, videos, _SHARD):
            growth.add(_shard(keys[start : start + _SHARD], rng))
        return growth.finish(), keys


def _shard(keys: Sequence[str], rng: np.random.Generator) -> Shard:
    rows = len(keys) * TAKE.frames
    return Shard(
        features_RX=rng.standard_normal((rows, _WIDTH), np.float32).astype(np.float16),
        frame_index_R=np.zeros(rows, np.int32),
        video_ptr=np.arange(0, rows + 1, TAKE.frames, dtype=np.int64),
        status_N=np.full(len(keys), OK, np.uint8),
        video_N=tuple(keys),
        decoder_N=("",) * len(keys),
        error_N=("",) * len(keys),
        take=TAKE,
        recipe=_RECIPE.fingerprint,
        maker={},
    )
