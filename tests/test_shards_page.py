"""`cache/README.md` is enough to read a store: this reader knows nothing but that page."""

import csv
import hashlib
import json
import zlib
from pathlib import Path

import h5py
import numpy as np
from stores import RANDOM, whole_store
from test_shards import CENTRE, RECIPE, key, shard_of

from plfeat.shards.growth import Growth
from plfeat.shards.hdf5 import seal


def read(store: Path, take: str, keys: list[str]) -> dict[str, np.ndarray]:
    """Features of some videos in one take."""
    recipe = json.loads((store / "recipe.json").read_text(encoding="utf-8"))
    manifest = json.loads((store / "manifest.json").read_text(encoding="utf-8"))
    assert recipe["format"] == manifest["format"] == 3
    found: dict[str, np.ndarray] = {}
    for name in sorted(entry["name"] for entry in manifest["shards"] if entry["take"] == take):
        with h5py.File(store / "shards" / name) as file:
            assert file.attrs["recipe"].decode() == manifest["fingerprint"]
            pointers = file["video_ptr"][:]
            for n, video in enumerate(file["video"][:]):
                if video.decode() in keys and video.decode() not in found and file["status"][n] != 1:
                    rows = file["features"][pointers[n] : pointers[n + 1]]
                    assert zlib.crc32(rows.tobytes()) == file["checksum"][n]
                    if recipe["dtype"] == "bfloat16":
                        rows = (rows.astype(np.uint32) << 16).view(np.float32)
                    found[video.decode()] = rows
    return found


def read_labels(store: Path, name: str, split: str) -> dict[str, tuple[str, str]]:
    """The keys and the classes of a list's videos in one split, by their names."""
    manifest = json.loads((store / "manifest.json").read_text(encoding="utf-8"))
    path = store / "lists" / f"{name}@{manifest['lists'][name]['hash']}.csv"
    head, table = path.read_text(encoding="utf-8").split("\n", 1)
    facts = json.loads(head.removeprefix("# "))
    says = {key: facts[key] for key in ("classes", "words", "stratum", "mirror", "how")}
    told = json.dumps(says, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(f"{told}\n{table}".encode()).hexdigest()[:8] == manifest["lists"][name]["hash"]
    rows = csv.DictReader(table.splitlines())
    return {row["name"]: (row["video"], row["class"]) for row in rows if row["split"] == split}


def test_a_reader_written_from_the_page_reads_what_ours_reads(tmp_path: Path) -> None:
    whole_store(tmp_path / "store")
    with Growth(tmp_path / "store", RECIPE) as growth:
        growth.add(shard_of([3, 7]))  # what had failed before
        store = growth.finish()
    for take, videos in ((CENTRE, [0, 1, 2, 3, 7]), (RANDOM, [0, 1])):
        keys = [key(n) for n in videos]
        ours, theirs = store.rows(keys, take), read(store.path, take.name, keys)
        assert sorted(theirs) == sorted(keys)
        for number, video in enumerate(keys):
            assert theirs[video].tobytes() == ours.one(number).tobytes()
    videos = store.read_list("mine")
    for split in ("train", "test"):
        of = {row.name: (row.video, videos.classes[row.label]) for row in videos.of(split)}
        assert read_labels(store.path, "mine", split) == of


def test_a_seal_is_made_as_the_page_says(tmp_path: Path) -> None:
    store = whole_store(tmp_path / "store")
    for entry in store.manifest["shards"]:
        with h5py.File(store.path / "shards" / entry["name"]) as file:
            said = [[name, file.attrs[name].decode()] for name in ("maker", "recipe", "take")]
            content = json.dumps(said).encode()
            for name in sorted(file):
                content += f"{name} {file[name].dtype.str} {list(file[name].shape)}".encode()
                content += b"" if name == "features" else file[name][()].tobytes()
            assert hashlib.sha256(content).hexdigest() == file.attrs["seal"].decode() == entry["seal"]
            assert seal(dict(said), {}) != entry["seal"]
