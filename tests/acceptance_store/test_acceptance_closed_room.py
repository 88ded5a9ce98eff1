"""A closed room: nothing in a store, a list or a part makes a command read, write or delete outside its folder."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forge
import h5py
import pytest
import worlds
from forge import edit, found_wrong, grows, one_shard, one_text, reads
from worlds import Plfeat, refused

pytestmark = pytest.mark.acceptance

SECRET = "CANARY-8d1f5c"
ALL = ("verify", "info", "train", "zero-shot", "ensemble", "prompts", "merge", "ls", "gc")
SELDOM = ("ensemble", "prompts")  # where they have something to refuse


def outside(tmp_path: Path) -> Path:
    """A folder beside the caches with things that are nobody's business: old ones, so that they look like waste."""
    folder = tmp_path / "outside"
    for name in (
        "letter.txt", "centre-8-0123456789ab.h5", "centre-8-0123456789ab.h5.part", ".centre-8-0123456789ab.h5.tmp",
        "manifest.json.tmp", "tmp8d1f5c", "deep/letter.txt", "lock",
    ):  # fmt: skip
        path = worlds.write(folder / name, f"{SECRET} {name}\n")
        os.utime(path, (10**9, 10**9))
    return folder


def untouched(plfeat: Plfeat, store: Path, away: Path, tmp_path: Path, *must_refuse: str) -> None:
    """All commands are run; those named must refuse, none may touch or tell what lies outside."""
    _, root = forge.sound()
    before = worlds.snapshot(away)
    commands = {which: reads(store, tmp_path, which) for which in ALL if which not in SELDOM or which in must_refuse}
    commands["grow"] = grows(store, root)
    commands["repair"] = ["cache", "verify", str(store), "--repair", "--root", str(root), "--quiet"]
    commands["gc again"] = reads(store, tmp_path, "gc")
    told = []
    for which, command in commands.items():
        with worlds.at_most(120), worlds.opened() as paths:
            said = plfeat(*command)
        worlds.clean(said)
        assert not [path for path in paths if Path(path).parts[: len(away.parts)] == away.parts], f"{which} opened it"
        assert SECRET not in said.out + said.err, f"{which} tells what it has read outside"
        if which == "verify" and which in must_refuse:
            found_wrong(said)
        elif which in must_refuse:
            refused(said)
        else:
            assert said.code in (0, 3, 4), (which, said.err)
        told.append((which, said.code))
        assert worlds.snapshot(away) == before, f"{which} touched what lies outside"
    merged = tmp_path / "merged"
    if merged.exists():
        for path in merged.rglob("*"):
            assert not path.is_symlink()
            assert not path.is_file() or SECRET.encode() not in path.read_bytes()


# ------------------------------------------------------------------------------------------------------------- links

LINKS: dict[str, tuple[Callable[[Path], Path], tuple[str, ...]]] = {
    "shards/": (lambda store: store / "shards", ("verify", "train", "merge", "grow")),
    "lists/": (lambda store: store / "lists", ("verify", "train", "merge", "grow")),
    "text/": (lambda store: store / "text", ("verify", "ensemble", "merge", "grow")),
    "a shard": (one_shard, ("verify", "train", "merge")),
    "a list": (lambda store: next((store / "lists").glob("*.csv")), ("verify", "train", "merge")),
    "a text file": (one_text, ("verify", "ensemble", "merge")),
    "the text tower": (lambda store: next((store / "text").glob("tower-*")), ("verify", "prompts")),
    "the manifest": (lambda store: store / "manifest.json", ("verify", "train", "merge", "grow")),
    "the recipe": (lambda store: store / "recipe.json", ("verify", "train", "merge", "grow")),
    "the catalogue": (lambda store: store / "catalogue.csv", ("verify",)),
    "the ledger": (lambda store: store / "ledger.jsonl", ("verify",)),
    "the lock": (lambda store: store / "lock", ()),
}


@pytest.mark.parametrize("what", LINKS)
@pytest.mark.parametrize("to", ["what it was", "a secret", "nothing"])
def test_a_link_is_refused_whatever_it_leads_to(plfeat: Plfeat, tmp_path: Path, what: str, to: str) -> None:
    """To the very file that belongs there: whoever follows the link would find a sound store."""
    store, away = forge.copy(tmp_path), outside(tmp_path)
    find, must_refuse = LINKS[what]
    path = find(store)
    if not os.path.lexists(path):
        if what != "the lock" and what != "the ledger":
            pytest.fail(f"there is no {path.name} in a store")
        path.touch()
    target = away / "moved" / path.name
    target.parent.mkdir()
    if to == "what it was":
        shutil.move(path, target)
    else:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        if to == "a secret":
            target = away / ("deep" if what.endswith("/") else "letter.txt")
    path.symlink_to(target)
    untouched(plfeat, store, away, tmp_path, *must_refuse)


