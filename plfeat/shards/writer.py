"""`Shard`s in, HDF5 files out. A shard is on disk whole or not at all, and the same shard is always the same bytes."""

from pathlib import Path

import h5py
import numpy as np

from plfeat.files import publish
from plfeat.shards.schema import FORMAT, Shard


def write_shard(path: Path, shard: Shard) -> None:
    arrays = {
        "features": shard.features_RD,
        "frame_index": shard.frame_index_R,
        "view": shard.view_R,
        "video_ptr": shard.video_ptr,
        "label": shard.label_N,
        "status": shard.status_N,
        "checksum": shard.checksums(),
        "id": _fixed_width(shard.id_N),
        "error": _fixed_width(shard.error_N),
    }
    # built in memory: HDF5 crashes the whole process when a disk fills up under it
    with h5py.File("shard", "w", driver="core", backing_store=False) as file:
        file.attrs["plfeat_format"] = FORMAT
        for name, array in arrays.items():
            file.create_dataset(name, data=array)  # contiguous: a reader can map it
        file.flush()
        image = file.id.get_file_image()
    with publish(path) as part:
        part.write_bytes(image)


def _fixed_width(texts: tuple[str, ...]) -> np.ndarray:
    encoded = [text.encode() for text in texts]
    return np.array(encoded, dtype=f"S{max([1, *map(len, encoded)])}")
