"""Stores that somebody forged: a clear line, and nothing outside of them is read, written or deleted."""

import json
import os
import resource
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stores import (
    RANDOM,
    TOWER,
    edit_json,
    edit_manifest,
    files,
    forge_shard,
    shard_path,
    some_list,
    texts,
    weights,
    whole_store,
)
from test_shards import CENTRE, RECIPE, key

from plfeat.errors import CacheError, PlfeatError
from plfeat.shards.catalogue import Seen, read_catalogue
from plfeat.shards.growth import Growth
from plfeat.shards.merge import merge
from plfeat.shards.reader import read_shard
from plfeat.shards.schema import FORMAT
from plfeat.shards.store import _open, open_store
from plfeat.shards.texts import read_texts
from plfeat.shards.upkeep import problems, remove_damaged
from plfeat.shards.waste import throw_away, waste
from plfeat_cli.main import main
from plfeat_cli.output import visible

Forge = Callable[[Path, Path], object]
"""Given a whole store, and a folder outside of it that holds whole files too."""


def read_all(store: Path) -> tuple[Any, ...]:
    """All that a training reads."""
    found = open_store(store)
    rows = [found.rows([key(n) for n in range(4)], take) for take in found.takes]
    features = [(take.name, r.status_N.tolist(), r.read().dtype.name, r.read().tobytes()) for take, r in _named(rows)]
    lists = [found.read_list(name) for name in sorted(found.lists)]
    said = [found.lists[name].takes for name in sorted(found.lists)]
    tower = found.text(TOWER).read_bytes() if TOWER in found.texts else b""
    told = [read_texts(found.text(name)) for name in sorted(found.texts) if name.endswith(".h5")]
    text = [(t.classes, t.templates, t.tower, t.sentence_ND.tobytes(), t.sentence_ND.dtype.name) for t in told]
    return sorted(features), lists, said, text, tower, read_catalogue(store)


def _named(rows: list[Any]) -> list[tuple[Any, Any]]:
    return [(each.take, each) for each in rows]


def _link(*names: str) -> Forge:
    """A file or folder of the store is moved outside, and a link to it takes its place."""

    def forge(store: Path, outside: Path) -> None:
        path = store.joinpath(*names) if names != ("shards", "") else shard_path(store)
        if names == ("lists", ""):
            path = next((store / "lists").iterdir())
        path.rename(outside / "moved")
        path.symlink_to(outside / "moved")

    return forge


def _shard_entry(**changes: Any) -> Forge:
    return lambda store, outside: edit_manifest(store, lambda m: m["shards"][0].update(changes))


def _arrays(sealed: bool = True, told: bool = True, **changes: Any) -> Forge:
    def change(arrays: dict[str, Any], words: dict[str, str]) -> None:
        arrays |= {name: make(arrays[name]) for name, make in changes.items()}

    return lambda store, outside: forge_shard(shard_path(store), change, told, sealed)


def _words(**changes: str) -> Forge:
    return lambda store, outside: forge_shard(shard_path(store), lambda arrays, words: words.update(changes))


def _h5(change: Callable[[h5py.File, Path], object]) -> Forge:
    """The shard's file, edited by hand."""

    def forge(store: Path, outside: Path) -> None:
        with h5py.File(shard_path(store), "r+") as file:
            change(file, outside)

    return forge


def _dataset(name: str, **how: Any) -> Forge:
    def change(file: h5py.File, outside: Path) -> None:
        content = file[name][()]
        del file[name]
        file.create_dataset(name, data=content, **how)

    return _h5(change)


def _external_link(file: h5py.File, outside: Path) -> None:
    del file["features"]
    file["features"] = h5py.ExternalLink(str(outside / "whole" / "shard.h5"), "features")


def _external_file(file: h5py.File, outside: Path) -> None:
    shape = file["features"].shape
    del file["features"]
    file.create_dataset("features", shape, "float16", external=[(str(outside / "canary.txt"), 0, 10**6)])


def _virtual(file: h5py.File, outside: Path) -> None:
    shape = file["features"].shape
    del file["features"]
    layout = h5py.VirtualLayout(shape, "float16")
    layout[:] = h5py.VirtualSource(str(outside / "whole" / "shard.h5"), "features", shape)
    file.create_virtual_dataset("features", layout)