def test_gc_deletes_nothing_outside_when_the_shards_are_a_link(plfeat: Plfeat, tmp_path: Path) -> None:
    store, away = forge.copy(tmp_path), outside(tmp_path)
    shutil.rmtree(store / "shards")
    (store / "shards").symlink_to(away)
    before = worlds.snapshot(away)
    said = plfeat(*reads(store, tmp_path, "gc"))
    worlds.clean(said)
    assert said.code in (0, 4)
    assert worlds.snapshot(away) == before


@pytest.mark.parametrize("where", ["pool", "store", "unfinished store"])
def test_gc_and_ls_do_not_walk_through_links_of_the_cache(plfeat: Plfeat, tmp_path: Path, where: str) -> None:
    """A link to a store is no store of this cache: what lies there is not swept."""
    good, away = forge.copy(tmp_path), outside(tmp_path)
    other = away / "pool" / good.name
    shutil.copytree(good, other)
    worlds.write(other / "shards" / "centre-8-0123456789ab.h5", SECRET)
    worlds.write(other / "shards" / ".left.tmp", SECRET)
    if where == "unfinished store":
        (other / "manifest.json").unlink()
    for path in away.rglob("*"):
        os.utime(path, (10**9, 10**9))
    if where == "pool":
        (tmp_path / "cache" / "link").symlink_to(away / "pool")
    else:
        (tmp_path / "cache" / "pool" / "0123456789abcdef").symlink_to(other)
    before = worlds.snapshot(away)
    for which in ("ls", "gc", "gc"):
        said = plfeat(*reads(good, tmp_path, which))
        worlds.clean(said)
        assert said.code == 0, said.err
    assert worlds.snapshot(away) == before
    assert plfeat(*reads(good, tmp_path, "verify")).code == 0


@pytest.mark.parametrize("what", ["shards", "lists", "text"])
def test_merge_writes_through_no_link_that_waits_where_it_writes(plfeat: Plfeat, tmp_path: Path, what: str) -> None:
    store, away = forge.copy(tmp_path), outside(tmp_path)
    into = tmp_path / "into" / "pool" / store.name
    into.mkdir(parents=True)
    (into / what).symlink_to(away)
    before = worlds.snapshot(away)
    said = plfeat("cache", "merge", str(store), "--cache", str(tmp_path / "into"), "--quiet")
    refused(said)
    assert worlds.snapshot(away) == before


# -------------------------------------------------------------------------------------------------------- forged names

EVIL = [
    "../../../../outside/{}",
    "../../../outside/{}",
    "../{}",
    "../lists/{}",
    "{outside}/{}",
    "./{}",
    "x/../{}",
    "{}\n",
    "\x1b[31m{}",
    "\x1b]0;title\x07{}",
    "{}\x00.h5",
    "..",
    ".",
    "",
    "a" * 5000,
    "\ud800{}",
]


def evil(template: str, name: str, away: Path) -> str:
    return template.replace("{outside}", str(away)).replace("{}", name)


def move(store: Path, folder: str, old: str, new: str) -> None:
    """The real file goes to where the forged name leads, so that following it would work."""
    try:
        target = store / folder / new
        if new and old in new:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(store / folder / old, target)
    except (OSError, ValueError):
        return  # no file can be called so


@pytest.mark.parametrize("template", EVIL, ids=lambda text: repr(text)[:40])
def test_a_forged_shard_name_leads_nowhere(plfeat: Plfeat, tmp_path: Path, template: str) -> None:
    store, away = forge.copy(tmp_path), outside(tmp_path)
    old = one_shard(store).name
    new = evil(template, old, away)
    move(store, "shards", old, new)
    edit(store / "manifest.json", lambda m: [s.update(name=new) for s in m["shards"] if s["name"] == old] and None)
    untouched(plfeat, store, away, tmp_path, "verify", "train", "merge")


