"""`Shard`s in, HDF5 files out. A shard is on disk whole or not at all, and the same shard is always the same bytes."""

from pathlib import Path

from plfeat.files import write_bytes
from plfeat.shards.hdf5 import as_bytes, fixed_width
from plfeat.shards.schema import FORMAT, Shard


def write_shard(path: Path, shard: Shard) -> None:
    write_bytes(path, shard_bytes(shard))


def shard_bytes(shard: Shard) -> bytes:
    arrays = {
        "features": shard.features_RD,
        "frame_index": shard.frame_index_R,
        "view": shard.view_R,
        "video_ptr": shard.video_ptr,
        "label": shard.label_N,
        "status": shard.status_N,
        "checksum": shard.checksums(),
        "id": fixed_width(shard.id_N),
        "decoder": fixed_width(shard.decoder_N),
        "error": fixed_width(shard.error_N),
        **shard.more,
    }
    return as_bytes(arrays, FORMAT)
