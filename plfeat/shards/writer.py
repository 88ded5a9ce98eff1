"""`Shard`s in, HDF5 files out. A shard is on disk whole or not at all, and the same shard is always the same bytes."""

import json

import numpy as np

from plfeat.shards.hdf5 import as_bytes, fixed_width, seal
from plfeat.shards.schema import FORMAT, Shard


def shard_bytes(shard: Shard) -> bytes:
    arrays = {
        "features": np.asarray(shard.features_RX),
        "frame_index": shard.frame_index_R.astype(np.int32),
        "video_ptr": shard.video_ptr.astype(np.int64),
        "status": shard.status_N.astype(np.uint8),
        "checksum": shard.checksums(),
        "video": fixed_width(shard.video_N),
        "decoder": fixed_width(shard.decoder_N),
        "error": fixed_width(shard.error_N),
    }
    words = {
        "take": shard.take.name,
        "recipe": shard.recipe,
        "maker": json.dumps(dict(shard.maker), sort_keys=True, ensure_ascii=False),
    }
    return as_bytes(arrays, FORMAT, words | {"seal": seal(words, arrays, ["features"])})
