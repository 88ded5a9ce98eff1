"""What a store says is what it holds: whatever is forged is found by `verify`, and refused by whoever would read it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forge
import h5py
import numpy as np
import pytest
import worlds
from forge import Data, column, edit, edit_list, found_wrong, one_shard, one_text, reads, rewrite
from worlds import Plfeat, refused

pytestmark = pytest.mark.acceptance
Forger = Callable[[Path], Any]


def judged(plfeat: Plfeat, store: Path, tmp_path: Path, *readers: str, again: bool = True) -> None:
    """Verify finds it and every reader refuses it; also when all hashes that can be learned are made to fit."""
    for attempt in range(2 if again else 1):
        with worlds.at_most(120):
            found_wrong(plfeat(*reads(store, tmp_path, "verify")))
            for which in readers:
                refused(plfeat(*reads(store, tmp_path, which)))
            for which in ("info", "ls", "gc"):
                said = plfeat(*reads(store, tmp_path, which))
                worlds.clean(said)
                assert said.code in (0, 3, 4), (which, said.err)
        assert not list(tmp_path.rglob("record.json")), "no run was made of it"
        if again and attempt == 0:
            forge.reseal(plfeat, store)


def test_the_sound_store_is_sound_and_read_by_all(plfeat: Plfeat, tmp_path: Path) -> None:
    store = forge.copy(tmp_path)
    for which in ("verify", "info", "train", "vit", "prompts", "zero-shot", "ensemble", "ls", "gc", "merge", "verify"):
        said = plfeat(*reads(store, tmp_path, which))
        worlds.clean(said)
        assert said.code == 0, (which, said.err)


# -------------------------------------------------------------------------------------------------------- manifest


def of_shard(**values: Any) -> Callable[[Any], None]:
    return lambda manifest: manifest["shards"][0].update(values)


def of_all(**values: Any) -> Callable[[Any], None]:
    return lambda manifest: manifest.update(values)


def without(*path: Any) -> Callable[[Any], None]:
    def change(manifest: Any) -> None:
        for key in path[:-1]:
            manifest = next(iter(manifest.values())) if key is ... else manifest[key]
        del manifest[path[-1]]

    return change


def of_list(**values: Any) -> Callable[[Any], None]:
    return lambda manifest: next(iter(manifest["lists"].values())).update(values)


MANIFESTS: dict[str, Callable[[Any], Any]] = {
    "96 videos where the shard has fewer": of_shard(videos=96),
    "10**9 videos": of_shard(videos=10**9),
    "10**9 rows": of_shard(rows=10**9),
    "10**400 rows": of_shard(rows=10**400),
    "a failure more": of_shard(failed=1),
    "10**9 failures": of_shard(failed=10**9),
    "a doubt more": of_shard(doubtful=1),
    "a negative count": of_shard(videos=-1),
    "a count that is true": of_shard(failed=False),
    "a count with a fraction": of_shard(videos=1.5),
    "a count as a word": of_shard(videos="18"),
    "a count that is none": of_shard(videos=None),
    "a count that is no number": of_shard(rows=float("nan")),
    "no shards at all": of_all(shards=[]),
    "shards that are no list": of_all(shards={}),
    "shards that are a word": of_all(shards="none"),
    "shards that are numbers": of_all(shards=[1, 2]),
    "a shard twice": lambda m: m["shards"].append(m["shards"][0]),
    "a shard that is not there": lambda m: m["shards"].append(m["shards"][0] | {"name": "centre-8-0123456789ab.h5"}),
    "a shard less": lambda m: m["shards"].pop(),
    "another take": of_shard(take="centre-9"),
    "a take that is none": of_shard(take="sideways-8"),
    "a take that is a path": of_shard(take="../centre-8"),
    "a take with a newline": of_shard(take="centre-8\n"),
    "a take that paints": of_shard(take="\x1b[31mcentre-8"),
    "a take that is a number": of_shard(take=8),
    "another seal": of_shard(seal="0" * 64),
    "a seal that is none": of_shard(seal=None),
    "a maker that is none of the makers": of_shard(maker=99),
    "a maker that is deep": of_shard(maker=[[[[{}]]]]),
    "no makers": of_all(makers=[]),
    "makers that are a word": of_all(makers="me"),
    "another fingerprint": of_all(fingerprint="0" * 16),
    "format 2": of_all(format=2),
    "format 4": of_all(format=4),
    "a format that is a word": of_all(format="3"),
    "no lists": of_all(lists={}),
    "lists that are a list": of_all(lists=[]),
    "lists that are numbers": lambda m: m.update(lists=dict.fromkeys(m["lists"], 1)),
    "a list's hash that is another": of_list(hash="0" * 64),
    "a list's hash that is a number": of_list(hash=3),
    "a list's takes that are none": of_list(takes=None),
    "a list's takes that are unknown": of_list(takes={"train": ["sideways"], "other": ["centre-8"]}),
    "a list's takes that are not there": of_list(takes={"train": ["random-8-seed0-view7"], "other": ["centre-8"]}),
    "a list's takes that are paths": of_list(takes={"train": ["../../x"], "other": ["centre-8"]}),
    "a list that is not there": lambda m: m["lists"].update(other=next(iter(m["lists"].values()))),
    "texts that are a word": of_all(texts="none"),
    "a text's hash that is another": lambda m: m["texts"][0].update(sha256="0" * 64),
    "a text that is not there": lambda m: m["texts"].append(m["texts"][0] | {"name": "0123456789abcdef.h5"}),
    "no format": without("format"),
    "no fingerprint": without("fingerprint"),
    "shards missing": without("shards"),
    "lists missing": without("lists"),
    "makers missing": without("makers"),
    "a shard's name missing": without("shards", 0, "name"),
    "a shard's count missing": without("shards", 0, "videos"),
    "a shard's seal missing": without("shards", 0, "seal"),
}
READERS = {"a text's hash that is another": ["ensemble"], "a text that is not there": []}
"""Of what only some read; a text that nobody reads is `verify`'s alone to miss."""