def _huge_attribute(file: h5py.File, outside: Path) -> None:
    del file.attrs["maker"]
    file.attrs.create("maker", np.zeros(60000, np.uint8))


def _vlen_attribute(file: h5py.File, outside: Path) -> None:
    del file.attrs["take"]
    file.attrs["take"] = CENTRE.name


def _word_for_number(file: h5py.File) -> None:
    del file.attrs["plfeat_format"]
    file.attrs["plfeat_format"] = np.bytes_(b"3")


def _instead(what: Callable[[Path], object], *names: str) -> Forge:
    def forge(store: Path, outside: Path) -> None:
        path = shard_path(store) if names == ("shards",) else store.joinpath(*names)
        if names == ("lists",):
            path = next((store / "lists").iterdir())
        path.unlink()
        what(path)

    return forge


def _json(name: str, content: str | bytes) -> Forge:
    return lambda store, outside: (store / name).write_bytes(
        content if isinstance(content, bytes) else content.encode()
    )


def _swap(store: Path, outside: Path) -> None:
    one, two = shard_path(store), shard_path(store, 0, RANDOM)
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)


def _of_another_video(store: Path, outside: Path) -> None:
    shard_path(store, 2).write_bytes(shard_path(store, 0).read_bytes())


def _seal_of_another(store: Path, outside: Path) -> None:
    def change(manifest: Any) -> None:
        one, two = manifest["shards"][:2]
        one["seal"], two["seal"] = two["seal"], one["seal"]

    edit_manifest(store, change)


def _list_entry(change: Callable[[dict[str, Any]], object]) -> Forge:
    return lambda store, outside: edit_manifest(store, lambda m: change(m["lists"]))


def _copied_list(name: str) -> Forge:
    def forge(store: Path, outside: Path) -> None:
        edit_manifest(store, lambda m: m["lists"].update({name: m["lists"]["mine"]}))

    return forge


def _put_list(**changes: Any) -> Forge:
    """A list whose hash is its own."""

    def forge(store: Path, outside: Path) -> None:
        unchecked = patch("plfeat.shards.lists._problem", lambda videos: None)
        with unchecked, Growth(store, RECIPE) as growth:
            growth.put_list(some_list(**changes), {"train": (CENTRE,), "other": (CENTRE,)})
            growth.finish()

    return forge


def _text(change: Callable[[h5py.File], object]) -> Forge:
    def forge(store: Path, outside: Path) -> None:
        with h5py.File(store / "text" / texts().name, "r+") as file:
            change(file)

    return forge


def _key_twice(name: str) -> Forge:
    def forge(store: Path, outside: Path) -> None:
        text = (store / name).read_text()
        (store / name).write_text('{"format": 3, ' + text[1:])

    return forge


def _duplicate_of(count: int) -> Forge:
    return lambda store, outside: edit_manifest(store, lambda m: m["shards"].extend([m["shards"][0]] * count))


def _other_bits(store: Path, outside: Path) -> None:
    """Another shard with other features of the same video."""
    from test_shards import shard_of

    shard = shard_of([0, 9])
    shard.features_RX[:] += 1
    with Growth(store, RECIPE) as growth:
        growth.add(shard)
        growth.finish()


def _twice(array: Any) -> Any:
    return np.array([array[0]] * len(array))


NAMES = {
    "an absolute path": "/abs/x",
    "a path upwards": "../../x",
    "a NUL": "a\0b",
    "a line break": "a\nb",
    "escape codes": "\x1b[2Ja",
    "a very long one": "a" * 5000,
    "none at all": "",
    "half a surrogate": "a\ud800",
}

