"""Shards: what is written is what is read, the same shard is the same bytes, and foreign files are refused."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plfeat.errors import CacheError, DataError
from plfeat.files import publish, sha256_of
from plfeat.shards.reader import Cache, open_cache, read_shard
from plfeat.shards.schema import Shard, fingerprint
from plfeat.shards.writer import write_shard


def shard(lengths: list[int], width: int = 4, seed: int = 0) -> Shard:
    rng = np.random.default_rng(seed)
    rows = sum(lengths)
    return Shard(
        features_RD=rng.standard_normal((rows, width)).astype(np.float16),
        frame_index_R=np.arange(rows, dtype=np.int32),
        view_R=np.zeros(rows, np.int32),
        video_ptr=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        label_N=np.arange(len(lengths), dtype=np.int64) % 3,
        status_N=np.array([0 if n else 1 for n in lengths], np.uint8),
        id_N=tuple(f"vidéo {i}" for i in range(len(lengths))),
        decoder_N=("decord",) * len(lengths),
        error_N=tuple("" if n else "no frames" for n in lengths),
    )


@given(lengths=st.lists(st.integers(0, 5), min_size=1, max_size=6), width=st.integers(1, 9))
def test_a_shard_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, lengths: list[int], width: int) -> None:
    path = tmp_path_factory.mktemp("shards") / "test-00000.h5"
    before = shard(lengths, width)
    write_shard(path, before)
    after = read_shard(path)
    for name in ("features_RD", "frame_index_R", "view_R", "video_ptr", "label_N", "status_N"):
        assert np.array_equal(getattr(before, name), getattr(after, name)), name
        assert getattr(before, name).dtype == getattr(after, name).dtype
    assert (after.id_N, after.decoder_N, after.error_N) == (before.id_N, before.decoder_N, before.error_N)


def test_the_same_shard_is_the_same_bytes(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.h5", shard([2, 0, 3]))
    write_shard(tmp_path / "b.h5", shard([2, 0, 3]))
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_any_hdf5_tool_can_read_it_and_the_checksums_are_those_of_the_rows(tmp_path: Path) -> None:
    before = shard([2, 0, 3])
    write_shard(tmp_path / "a.h5", before)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["features"].chunks is None
        assert np.array_equal(file["features"], before.features_RD)
        import zlib

        own = (before.features_RD[2:5], before.frame_index_R[2:5], before.view_R[2:5], before.label_N[2])
        assert file["checksum"][2] == zlib.crc32(b"".join(rows.tobytes() for rows in own))


@pytest.mark.parametrize("changed", ["model", "activation", "frames", "dtype"])
def test_any_change_of_the_spec_changes_the_fingerprint(changed: str) -> None:
    spec = {"model": "ViT-B-16", "activation": "quick_gelu", "frames": 8, "dtype": "float16"}
    assert fingerprint(spec) == fingerprint(dict(reversed(spec.items())))
    assert fingerprint(spec | {changed: "other"}) != fingerprint(spec)


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    def half_written() -> None:
        with publish(tmp_path / "file") as part:
            part.write_text("half")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        half_written()
    assert list(tmp_path.iterdir()) == []


def _replace(file: h5py.File, name: str, **what: object) -> None:
    del file[name]
    file.create_dataset(name, **what)


FOREIGN = {
    "external link": lambda f: (
        f.__delitem__("features"),
        f.__setitem__("features", h5py.ExternalLink("b.h5", "/features")),
    ),
    "soft link": lambda f: (f.__delitem__("view"), f.__setitem__("view", h5py.SoftLink("/frame_index"))),
    "chunked": lambda f: _replace(f, "features", data=np.zeros((5, 4), np.float16), chunks=(1, 4)),
    "wrong type": lambda f: _replace(f, "features", data=np.zeros((5, 4), np.int16)),
    "double": lambda f: _replace(f, "features", data=np.zeros((5, 4), np.float64)),
    "wrong axes": lambda f: _replace(f, "label", data=np.zeros((3, 1), np.int64)),
    "missing": lambda f: f.__delitem__("label"),
    "too few labels": lambda f: _replace(f, "label", data=np.zeros(2, np.int64)),
    "pointers past the end": lambda f: _replace(f, "video_ptr", data=np.array([0, 2, 2, 900])),
    "falling pointers": lambda f: _replace(f, "video_ptr", data=np.array([0, 4, 2, 5])),
    "huge declared size": lambda f: _replace(f, "features", shape=(1 << 40, 4), dtype=np.float16),
    "external storage": lambda f: _replace(f, "label", shape=(3,), dtype=np.int64, external=[("b.h5", 0, 24)]),
    "other format": lambda f: f.attrs.__setitem__("plfeat_format", 99),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_shard_is_refused_and_reads_no_other_file(tmp_path: Path, kind: str) -> None:
    write_shard(tmp_path / "a.h5", shard([2, 0, 3]))
    write_shard(tmp_path / "b.h5", shard([2, 0, 3], seed=1))
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        FOREIGN[kind](file)
    with pytest.raises(CacheError, match=r"a\.h5"):
        read_shard(tmp_path / "a.h5")


def test_a_virtual_dataset_is_refused(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.h5", shard([2, 0, 3]))
    layout = h5py.VirtualLayout(shape=(5, 4), dtype=np.float16)
    layout[:] = h5py.VirtualSource(str(tmp_path / "b.h5"), "features", shape=(5, 4))
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["features"]
        file.create_virtual_dataset("features", layout)
    with pytest.raises(CacheError, match="not a contiguous dataset"):
        read_shard(tmp_path / "a.h5")


@pytest.mark.parametrize("content", [b"", b"rubbish" * 100, b"\x89HDF\r\n\x1a\n" + b"\0" * 600])
def test_a_file_that_is_not_hdf5_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.h5").write_bytes(content)
    with pytest.raises(CacheError, match=r"a\.h5"):
        read_shard(tmp_path / "a.h5")


@pytest.fixture
def copy(small_cache: Cache, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_cache.path, tmp_path / "cache"))


def test_one_flipped_bit_is_noticed_and_the_way_out_is_said(copy: Path) -> None:
    victim = sorted((copy / "shards").glob("test-*.h5"))[0]
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(bytes(content))
    with pytest.raises(CacheError, match=r"expected sha256 .* found .*; run the same `plfeat extract`"):
        open_cache(copy).read("test")
    open_cache(copy).read("train")


def test_an_edited_spec_is_noticed(copy: Path) -> None:
    spec = json.loads((copy / "spec.json").read_text())
    spec["model"]["activation"] = "quick_gelu"
    (copy / "spec.json").write_text(json.dumps(spec))
    with pytest.raises(CacheError, match="one was edited"):
        open_cache(copy)


@pytest.mark.parametrize("name", ["spec.json", "manifest.json"])
@pytest.mark.parametrize("content", ["", "[]", "{", "null", '{"a": 1}'])
def test_damaged_bookkeeping_is_a_cache_error(copy: Path, name: str, content: str) -> None:
    (copy / name).write_text(content)
    with pytest.raises(CacheError):
        open_cache(copy)


def test_an_unfinished_cache_says_so(copy: Path) -> None:
    (copy / "manifest.json").unlink()
    with pytest.raises(CacheError, match="not finished; run the same `plfeat extract` again"):
        open_cache(copy)


def test_a_split_that_is_not_there_is_named_with_those_that_are(small_cache: Cache) -> None:
    with pytest.raises(DataError, match="no split 'val'; it holds test, train"):
        small_cache.read("val")


def test_the_manifest_names_every_shard_with_its_hash(small_cache: Cache) -> None:
    files = {path.name: sha256_of(path) for path in (small_cache.path / "shards").iterdir()}
    assert files == {entry["name"]: entry["sha256"] for entry in small_cache.manifest["shards"]}