@pytest.mark.parametrize("forged", MANIFESTS)
def test_a_forged_manifest_is_found_and_refused(plfeat: Plfeat, tmp_path: Path, forged: str) -> None:
    store = forge.copy(tmp_path)
    edit(store / "manifest.json", MANIFESTS[forged])
    judged(plfeat, store, tmp_path, *READERS.get(forged, ["train"]))


JUNK: dict[str, bytes] = {
    "empty": b"",
    "cut": b'{"format": 3, "fing',
    "a list": b"[]",
    "null": b"null",
    "a number": b"3",
    "a word": b'"\x5cu001b[31m"',
    "no text": b"\xff\xfe\x00\x01",
    "no number": b'{"format": NaN}',
    "endless": b'{"format": 1e999}',
    "deep": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "half a character": b'{"format": 3, "a": "\\ud800"}',
    "a number of a million digits": b'{"format": ' + b"9" * 1_000_000 + b"}",
    "zeros": bytes(4096),
}


@pytest.mark.parametrize("file", ["manifest.json", "recipe.json"])
@pytest.mark.parametrize("junk", JUNK)
def test_junk_for_json_is_one_clear_line(plfeat: Plfeat, tmp_path: Path, file: str, junk: str) -> None:
    store = forge.copy(tmp_path)
    (store / file).write_bytes(JUNK[junk])
    held = worlds.shards(store)
    judged(plfeat, store, tmp_path, "train", again=False)
    assert worlds.shards(store) == held, "sweeping up is no reason to lose what may be mended"


@pytest.mark.parametrize("file", ["manifest.json", "recipe.json"])
def test_a_key_that_stands_twice_in_json_is_refused(plfeat: Plfeat, tmp_path: Path, file: str) -> None:
    store = forge.copy(tmp_path)
    text = (store / file).read_text()
    assert text.startswith("{")
    (store / file).write_text('{"format": 3, ' + text[1:])
    judged(plfeat, store, tmp_path, "train", again=False)