@pytest.mark.parametrize("template", EVIL, ids=lambda text: repr(text)[:40])
def test_a_forged_list_name_leads_nowhere(plfeat: Plfeat, tmp_path: Path, template: str) -> None:
    store, away = forge.copy(tmp_path), outside(tmp_path)
    (path,) = (store / "lists").glob("*.csv")
    (name,) = worlds.manifest(store)["lists"]
    new = evil(template, name, away)
    rest = path.name.removeprefix(name)
    move(store, "lists", path.name, new + rest if name in new else "")
    edit(store / "manifest.json", lambda m: m.update(lists={new: m["lists"][name]}))
    untouched(plfeat, store, away, tmp_path, "verify", "train", "merge")


@pytest.mark.parametrize("template", EVIL, ids=lambda text: repr(text)[:40])
def test_a_forged_text_name_leads_nowhere(plfeat: Plfeat, tmp_path: Path, template: str) -> None:
    store, away = forge.copy(tmp_path), outside(tmp_path)
    old = one_text(store).name
    new = evil(template, old, away)
    move(store, "text", old, new)
    edit(store / "manifest.json", lambda m: [t.update(name=new) for t in m["texts"] if t["name"] == old] and None)
    untouched(plfeat, store, away, tmp_path, "verify", "merge")


FEW = ["../../../../outside/{}", "{outside}/{}", "{}\n", "\x1b[31m{}", "..", "\ud800{}"]


@pytest.mark.parametrize("template", FEW, ids=lambda text: repr(text)[:40])
@pytest.mark.parametrize("where", ["a shard's take", "a list's take", "a list's hash", "the fingerprint", "a split"])
def test_other_forged_names_lead_nowhere(plfeat: Plfeat, tmp_path: Path, template: str, where: str) -> None:
    store, away = forge.copy(tmp_path), outside(tmp_path)
    name = evil(template, "centre-8", away)

    def change(content: Any) -> None:
        listed = next(iter(content["lists"].values()))
        if where == "a shard's take":
            content["shards"][0]["take"] = name
        elif where == "a list's take":
            listed["takes"] = {"train": [name], "other": [name]}
        elif where == "a list's hash":
            listed["hash"] = name
        elif where == "the fingerprint":
            content["fingerprint"] = name
        else:
            listed["takes"] = {name: ["centre-8"]}

    edit(store / "manifest.json", change)
    untouched(plfeat, store, away, tmp_path, "verify", "train", "merge")


@pytest.mark.parametrize("asked", ["../../outside/letter", "/etc/passwd", "a\nb", "\x1b[31mred", "x@y", ""])
def test_a_list_asked_for_by_an_evil_name_is_not_looked_for(plfeat: Plfeat, tmp_path: Path, asked: str) -> None:
    store, away = forge.copy(tmp_path), outside(tmp_path)
    before = worlds.snapshot(away)
    said = plfeat(
        "train", "--frozen", "--preset", "nearest-mean", "--cache", str(store), f"--dataset={asked}",
        "--out", str(tmp_path / "runs"), "--quiet",
    )  # fmt: skip
    worlds.clean(said)
    if said.code:
        refused(said, codes=(2, 3, 4))
    assert SECRET not in said.err
    assert worlds.snapshot(away) == before


# ---------------------------------------------------------------------------------------------------------- merge


@pytest.mark.parametrize("name", ["{outside}/evil.h5", "../../evil.h5", "../../../../evil.h5", "../evil.h5"])
def test_merge_writes_nowhere_but_into_its_store(plfeat: Plfeat, tmp_path: Path, name: str) -> None:
    store, away = forge.copy(tmp_path), outside(tmp_path)
    shard = one_shard(store)
    new = name.replace("{outside}", str(away))
    for base in (store / "shards", store):
        target = Path(os.path.normpath(base / new))
        if target.is_relative_to(tmp_path):
            worlds.put(shard, target)
    old = shard.name
    edit(store / "manifest.json", lambda m: [s.update(name=new) for s in m["shards"] if s["name"] == old] and None)
    into = tmp_path / "deep" / "er" / "into"
    before = worlds.snapshot(tmp_path)
    said = plfeat("cache", "merge", str(store), "--cache", str(into), "--quiet")
    refused(said)
    after = {path: what for path, what in worlds.snapshot(tmp_path).items() if not Path(path).is_relative_to(into)}
    for path in (tmp_path / "deep", tmp_path / "deep" / "er"):
        after.pop(str(path), None)
    assert after == before