READ: dict[str, Forge] = {
    **{f"linked {names[0]}/": _link(*names) for names in (("shards",), ("lists",), ("text",))},
    "a linked shard": _link("shards", ""),
    "a linked list": _link("lists", ""),
    "a linked text": _link("text", texts().name),
    "a linked tower": _link("text", TOWER),
    **{f"a linked {name}": _link(name) for name in ("manifest.json", "recipe.json", "catalogue.csv")},
    **{f"a shard's name that is {what}": _shard_entry(name=name) for what, name in NAMES.items()},
    **{f"a shard's name around {what}": _shard_entry(name=f"{name}-0123456789ab.h5") for what, name in NAMES.items()},
    **{f"a take's name that is {what}": _shard_entry(take=name) for what, name in NAMES.items()},
    **{f"a list's name that is {what}": _copied_list(name) for what, name in NAMES.items()},
    **{
        f"a list's hash that is {what}": _list_entry(lambda lists, name=name: lists["mine"].update(hash=name))
        for what, name in NAMES.items()
    },
    **{
        f"a list's take that is {what}": _list_entry(
            lambda lists, name=name: lists["mine"]["takes"].update(train=[name])
        )
        for what, name in NAMES.items()
    },
    **{
        f"a text's name that is {what}": lambda store, outside, name=name: edit_manifest(
            store, lambda m: m["texts"][0].update(name=name)
        )
        for what, name in NAMES.items()
    },
    **{
        f"{key_} that are {value!r:.20}": _shard_entry(**{key_: value})
        for key_ in ("videos", "rows", "failed", "doubtful")
        for value in (10**9, 10**4000, -1, 2.0, True, "2", None, [])
    },
    "a shard listed twice": _duplicate_of(1),
    "a word too many of a shard": _shard_entry(maker=99),
    "a word too many of a list": _list_entry(lambda lists: lists["mine"].update(fold=1)),
    "no makers": lambda store, outside: edit_manifest(store, lambda m: m.update(makers=[])),
    "another maker": lambda store, outside: edit_manifest(store, lambda m: m.update(makers=[{"device": "tpu"}])),
    **{f"a key twice in {name}": _key_twice(name) for name in ("manifest.json", "recipe.json")},
    "no list of shards": lambda store, outside: edit_manifest(store, lambda m: m.update(shards={})),
    "shards that are numbers": lambda store, outside: edit_manifest(store, lambda m: m.update(shards=[1])),
    "lists that are a list": lambda store, outside: edit_manifest(store, lambda m: m.update(lists=[])),
    "makers that are words": lambda store, outside: edit_manifest(store, lambda m: m.update(makers="x")),
    "no texts": lambda store, outside: edit_manifest(store, lambda m: m.pop("texts")),
    "a format that is nearly ours": lambda store, outside: edit_manifest(store, lambda m: m.update(format=3.0)),
    "the format before": lambda store, outside: edit_manifest(store, lambda m: m.update(format=2)),
    "another fingerprint": lambda store, outside: edit_manifest(store, lambda m: m.update(fingerprint="0" * 16)),
    "an edited recipe": lambda store, outside: edit_json(store / "recipe.json", lambda r: r.update(dtype="float32")),
    "a recipe of another dtype": lambda store, outside: edit_json(store / "recipe.json", lambda r: r.update(dtype="x")),
    "a recipe without an encoder": lambda store, outside: edit_json(store / "recipe.json", lambda r: r.pop("encoder")),
    "swapped shards of two takes": _swap,
    "a shard under another's name": _of_another_video,
    "seals of others": _seal_of_another,
    "a seal that is none": _arrays(sealed=False),
    "a shard with fewer videos than it had": _arrays(
        told=False,
        **{name: lambda a: a[:1] for name in ("status", "video", "checksum", "decoder", "error")},
        video_ptr=lambda a: a[:2],
        features=lambda a: a[:4],
        frame_index=lambda a: a[:4],
    ),
    "an unknown status": _arrays(status=lambda a: a + np.uint8(7)),
    "a failure with features": _arrays(status=lambda a: a * 0 + np.uint8(1)),
    "a video twice in a shard": _arrays(video=_twice),
    "a key that is a path": _arrays(video=lambda a: np.array([b"../../x", b"/abs"])),
    "a key that is no text": _arrays(video=lambda a: np.array([b"\xff" * 32, b"\xfe" * 32])),
    "video_ptr that falls": _arrays(video_ptr=lambda a: a[[0, 2, 1]]),
    "video_ptr beyond the file": _arrays(video_ptr=lambda a: a * 10**6),
    "video_ptr below the file": _arrays(video_ptr=lambda a: a - 4),
    "video_ptr that wraps around": _arrays(
        video_ptr=lambda a: np.array([0, 0x7000000000000000, -0x2000000000000000, 8], np.int64),
        **{name: lambda a: np.array([*a, a[0]]) for name in ("status", "checksum", "decoder", "error")},
        video=lambda a: np.array([*a, key(9).encode()]),
    ),
    "small video_ptr": _arrays(video_ptr=lambda a: a.astype(np.int8)),
    "features of another size": _arrays(
        features=lambda a: a.view(np.float32) if a.shape[1] % 2 == 0 else a.astype(float)
    ),
    "features of another dtype of that size": _arrays(features=lambda a: a.view(np.uint16)),
    "features with the bytes turned": _arrays(features=lambda a: a.astype(">f2")),
    "features without width": _arrays(features=lambda a: a[:, :0]),
    "features of another width": _arrays(
        features=lambda a: np.ascontiguousarray(a[:, :2]),
        checksum=lambda a: np.zeros_like(a),
    ),
    "features of one axis": _arrays(features=lambda a: a[:, 0].copy()),
    "features beyond their checksum": _arrays(features=lambda a: a + np.float16(1)),
    "a shard of another recipe": _words(recipe="0" * 16),
    "a shard of another take": _words(take="centre-5"),
    "a maker that is none": _words(maker="[]"),
    "a maker that is deep": _words(maker="[" * 30000),
    "chunked features": _dataset("features", chunks=(2, 3)),
    "compressed features": _dataset("features", chunks=(2, 3), compression="gzip"),
    "features as objects": _h5(
        lambda file, outside: (file.pop("error"), file.create_dataset("error", data=["x", "y"]))  # vlen text
    ),
    "a link out of the file": _h5(_external_link),
    "bytes out of another file": _h5(_external_file),
    "a view of another file": _h5(_virtual),
    "an attribute that is an array": _h5(_huge_attribute),
    "an attribute of any length": _h5(_vlen_attribute),
    "no attribute": _h5(lambda file, outside: file.attrs.pop("recipe")),
    "another format": _h5(lambda file, outside: file.attrs.modify("plfeat_format", 2)),
    "a format that is a word": _h5(lambda file, outside: _word_for_number(file)),
    "a group for an array": _h5(lambda file, outside: (file.pop("status"), file.create_group("status"))),
    "an array lost": _h5(lambda file, outside: file.pop("checksum")),
    **{
        f"{what} for a {name}": _instead(make, *where)
        for what, make in {"a FIFO": os.mkfifo, "a folder": os.mkdir}.items()
        for name, where in {
            "shard": ("shards",),
            "list": ("lists",),
            "text": ("text", texts().name),
            "tower": ("text", TOWER),
            "manifest": ("manifest.json",),
            "recipe": ("recipe.json",),
            "catalogue": ("catalogue.csv",),
        }.items()
    },
    "a file for shards/": lambda store, outside: (
        (store / "shards").rename(outside / "away"),
        (store / "shards").write_text("x"),
    ),
    **{
        f"{what} for {name}": _json(name, content)
        for name in ("manifest.json", "recipe.json")
        for what, content in {
            "deep JSON": "[" * 200000,
            "deep objects": '{"a":' * 200000,
            "a number": "3",
            "NaN": '{"format": NaN}',
            "no UTF-8": b'{"format": "\xff"}',
            "nothing": b"",
            "a huge number": '{"format": 1' + "0" * 10000 + "}",
        }.items()
    },
    "NaN beside sound facts": lambda store, outside: edit_manifest(
        store, lambda m: m.update(makers=[{"a": float("nan")}])
    ),
    "a list under another's name": lambda store, outside: (
        next((store / "lists").iterdir()).rename(store / "lists" / "other@01234567.csv"),
        edit_manifest(
            store, lambda m: m["lists"].update(other={"hash": "01234567", "takes": {"train": [], "other": []}})
        ),
    ),
    "a class that the list has not": lambda store, outside: (
        path := next((store / "lists").iterdir()),
        path.write_text(path.read_text().replace(",b,", ",c,")),
    ),
    "a class twice": _put_list(classes=("a", "a")),
    "more words than classes": _put_list(words=("a", "b", "c")),
    "text of another shape": _text(
        lambda file: file["sentence"].resize((1, 3)) if file["sentence"].chunks else file.pop("sentence")
    ),
    "text_ptr of others": _text(lambda file: file["text_ptr"].__setitem__(1, 3)),
    "classes in another order": _text(lambda file: file["class"].__setitem__(slice(None), file["class"][()][::-1])),
    "a tower of other weights": lambda store, outside: (store / "text" / TOWER).write_bytes(
        weights()[:-4] + b"\1\0\0\0"
    ),
    "another text under a text's name": lambda store, outside: (store / "text" / texts().name).write_bytes(
        (outside / "whole" / "text.h5").read_bytes()
    ),
}
"""What a training refuses, and `verify` finds."""