RECIPES: dict[str, Callable[[Any], Any]] = {
    "another activation": lambda r: r["encoder"].update(activation="quick_gelu"),
    "another model": lambda r: r["encoder"].update(model="ViT-B-32"),
    "a model that is a path": lambda r: r["encoder"].update(model="../../x"),
    "a model that paints": lambda r: r["encoder"].update(model="\x1b[31mtoy\n"),
    "no encoder": lambda r: r.pop("encoder"),
    "an encoder that is a list": lambda r: r.update(encoder=[]),
    "another decoder": lambda r: r.update(decoder="decord"),
    "a decoder that is a number": lambda r: r.update(decoder=7),
    "another dtype": lambda r: r.update(dtype="float32"),
    "a dtype that is none": lambda r: r.update(dtype="float12"),
    "another mean": lambda r: r["preprocess"].update(mean=[0.0, 0.0, 0.0]),
    "a key more": lambda r: r["preprocess"].update(unheard_of=1),
    "format 2": lambda r: r.update(format=2),
    "no format": lambda r: r.pop("format"),
}


@pytest.mark.parametrize("forged", RECIPES)
def test_a_forged_recipe_is_found_and_refused(plfeat: Plfeat, tmp_path: Path, forged: str) -> None:
    store = forge.copy(tmp_path)
    edit(store / "recipe.json", RECIPES[forged])
    judged(plfeat, store, tmp_path, "train", again=False)


def test_a_store_in_a_folder_of_another_fingerprint_is_refused(plfeat: Plfeat, tmp_path: Path) -> None:
    store = forge.copy(tmp_path)
    store.rename(store.with_name("0123456789abcdef"))
    found_wrong(plfeat("cache", "verify", str(store.with_name("0123456789abcdef")), "--quiet"))


# ------------------------------------------------------------------------------------------------------------ lists


def put_in(name: str, value: str, line: int = 1) -> Callable[[dict[str, Any], list[list[str]]], None]:
    def change(_: dict[str, Any], lines: list[list[str]]) -> None:
        lines[line][column(lines, name)] = value

    return change


def swap_splits(_: dict[str, Any], lines: list[list[str]]) -> None:
    place = column(lines, "split")
    for line in lines[1:]:
        line[place] = {"train": "test", "test": "train"}[line[place]]


def header(**values: Any) -> Callable[[dict[str, Any], list[list[str]]], None]:
    return lambda head, lines: head.update(values)


LISTS: dict[str, tuple[Callable[[dict[str, Any], list[list[str]]], None], bool]] = {
    # what is done; whether it stays wrong when the hash is made to fit
    "label -1": (put_in("class", "-1"), True),
    "a label beyond the classes": (put_in("class", "3"), True),
    "a label of 10**9": (put_in("class", "1000000000"), True),
    "a class that is none": (put_in("class", "no such class"), True),
    "a class that paints": (put_in("class", "\x1b[31mred"), True),
    "another class": (lambda h, lines: put_in("class", lines[-1][column(lines, "class")])(h, lines), False),
    "train and test swapped": (swap_splits, False),
    "a split that is none": (put_in("split", "dev"), True),
    "a split with a newline": (put_in("split", "train\n"), True),
    "a video that is no key": (put_in("video", "../../x"), True),
    "a video of capitals": (put_in("video", "A" * 32), True),
    "a video too long": (put_in("video", "a" * 33), True),
    "a segment that is none": (put_in("video", "a" * 32 + "#t=nan,"), True),
    "a start that is no number": (put_in("start", "soon"), True),
    "a start of nan": (put_in("start", "nan"), True),
    "an end before the start": (lambda h, lines: (put_in("start", "3")(h, lines), put_in("end", "2")(h, lines)), True),
    "a start in the line and none in the key": (put_in("start", "0.5"), True),
    "a name twice": (lambda h, lines: lines.append(list(lines[-1])), True),
    "another order": (lambda h, lines: lines.insert(1, lines.pop()), True),
    "a line less": (lambda h, lines: lines.pop(), False),
    "no lines": (lambda h, lines: lines.__delitem__(slice(1, None)), True),
    "a cell less": (lambda h, lines: lines[3].pop(), True),
    "a cell more": (lambda h, lines: lines[3].append("x"), True),
    "a column less": (lambda h, lines: [line.pop(column(lines, "class")) for line in lines[::-1]], True),
    "a column twice": (lambda h, lines: [line.append(line[1]) for line in lines], True),
    "an unknown column": (lambda h, lines: [line.append("y") for line in lines], True),
    "no name": (put_in("name", ""), True),
    "a name that is absolute and leads out": (put_in("name", "/etc/../../x"), True),
    "a header that is empty": (lambda head, lines: head.clear(), True),
    "classes that are a word": (header(classes="abc"), True),
    "classes that are numbers": (header(classes=[1, 2, 3]), True),
    "classes in another order": (lambda head, lines: head["classes"].reverse(), False),
    "a class twice": (lambda head, lines: head["classes"].append(head["classes"][0]), True),
    "no classes": (header(classes=[]), True),
    "words too few": (header(words=["one"]), True),
    "words that are numbers": (header(words=[1, 2, 3]), True),
    "a mirror beyond": (header(mirror=[9, None, None]), True),
    "a stratum too few": (header(stratum=["one"]), True),
    "a list called otherwise": (header(name="../../other"), True),
}  # fmt: skip


