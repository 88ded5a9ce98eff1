"""A small whole store to be grown, damaged and forged, made without torch."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from test_shards import CENTRE, RECIPE, key, shard_of

from plfeat.recipe import Take
from plfeat.records import Listed, VideoList
from plfeat.shards.catalogue import Seen
from plfeat.shards.growth import Growth
from plfeat.shards.hdf5 import as_bytes, seal
from plfeat.shards.schema import DOUBTFUL, FAILED, FORMAT
from plfeat.shards.store import Store
from plfeat.shards.texts import Texts, text_bytes

RANDOM = Take("random", 2, 0, 0)
TOWER = "tower-" + "ab" * 8 + ".safetensors"


def texts(words: tuple[str, ...] = ("a", "b"), templates: tuple[str, ...] = ("{}",), start: float = 1.0) -> Texts:
    count = len(words) * len(templates)
    rows = np.arange(count * 6, dtype=np.float16).reshape(-1, 3) + np.float16(start)
    pointers = np.arange(count + 1, dtype=np.int64) * 2
    return Texts(np.arange(count * 2, dtype=np.int32), rows, rows, rows[::2], pointers, words, templates, "ab" * 32)


def weights() -> bytes:
    header = json.dumps({"scale": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return len(header).to_bytes(8, "little") + header + b"\0\0\0\0"


def some_list(count: int = 4, name: str = "mine", **changes: Any) -> VideoList:
    """The first half is trained on; the last row has no file."""
    rows = [
        Listed(f"{n}.mp4", n % 2, ("train" if n < count / 2 else "test",), f"g{n}", video=key(n)) for n in range(count)
    ]
    said = {"classes": ("a", "b"), "words": ("a", "b")} | changes
    return VideoList(name, (*rows, Listed("gone.mp4", 0, ("test",))), **said)


def whole_store(folder: Path) -> Store:
    """Four videos and a list; one video is doubtful, one has failed."""
    with Growth(folder, RECIPE) as growth:
        growth.add(shard_of([0, 1], status={1: DOUBTFUL}))
        growth.add(shard_of([2, 3], status={3: FAILED}))
        growth.add(shard_of([0, 1], RANDOM))
        growth.put_list(some_list(), {"train": (CENTRE, RANDOM), "other": (CENTRE,)})
        growth.put_text(texts().name, text_bytes(texts()))
        growth.put_text(TOWER, weights())
        growth.note_files(Seen(key(n), "/videos", f"{n}.mp4", 10, 20) for n in range(4))
        return growth.finish()


def files(folder: Path) -> dict[str, bytes | str]:
    """Everything under a folder; links by where they lead."""
    return {
        str(path.relative_to(folder)): str(path.readlink())
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else "folder"
        for path in sorted(folder.rglob("*"))
    }


def shard_path(store: Path, video: int = 0, take: Take = CENTRE) -> Path:
    """The file of the shard in which a video is the first one."""
    for path in sorted((store / "shards").glob(f"{take.name}-*.h5")):
        with h5py.File(path) as file:
            if file["video"][0] == key(video).encode():
                return path
    raise AssertionError(video)


def edit_json(path: Path, change: Callable[[Any], object]) -> None:
    said = json.loads(path.read_text())
    change(said)
    path.write_text(json.dumps(said))


def edit_manifest(store: Path, change: Callable[[Any], object]) -> None:
    edit_json(store / "manifest.json", change)


def forge_shard(
    path: Path, change: Callable[[dict[str, Any], dict[str, str]], object], told: bool = True, sealed: bool = True
) -> None:
    """Other arrays and attributes, with a seal that fits them, of which the manifest tells."""
    with h5py.File(path) as file:
        arrays = {name: file[name][()] for name in file}
        words = {name: file.attrs[name].decode() for name in ("take", "recipe", "maker")}
    change(arrays, words)
    stamp = seal(words, arrays, ["features"]) if sealed else hashlib.sha256(b"").hexdigest()
    path.write_bytes(as_bytes(arrays, FORMAT, words | {"seal": stamp}))
    if told:

        def tell(manifest: Any) -> None:
            entry = next(entry for entry in manifest["shards"] if entry["name"] == path.name)
            status = arrays["status"]
            counts = (
                status.size,
                len(arrays["features"]),
                int((status == FAILED).sum()),
                int((status == DOUBTFUL).sum()),
            )
            entry |= dict(zip(("videos", "rows", "failed", "doubtful"), counts, strict=True)) | {"seal": stamp}

        edit_manifest(path.parents[1], tell)