def test_of_a_good_and_a_forged_part_nothing_is_merged(plfeat: Plfeat, tmp_path: Path) -> None:
    good, away = forge.copy(tmp_path), outside(tmp_path)
    bad = Path(shutil.copytree(good, tmp_path / "bad" / good.parent.name / good.name))
    edit(bad / "manifest.json", lambda m: m["shards"][0].update(name="../../../outside/evil.h5"))
    before = worlds.snapshot(away)
    said = plfeat("cache", "merge", str(good), str(bad), "--cache", str(tmp_path / "into"), "--quiet")
    refused(said)
    assert worlds.snapshot(away) == before
    for path in worlds.stores(tmp_path / "into") if (tmp_path / "into").exists() else []:
        assert plfeat("cache", "info", str(path)).code == 4 or plfeat("cache", "verify", str(path)).code == 0


# ----------------------------------------------------------------------------------------- doors that HDF5 has itself


def by_external_link(path: Path, name: str, away: Path) -> None:
    shutil.copy(path, away / "real.h5")
    with h5py.File(path, "r+") as file:
        del file[name]
        file[name] = h5py.ExternalLink(str(away / "real.h5"), f"/{name}")


def by_relative_link(path: Path, name: str, away: Path) -> None:
    shutil.copy(path, away / "real.h5")
    with h5py.File(path, "r+") as file:
        del file[name]
        file[name] = h5py.ExternalLink(os.path.relpath(away / "real.h5", path.parent), f"/{name}")


def by_virtual_dataset(path: Path, name: str, away: Path) -> None:
    shutil.copy(path, away / "real.h5")
    with h5py.File(path, "r+") as file:
        shape, kind = file[name].shape, file[name].dtype
        layout = h5py.VirtualLayout(shape, kind)
        layout[...] = h5py.VirtualSource(str(away / "real.h5"), name, shape)
        del file[name]
        file.create_virtual_dataset(name, layout)


def by_raw_file(path: Path, name: str, away: Path) -> None:
    with h5py.File(path, "r+") as file:
        values = file[name][()]
        (away / "real.raw").write_bytes(values.tobytes())
        del file[name]
        file.create_dataset(name, values.shape, values.dtype, external=[(str(away / "real.raw"), 0, values.nbytes)])


DOORS = {
    "an external link": by_external_link,
    "a relative external link": by_relative_link,
    "a virtual dataset": by_virtual_dataset,
    "a raw file": by_raw_file,
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", ["features", "frame_index", "checksum", "video"])
@pytest.mark.parametrize("again", [False, True], ids=["as it is", "made to fit"])
def test_a_shard_that_keeps_its_data_elsewhere_is_refused(
    plfeat: Plfeat, tmp_path: Path, door: str, name: str, again: bool
) -> None:
    """The same numbers, so that all checksums hold."""
    store, away = forge.copy(tmp_path), outside(tmp_path)
    with h5py.File(one_shard(store)) as file:
        if file[name].dtype.kind == "O":
            pytest.skip("words of any length lie in no raw file")
    DOORS[door](one_shard(store), name, away)
    if again:
        forge.reseal(plfeat, store)
    untouched(plfeat, store, away, tmp_path, "verify", "train", "merge")


@pytest.mark.parametrize("door", DOORS)
def test_a_text_file_that_keeps_its_data_elsewhere_is_refused(plfeat: Plfeat, tmp_path: Path, door: str) -> None:
    store, away = forge.copy(tmp_path), outside(tmp_path)
    DOORS[door](one_text(store), "sentence", away)
    forge.fit_text(one_text(store))
    untouched(plfeat, store, away, tmp_path, "verify", "ensemble", "merge")


# ------------------------------------------------------------------------------------------------ records and reports


def test_what_a_run_says_of_its_store_leads_nowhere_either(plfeat: Plfeat, tmp_path: Path) -> None:
    """A record that a stranger hands over: report makes a table of it, or says what is wrong, and paints nothing."""
    store = forge.copy(tmp_path)
    out = tmp_path / "runs"
    worlds.train(plfeat, store, out)
    (path,) = out.rglob("record.json")
    for key, value in (
        ("dataset", "\x1b[31m../../x"),
        ("fingerprint", "../../x"),
        ("method", "a\nb\x1b[2J"),
        ("split", 3),
    ):
        content = json.loads(path.read_text())
        content[key] = value
        forged = worlds.write(tmp_path / "forged" / "record.json", json.dumps(content))
        for other in path.parent.iterdir():
            if other.name != "record.json":
                shutil.copy(other, forged.parent / other.name)
        said = plfeat("report", str(forged.parent), "--out", str(tmp_path / "r"), "--quiet")
        worlds.clean(said)
        assert said.code in (0, 1, 2, 3), said.err