@pytest.mark.parametrize("forged", LISTS)
def test_a_forged_list_is_found_and_refused(plfeat: Plfeat, tmp_path: Path, forged: str) -> None:
    store = forge.copy(tmp_path)
    change, stays = LISTS[forged]
    edit_list(store, change)
    judged(plfeat, store, tmp_path, "train", again=stays)


@pytest.mark.parametrize(
    "content", [b"", b"#", b"# {", b"# []\nname\n", b"\xff\xfe", b"# {}\n" + b"a," * 10**6, bytes(999)]
)
def test_junk_for_a_list_is_one_clear_line(plfeat: Plfeat, tmp_path: Path, content: bytes) -> None:
    store = forge.copy(tmp_path)
    (path,) = (store / "lists").glob("*.csv")
    path.write_bytes(content)
    judged(plfeat, store, tmp_path, "train", again=False)


def test_a_list_that_is_gone_is_refused(plfeat: Plfeat, tmp_path: Path) -> None:
    store = forge.copy(tmp_path)
    next((store / "lists").glob("*.csv")).unlink()
    judged(plfeat, store, tmp_path, "train", again=False)


# ------------------------------------------------------------------------------------------------------------ shards


def first_rows(videos: int) -> Callable[[Data, Data], None]:
    """A sound shard of fewer videos than the manifest says."""

    def change(data: Data, _: Data) -> None:
        rows = int(data["video_ptr"][videos])
        for name in ("features", "frame_index"):
            data[name] = data[name][:rows]
        for name in ("video", "status", "decoder", "error", "checksum"):
            data[name] = data[name][:videos]
        data["video_ptr"] = data["video_ptr"][: videos + 1]

    return change


def cell(name: str, place: Any, value: Any) -> Callable[[Data, Data], None]:
    def change(data: Data, _: Data) -> None:
        data[name] = np.array(data[name])
        data[name][place] = value

    return change


def kind(name: str, dtype: Any) -> Callable[[Data, Data], None]:
    return lambda data, _: data.update({name: np.asarray(data[name]).astype(dtype)})


def fact(name: str, value: Any) -> Callable[[Data, Data], None]:
    return lambda _, facts: facts.update({name: value})