VERIFY: dict[str, Forge] = {
    "a list of videos that the store lacks": _put_list(count=8),
    "no shards at all": lambda store, outside: (
        edit_manifest(store, lambda m: m.update(shards=[])),
        [path.unlink() for path in (store / "shards").iterdir()],
    ),
    "a shard that the manifest forgot": lambda store, outside: edit_manifest(store, lambda m: m["shards"].pop()),
    "other features of a video in another shard": _other_bits,
    "a linked ledger": _link("ledger.jsonl"),
    "a FIFO for the ledger": _instead(os.mkfifo, "ledger.jsonl"),
    "a ledger that is none": _json("ledger.jsonl", "[" * 100000),
    "an unknown file": lambda store, outside: (store / "notes").write_text("x"),
    "an unknown file with escape codes": lambda store, outside: (store / "shards" / "a\n\x1b[2Jb").write_text("x"),
    "an unknown link": lambda store, outside: (store / "shards" / "a").symlink_to(outside / "canary.txt"),
}
"""What only `verify` finds: a training does not read it, or says itself how much is missing."""


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Whole files of a store that lie elsewhere."""
    folder = tmp_path / "outside"
    (folder / "whole").mkdir(parents=True)
    (folder / "canary.txt").write_text("alive" * 100)
    other = whole_store(tmp_path / "made").path
    (folder / "whole" / "shard.h5").write_bytes(shard_path(other).read_bytes())
    (folder / "whole" / "text.h5").write_bytes((other / "text" / texts().name).read_bytes()[:-8] + b"12345678")
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return whole_store(tmp_path / "cache" / "pool" / RECIPE.fingerprint).path


def everything_else(store: Path) -> dict[str, Any]:
    """All that lies beside a store."""
    root = store.parents[2]
    inside = str(store.relative_to(root))
    return {name: content for name, content in files(root).items() if not name.startswith(inside)}


def touch_all(store: Path) -> None:
    """Whatever a command does to a store that is not sound."""
    with suppress(PlfeatError):
        merge([store], store.parents[2] / "merged")
    with suppress(PlfeatError):
        merge([store.parents[2] / "made"], store.parents[1], "pool")
    throw_away(waste(store.parents[1], 0), 0)
    remove_damaged(store)
    with suppress(PlfeatError), Growth(store, RECIPE) as growth:
        growth.lacks([key(n) for n in range(4)], CENTRE)
        growth.note_files([])
        growth.finish()


@pytest.mark.parametrize("kind", [*READ, *VERIFY])
@pytest.mark.filterwarnings("ignore:.*surrogate.*")
def test_a_forgery_is_found_and_leads_nowhere(store: Path, outside: Path, kind: str) -> None:
    (READ | VERIFY)[kind](store, outside)
    _open.clear()
    before = everything_else(store)
    found = list(problems(store))
    assert found
    assert all(len(line) < 1500 for line in found)
    if kind in READ:
        with pytest.raises(CacheError) as caught:
            read_all(store)
        assert len(str(caught.value)) < 1500
    else:
        read_all(store)
    touch_all(store)
    merged = {name for name in everything_else(store) if name.partition("/")[0] == "merged"}
    assert {name: content for name, content in everything_else(store).items() if name not in merged} == before


def test_a_whole_store_is_read_and_found_sound(store: Path, outside: Path) -> None:
    read_all(store)
    assert list(problems(store)) == []
    touch_all(store)
    assert list(problems(store)) == []


def test_a_count_of_a_thousand_million_costs_no_memory(store: Path) -> None:
    def change(manifest: Any) -> None:
        for entry in manifest["shards"]:
            entry |= dict.fromkeys(("videos", "rows"), 10**9)

    edit_manifest(store, change)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert list(problems(store))
    with pytest.raises(CacheError, match=r"manifest.json says 1000000000"):
        read_all(store)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_a_hole_of_a_terabyte_is_not_read(store: Path) -> None:
    path = shard_path(store)
    with h5py.File(path, "w") as file:
        file.attrs["plfeat_format"] = FORMAT
        for name in ("take", "recipe", "maker", "seal"):
            file.attrs[name] = np.bytes_(b"centre-4")
        kinds = {"video_ptr": "i8", "frame_index": "i4", "status": "u1", "checksum": "u4", "video": "S32"}
        for name, kind in (kinds | {"decoder": "S1", "error": "S1"}).items():
            creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
            space = h5py.h5s.create_simple((10**10 + (name == "video_ptr"),))
            h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(np.dtype(kind), logical=True), space, creation)
        file.create_dataset("features", data=np.zeros((10, 3), np.float16))
    with pytest.raises(CacheError, match=r"expected|larger than any should be"):
        read_shard(path)


def test_names_are_shown_without_being_obeyed(store: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (store.parent / "x\x1b[2J\x9b1m\u202e\n").mkdir()
    (store.parent / "x\x1b[2J\x9b1m\u202e\n" / "recipe.json").write_text("{")
    root = str(store.parents[1])
    for arguments in (
        ["gc", "--cache", root],
        ["gc", "--cache", root, "--json"],
        ["merge", "\x1b[2J\nx", "--cache", root],
    ):
        main(["cache", *arguments])
        said = "".join(capfd.readouterr())
        assert "x" in said
        assert not set(said) & set("\x1b\x9b\u202e")
    assert json.loads(visible(json.dumps({"a": "\x7f\u009b\u202e"}, ensure_ascii=False))) == {"a": "\x7f\u009b\u202e"}
    assert visible("ä 東京\t1\n2") == "ä 東京\t1\n2"


# --- any damage at all


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[Any, ...], dict[str, bytes]]:
    store = whole_store(tmp_path_factory.mktemp("small") / "store").path
    inside = {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}
    return store, read_all(store), {name: content for name, content in inside.items() if name != "ledger.jsonl"}


def same_or_refused(small: tuple[Path, tuple[Any, ...], dict[str, bytes]], name: str, content: bytes) -> None:
    store, whole, inside = small
    (store / name).write_bytes(content)
    _open.clear()
    try:
        found = read_all(store)
        if name == "catalogue.csv":  # hints, of which nothing is kept
            found, whole = found[:-1], whole[:-1]
        assert found == whole
    except CacheError:
        assert list(problems(store))
    finally:
        (store / name).write_bytes(inside[name])
        _open.clear()


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_flipped_byte_gives_the_same_numbers_or_an_error(small, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(small[2])))
    content = bytearray(small[2][name])
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    same_or_refused(small, name, bytes(content))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_file_cut_short_or_with_a_tail_gives_the_same_numbers_or_an_error(small, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(small[2])))
    content = small[2][name]
    same_or_refused(small, name, content[: data.draw(st.integers(0, len(content)))] + data.draw(st.binary(max_size=20)))


CATALOGUE = "video,root,path,size,mtime_ns\n"


@pytest.mark.parametrize(
    "line",
    [
        f"{key(1)},/videos,../x.mp4,1,2",
        f"{key(1)},/videos,a/../../x.mp4,1,2",
        f"{key(1)},/videos,/etc/x,1,2",
        f"{key(1)},videos,x.mp4,1,2",
        f"{key(1)},,x.mp4,1,2",
        f"{key(1)},/videos,x.mp4,1_0,2",
        f"{key(1)},/videos,x.mp4,-1,2",
        f"{key(1)},/videos,x.mp4,٣,2",
        f"{key(1)},/videos,x.mp4,1",
        f"{key(1)},/videos,x.mp4,1,2,3",
        f"{key(1)}#t=0,1,/videos,x.mp4,1,2",
        "x,/videos,x.mp4,1,2",
        f'{key(1)},"/videos,x.mp4,1,2',
    ],
)
def test_a_catalogue_names_files_under_its_roots_or_is_refused(store: Path, line: str) -> None:
    (store / "catalogue.csv").write_text(CATALOGUE + line + "\n")
    with pytest.raises(CacheError, match=r"catalogue.csv is damaged"):
        read_catalogue(store)
    assert list(problems(store))


def test_any_name_of_a_file_is_kept_as_it_is(store: Path) -> None:
    odd = [os.fsdecode(name) for name in (b"a\xff.mp4", b"b\n\x1b.mp4", b'c",\r.mp4', "日本.mp4".encode())]
    with Growth(store, RECIPE) as growth:
        growth.note_files(Seen(key(3), "/videos", name, 1, 2) for name in odd)
        growth.finish()
    assert {seen.path for seen in read_catalogue(store)} >= set(odd)
    assert list(problems(store)) == []