SHARDS: dict[str, Callable[[Data, Data], Any]] = {
    "ten videos where the manifest says more": first_rows(10),
    "no videos": first_rows(0),
    "a feature that is no number": cell("features", (0, 0), np.nan),
    "all features of a video that are no numbers": cell("features", slice(0, 8), np.nan),
    "a feature that is endless": cell("features", (9, 3), np.inf),
    "a pointer below zero": cell("video_ptr", 0, -8),
    "a pointer beyond": cell("video_ptr", -1, 10**9),
    "pointers that go back": cell("video_ptr", 1, 10**6),
    "a frame below zero": cell("frame_index", 0, -1),
    "an unknown status": cell("status", 0, 7),
    "a failure that has features": cell("status", 0, 1),
    "a video twice": lambda data, _: data["video"].__setitem__(1, data["video"][0]),
    "a video that is no key": cell("video", 0, b"../../../../etc/passwd"),
    "a video that paints": cell("video", 0, b"\x1b[31m\n"),
    "an error that paints": lambda data, _: data.update(error=np.asarray([b"\x1b[31mred\n"] * len(data["video"]))),
    "videos in another order": lambda data, _: data.update(video=data["video"][::-1].copy()),
    "features as words": lambda data, _: data.update(features=np.full(np.shape(data["features"]), b"x")),
    "features of another kind": kind("features", np.float64),
    "features of integers": kind("features", np.int8),
    "pointers with fractions": kind("video_ptr", np.float64),
    "a status of words": kind("status", "S4"),
    "features with a row less": lambda data, _: data.update(features=data["features"][:-1]),
    "features flat": lambda data, _: data.update(features=data["features"].reshape(-1)),
    "features half as wide": lambda data, _: data.update(features=data["features"][:, ::2]),
    "frames missing": lambda data, _: data.pop("frame_index"),
    "features missing": lambda data, _: data.pop("features"),
    "checksums missing": lambda data, _: data.pop("checksum"),
    "pointers missing": lambda data, _: data.pop("video_ptr"),
    "another take": fact("take", "centre-9"),
    "a take that is a path": fact("take", "../../x"),
    "a take of bytes": fact("take", 8),
    "another recipe": fact("recipe", "0" * 16),
    "a maker that is junk": fact("maker", "{"),
    "a maker that is deep": fact("maker", "[" * 10_000),
    "another seal": fact("seal", "0" * 64),
    "another format": fact("plfeat_format", 2),
    "a format of words": fact("plfeat_format", "three"),
    "no attributes": lambda _, facts: facts.clear(),
}


@pytest.mark.parametrize("forged", SHARDS)
def test_a_forged_shard_is_found_and_refused(plfeat: Plfeat, tmp_path: Path, forged: str) -> None:
    store = forge.copy(tmp_path)
    rewrite(one_shard(store), SHARDS[forged])
    judged(plfeat, store, tmp_path, "train")


def as_group(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["features"]
        file.create_group("features")


def enormous(path: Path) -> None:
    """A file of a few bytes that claims a petabyte."""
    with h5py.File(path, "r+") as file:
        width = file["features"].shape[1]
        del file["features"]
        file.create_dataset("features", (10**12, width), np.float16, chunks=(1024, width))


FILES: dict[str, Forger] = {
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:3000]),
    "empty": lambda path: path.write_bytes(b""),
    "junk": lambda path: path.write_bytes(b"no hdf5" * 1000),
    "a flipped bit at its end": lambda path: path.write_bytes(path.read_bytes()[:-3] + b"\xaa\xbb\xcc"),
    "gone": lambda path: path.unlink(),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a pipe": lambda path: (path.unlink(), __import__("os").mkfifo(path)),
    "a group for features": as_group,
    "features that claim a petabyte": enormous,
}


@pytest.mark.parametrize("forged", FILES)
def test_a_shard_that_is_no_shard_is_found_and_refused(plfeat: Plfeat, tmp_path: Path, forged: str) -> None:
    store = forge.copy(tmp_path)
    FILES[forged](one_shard(store))
    judged(plfeat, store, tmp_path, "train", again=False)


@pytest.mark.parametrize("file", ["manifest.json", "recipe.json", "catalogue.csv", "ledger.jsonl"])
@pytest.mark.parametrize("forged", ["a folder", "a pipe"])
def test_a_pipe_or_a_folder_for_a_file_makes_nobody_wait(
    plfeat: Plfeat, tmp_path: Path, file: str, forged: str
) -> None:
    store = forge.copy(tmp_path)
    if not (store / file).exists():
        pytest.skip(f"a store without {file}")
    FILES[forged](store / file)
    with worlds.at_most(60):
        found_wrong(plfeat(*reads(store, tmp_path, "verify")))
        for which in ("info", "ls", "gc", "train", "merge"):
            said = plfeat(*reads(store, tmp_path, which))
            worlds.clean(said)
            assert said.code in (0, 3, 4)


def test_a_shard_of_another_store_is_found_and_refused(plfeat: Plfeat, tmp_path: Path) -> None:
    store = forge.copy(tmp_path)
    root = worlds.with_splits(tmp_path / "other", classes=5)
    worlds.extract(plfeat, tmp_path / "other cache", "--dataset", "folder", "--root", str(root))
    other = one_shard(worlds.store(tmp_path / "other cache"))
    one_shard(store).write_bytes(other.read_bytes())
    judged(plfeat, store, tmp_path, "train", again=False)


# ------------------------------------------------------------------------------------------------------------- texts


def reversed_classes(data: Data, _: Data) -> None:
    data["class"] = data["class"][::-1].copy()


def all_zero(data: Data, _: Data) -> None:
    data["sentence"] = np.zeros_like(data["sentence"])


def backwards(data: Data, _: Data) -> None:
    data["sentence"] = data["sentence"][::-1].copy()


TEXTS: dict[str, Callable[[Data, Data], Any]] = {
    "classes in another order": reversed_classes,
    "sentences in another order": backwards,
    "sentences all zero": all_zero,
    "a sentence that is no number": cell("sentence", (0, 0), np.nan),
    "sentences too few": lambda data, _: data.update(sentence=data["sentence"][:-1]),
    "sentences too narrow": lambda data, _: data.update(sentence=data["sentence"][:, :-1]),
    "classes that paint": lambda data, _: data["class"].__setitem__(0, b"\x1b[31m"),
    "tokens below zero": cell("token", 0, -1),
    "tokens beyond": cell("token", 0, 10**6),
    "pointers beyond": cell("text_ptr", -1, 10**9),
    "sentences missing": lambda data, _: data.pop("sentence"),
    "classes missing": lambda data, _: data.pop("class"),
}


@pytest.mark.parametrize("forged", TEXTS)
def test_forged_texts_are_found_and_refused(plfeat: Plfeat, tmp_path: Path, forged: str) -> None:
    store = forge.copy(tmp_path)
    rewrite(one_text(store), TEXTS[forged])
    judged(plfeat, store, tmp_path, "ensemble")


@pytest.mark.parametrize("forged", FILES)
def test_a_text_file_that_is_none_is_found_and_refused(plfeat: Plfeat, tmp_path: Path, forged: str) -> None:
    if "features" in forged:
        pytest.skip("a text file has none")
    store = forge.copy(tmp_path)
    FILES[forged](one_text(store))
    found_wrong(plfeat(*reads(store, tmp_path, "verify")))
    with worlds.at_most(120):
        said = plfeat(*reads(store, tmp_path, "ensemble"))
        worlds.clean(said)
        if forged == "gone" and said.code == 0:
            return  # the tower that lies beside can make them again
        refused(said)


TOWERS: dict[str, Forger] = {
    **{name: FILES[name] for name in ("cut short", "empty", "junk", "gone", "a flipped bit at its end", "a pipe")},
    "a header of 2**60 bytes": lambda path: path.write_bytes((2**60).to_bytes(8, "little") + path.read_bytes()[8:]),
    "a header that is junk": lambda path: path.write_bytes((4).to_bytes(8, "little") + b"{{{{" + path.read_bytes()[8:]),
}


@pytest.mark.parametrize("forged", TOWERS)
def test_a_forged_text_tower_is_found_and_refused(plfeat: Plfeat, tmp_path: Path, forged: str) -> None:
    store = forge.copy(tmp_path)
    (tower,) = (store / "text").glob("tower-*.safetensors")
    TOWERS[forged](tower)
    with worlds.at_most(120):
        found_wrong(plfeat(*reads(store, tmp_path, "verify")))
        said = plfeat(*reads(store, tmp_path, "prompts"))
        worlds.clean(said)
        if not (forged == "gone" and said.code == 0):  # the model may be had elsewhere
            refused(said)


def test_texts_of_other_classes_are_not_scored_with(plfeat: Plfeat, tmp_path: Path) -> None:
    """Two sound text files that have changed places."""
    store = forge.copy(tmp_path)
    names = worlds.names()
    own = worlds.write(
        tmp_path / "names.csv",
        "class,name\n" + "".join(f"{one},{other}\n" for one, other in zip(names[:3], names[5:8], strict=True)),
    )
    _, root = forge.sound()
    said = plfeat(
        "extract", "--dataset", "folder", "--root", str(root), *worlds.MODEL, "--pool", "pool", "--names", str(own),
        "--cache", str(store.parent.parent), "--workers", "1", "--quiet",
    )  # fmt: skip
    assert said.code == 0, said.err
    texts = sorted((store / "text").glob("*.h5"))
    if len(texts) < 2:
        pytest.skip("other names are no other text file here")
    one, two = (text.read_bytes() for text in texts[:2])
    texts[0].write_bytes(two)
    texts[1].write_bytes(one)
    for text in texts:
        forge.fit_text(text)
    judged(plfeat, store, tmp_path, "ensemble", again=False)


# ------------------------------------------------------------------------------------------ catalogue and ledger

CATALOGUES = {
    "junk": lambda text: "\0\0\0",
    "another header": lambda text: text.replace("video,", "film,", 1),
    "a video that is no key": lambda text: text.replace("\n", "\n../../x,/tmp,a.mp4,1,1\n", 1),
    "a path that leads out": lambda text: text.replace("\n", f"\n{'a' * 32},/tmp,../../etc/passwd,1,1\n", 1),
    "a size of words": lambda text: text.replace("\n", f"\n{'a' * 32},/tmp,a.mp4,large,1\n", 1),
    "a size below zero": lambda text: text.replace("\n", f"\n{'a' * 32},/tmp,a.mp4,-1,1\n", 1),
    "a path that paints": lambda text: text.replace("\n", f"\n{'a' * 32},/tmp,\x1b[31m.mp4,1,x\n", 1),
    "a cell less": lambda text: text.replace("\n", f"\n{'a' * 32},/tmp\n", 1),
}


@pytest.mark.parametrize("forged", CATALOGUES)
def test_a_forged_catalogue_is_found_and_breaks_nobody(plfeat: Plfeat, tmp_path: Path, forged: str) -> None:
    store = forge.copy(tmp_path)
    path = store / "catalogue.csv"
    path.write_text(CATALOGUES[forged](path.read_text(encoding="utf-8")), encoding="utf-8")
    _, root = forge.sound()
    outside = worlds.snapshot(root)
    found_wrong(plfeat(*reads(store, tmp_path, "verify")))
    for command in (
        *(reads(store, tmp_path, which) for which in ("info", "ls", "gc", "train")),
        forge.grows(store, root),
    ):
        said = plfeat(*command)
        worlds.clean(said)
        assert said.code in (0, 3, 4), said.err
    assert worlds.snapshot(root) == outside


@pytest.mark.parametrize(
    "junk", ["\0", "{", "[]\n", '{"video": "\\u001b[31m", "error": "\\u001b[31m"}\n', "\x1b[31m\n"]
)
def test_a_forged_ledger_breaks_nobody(plfeat: Plfeat, tmp_path: Path, junk: str) -> None:
    store = forge.copy(tmp_path)
    (store / "ledger.jsonl").write_text(junk)
    for which in ("verify", "info", "ls", "gc", "train"):
        said = plfeat(*reads(store, tmp_path, which))
        worlds.clean(said)
        assert said.code in (0, 3, 4), said.err


# ------------------------------------------------------------------------------------------------ memory and time


def test_counts_of_a_billion_take_no_memory(tmp_path: Path) -> None:
    for number, change in enumerate(
        (of_shard(videos=10**9), of_shard(rows=10**9), of_shard(videos=10**9, rows=8 * 10**9))
    ):
        store = forge.copy(tmp_path / str(number))
        edit(store / "manifest.json", change)
        for which, most in (("verify", 1.0), ("info", 1.0), ("train", 2.0)):
            done = worlds.process(*reads(store, tmp_path, which))
            worlds.clean(done)
            assert done.code in ((0, 4) if which == "info" else (4,)), done.err
            assert done.peak < most * 1e9, f"{which}: {done.peak / 1e9:.1f} GB"


def test_pointers_of_a_billion_take_no_memory(tmp_path: Path) -> None:
    for number, change in enumerate((cell("video_ptr", -1, 10**9), cell("frame_index", -1, 2**31 - 1))):
        store = forge.copy(tmp_path / str(number))
        rewrite(one_shard(store), change)
        for which, most in (("verify", 1.0), ("train", 2.0)):
            done = worlds.process(*reads(store, tmp_path, which))
            worlds.clean(done)
            assert done.code == 4, done.err
            assert done.peak < most * 1e9


# ------------------------------------------------------------------------------------------- bad neighbours, format 2


BAD: dict[str, Forger] = {
    "junk for a manifest": lambda store: (store / "manifest.json").write_bytes(b"{"),
    "deep junk for a manifest": lambda store: (store / "manifest.json").write_bytes(b"[" * 100_000),
    "junk for a recipe": lambda store: (store / "recipe.json").write_bytes(b"\xff"),
    "a list for a recipe": lambda store: (store / "recipe.json").write_bytes(b"[]"),
    "no manifest": lambda store: (store / "manifest.json").unlink(),
    "format 2": lambda store: (
        (store / "recipe.json").unlink(),
        (store / "spec.json").write_text('{"dataset": {"name": "toy"}, "model": {"model": "toy"}}'),
    ),
    "a manifest that is a folder": lambda store: (
        (store / "manifest.json").unlink(),
        (store / "manifest.json").mkdir(),
    ),
    "a recipe that paints": lambda store: edit(store / "recipe.json", RECIPES["a model that paints"]),
    "counts of a billion": lambda store: edit(store / "manifest.json", of_shard(videos=10**9, rows=-1)),
}


@pytest.mark.parametrize("bad", BAD)
def test_one_bad_folder_beside_a_good_one_stops_nobody(plfeat: Plfeat, tmp_path: Path, bad: str) -> None:
    good = forge.copy(tmp_path)
    worse = Path(worlds.shutil.copytree(good, tmp_path / "cache" / "another pool" / good.name))
    BAD[bad](worse)
    before = worlds.snapshot(good)
    said = plfeat("cache", "ls", "--cache", str(tmp_path / "cache"))
    worlds.clean(said)
    assert said.code == 0, said.err
    assert "pool" in said.out
    said = plfeat("cache", "ls", "--cache", str(tmp_path / "cache"), "--json")
    worlds.clean(said)
    assert any(str(good) in str(row.get("path")) for row in json.loads(said.out)), said.out
    for more in ((), ("--yes", "--days", "0")):
        said = plfeat("cache", "gc", "--cache", str(tmp_path / "cache"), *more)
        worlds.clean(said)
        assert said.code == 0, said.err
    assert worlds.snapshot(good) == before
    assert plfeat(*reads(good, tmp_path, "verify")).code == 0
    said = plfeat(*reads(good, tmp_path, "train"))
    assert said.code == 0, said.err


def test_a_cache_of_format_2_is_refused_in_one_clear_line(plfeat: Plfeat, tmp_path: Path) -> None:
    old = tmp_path / "cache" / "toy" / "ef415d4fbac73053"
    (old / "shards").mkdir(parents=True)
    (old / "spec.json").write_text(
        json.dumps({"dataset": {"name": "toy", "classes": ["a"]}, "model": {"model": "toy"}, "plfeat_format": 2})
    )
    (old / "manifest.json").write_text(json.dumps({"format": 2, "fingerprint": old.name, "shards": []}))
    (old / "made.json").write_text("{}")
    with h5py.File(old / "shards" / "train-00000.h5", "w") as file:
        file.attrs["plfeat_format"] = 2
    before = worlds.snapshot(old)
    for which in ("info", "train", "zero-shot", "merge", "verify"):
        said = plfeat(*reads(old, tmp_path, which))
        line = refused(said, codes=(4,))
        assert "2" in line
        assert "format" in line or "version" in line
        assert "extract" in line, "it says what to do next"
    said = plfeat("cache", "ls", "--cache", str(tmp_path / "cache"))
    worlds.clean(said)
    assert said.code == 0
    assert worlds.snapshot(old) == before, "it is refused, not touched"
    _, root = forge.sound()
    said = plfeat(
        "extract", "--dataset", "folder", "--root", str(root), *worlds.MODEL, "--cache", str(tmp_path / "cache"),
        "--workers", "1", "--quiet",
    )  # fmt: skip
    assert said.code == 0, said.err
    assert worlds.snapshot(old) == before
