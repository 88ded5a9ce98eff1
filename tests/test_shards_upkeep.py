"""Stores: what is wrong with them is found, parts become one, and what nobody needs is thrown away."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from stores import RANDOM, TOWER, edit_manifest, files, shard_path, some_list, texts, weights, whole_store
from test_shards import CENTRE, MAKER, RECIPE, grown, key, shard_of

from plfeat.errors import CacheError, UsageError
from plfeat.files import part_of
from plfeat.records import Listed
from plfeat.shards.catalogue import Seen, read_catalogue
from plfeat.shards.growth import Growth
from plfeat.shards.merge import merge
from plfeat.shards.schema import FAILED, Shard
from plfeat.shards.store import Store, open_store
from plfeat.shards.texts import read_texts, text_bytes
from plfeat.shards.upkeep import problems, remove_damaged, unfinished
from plfeat.shards.waste import throw_away, waste
from plfeat_cli.main import main

FINGERPRINT = RECIPE.fingerprint


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return whole_store(tmp_path / "cache" / "pool" / FINGERPRINT).path


def flip(path: Path, at: int = -20) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 8
    path.write_bytes(content)


def test_a_whole_store_has_no_problems(store: Path) -> None:
    assert list(problems(store)) == []
    assert remove_damaged(store) == []


DAMAGE = {
    "a flipped bit of features": lambda s: flip(shard_path(s), -9),
    "a shard lost": lambda s: shard_path(s).unlink(),
    "a shard cut short": lambda s: os.truncate(shard_path(s), 900),
    "texts lost": lambda s: (s / "text" / texts().name).unlink(),
    "texts damaged": lambda s: flip(s / "text" / texts().name),
    "texts without length": lambda s: _write_texts(s, np.zeros_like),
    "texts that are no numbers": lambda s: _write_texts(s, lambda rows: rows * np.float16(np.nan)),
    "the tower lost": lambda s: (s / "text" / TOWER).unlink(),
    "the tower damaged": lambda s: flip(s / "text" / TOWER, -1),
    "a list lost": lambda s: next((s / "lists").iterdir()).unlink(),
    "a list edited": lambda s: _edit(next((s / "lists").iterdir()), ",b,", ",a,"),
    "a list that is none": lambda s: next((s / "lists").iterdir()).write_text("["),
    "the catalogue damaged": lambda s: (s / "catalogue.csv").write_text("video\n"),
    "the ledger lost": lambda s: (s / "ledger.jsonl").unlink(),
    "the ledger damaged": lambda s: (s / "ledger.jsonl").write_text("x\n"),
    "no manifest": lambda s: (s / "manifest.json").unlink(),
    "a damaged manifest": lambda s: (s / "manifest.json").write_text("{"),
}


def _edit(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def _write_texts(store: Path, change) -> None:
    made = replace(texts(), sentence_ND=change(texts().sentence_ND))
    with Growth(store, RECIPE) as growth:
        growth.put_text(made.name, text_bytes(made))
        growth.finish()


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_found_and_what_is_made_again_is_the_same(store: Path, kind: str) -> None:
    """What an extraction does after the damaged files are gone: it makes what is lacking."""
    before = files(store)
    DAMAGE[kind](store)
    found = list(problems(store))
    assert found
    assert all("\n" not in line for line in found)
    remove_damaged(store)
    for path in (store / "lists").iterdir():  # which are not taken away but by hand
        if kind.startswith("a list"):
            path.unlink()
    with Growth(store, RECIPE) as growth:
        for shard in (shard_of([0, 1], status={1: 2}), shard_of([2, 3], status={3: FAILED}), shard_of([0, 1], RANDOM)):
            if growth.lacks(shard.video_N, shard.take):
                growth.add(shard)
        for name, content in ((texts().name, text_bytes(texts())), (TOWER, weights())):
            if not (store / "text" / name).exists():
                growth.put_text(name, content)
        growth.put_list(some_list(), {"train": (CENTRE, RANDOM), "other": (CENTRE,)})
        growth.note_files(Seen(key(n), "/videos", f"{n}.mp4", 10, 20) for n in range(4))
        growth.finish()
    assert list(problems(store)) == []
    assert files(store) == before


def test_a_list_that_was_edited_is_never_taken_away(store: Path) -> None:
    """It may be the only one that knows how videos were divided."""
    DAMAGE["a list edited"](store)
    (path,) = (store / "lists").iterdir()
    before = path.read_bytes()
    assert remove_damaged(store) == []
    assert path.read_bytes() == before


def test_a_manifest_that_was_lost_is_written_again_as_it_was(store: Path) -> None:
    before = (store / "manifest.json").read_bytes()
    (store / "manifest.json").unlink()
    with Growth(store, RECIPE) as growth:
        growth.finish()
    assert (store / "manifest.json").read_bytes() == before


def test_a_store_that_a_killed_run_was_growing_is_sound_and_says_what_is_left(store: Path) -> None:
    """What was there before is read as before; the next growth takes in what is new."""
    with Growth(store, RECIPE) as growth:
        growth.add(shard_of([5, 6]))
    assert list(problems(store)) == []
    assert list(unfinished(store)) == ["one shard of a run that did not finish; run the same `plfeat extract` again"]
    with Growth(store, RECIPE) as growth:
        growth.finish()
    assert list(unfinished(store)) == []
    assert open_store(store).lacks([key(5), key(6)], CENTRE) == []


def test_a_list_that_the_manifest_does_not_tell_of_is_said_and_taken_in(store: Path) -> None:
    before = (store / "manifest.json").read_bytes()
    edit_manifest(store, lambda manifest: manifest.update(lists={}))
    (said,) = problems(store)
    assert said.endswith("manifest.json does not tell of this list; run the same `plfeat extract` again")
    with Growth(store, RECIPE) as growth:
        growth.finish()
    assert (store / "manifest.json").read_bytes() == before


def test_a_folder_called_after_another_recipe_is_no_store_of_this_one(store: Path) -> None:
    """Any other name is the owner's to choose."""
    assert list(problems(store.rename(store.with_name("mine")))) == []
    (said,) = problems(store.with_name("mine").rename(store.with_name("0" * 16)))
    assert f"it is recipe {RECIPE.fingerprint}, its folder is called {'0' * 16}" in said


def test_what_a_list_was_promised_and_nobody_has_made_is_said(store: Path) -> None:
    with Growth(store, RECIPE) as growth:
        growth.put_list(some_list(6, "more"), {"train": (CENTRE, RANDOM), "other": (CENTRE,)})
        growth.finish()
    found = list(problems(store))
    assert [line.partition(": ")[2] for line in found] == [
        "1 of 3 videos have no take random-2-seed0-view0 yet",
        "2 of 3 videos have no take centre-4 yet",
    ]


def test_a_file_that_cannot_be_read_is_never_taken_for_a_damaged_one(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, opened = files(store), os.open

    def refuse(path: object, *more: object) -> int:
        if str(path).endswith(".h5"):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *more)  # type: ignore[arg-type]

    monkeypatch.setattr("plfeat.shards.room.os.open", refuse)
    monkeypatch.setattr("plfeat.shards.store._open", {})
    assert any("Permission denied" in line for line in problems(store))
    assert remove_damaged(store) == []
    with pytest.raises(CacheError, match="Permission denied"), Growth(store, RECIPE):
        pass
    monkeypatch.undo()
    assert files(store) == before


# --- merge


def part(folder: Path, *shards: Shard, pool: str = "pool") -> Path:
    return grown(folder / pool / FINGERPRINT, *shards).path


def test_parts_become_a_union_in_which_failures_give_way_to_features(tmp_path: Path) -> None:
    one = part(tmp_path / "1", shard_of([1, 2], status={2: FAILED}), shard_of([1], RANDOM))
    two = part(tmp_path / "2", shard_of([2, 3]), shard_of([4], status={4: FAILED}))
    store = merge([one, two], tmp_path / "cache").store
    assert store.path == tmp_path / "cache" / "pool" / FINGERPRINT
    assert store.rows([key(n) for n in (1, 2, 3)], CENTRE).read()[:, 0, 0].tolist() == [1, 2, 3]
    assert store.failed([key(n) for n in (1, 2, 3, 4)], CENTRE) == [key(4)]
    assert not store.lacks([key(1)], RANDOM)
    assert list(problems(store.path)) == []


def test_merging_again_and_in_another_order_changes_nothing(tmp_path: Path) -> None:
    parts = [part(tmp_path / str(n), shard_of([n, n + 1])) for n in range(3)]
    store = merge(parts, tmp_path / "cache").store
    before = files(store.path)
    again = merge([*reversed(parts), store.path], tmp_path / "cache")
    assert again.shards == 0
    assert files(store.path) == before
    assert files(merge(parts[::-1], tmp_path / "other").store.path)["manifest.json"] == before["manifest.json"]


def test_a_store_that_is_there_grows(tmp_path: Path, store: Path) -> None:
    merged = merge([part(tmp_path / "1", shard_of([7, 8]))], tmp_path / "cache")
    assert (merged.store.path, merged.shards) == (store, 1)
    assert list(problems(store)) == []
    assert merged.store.rows([key(0), key(7)], CENTRE).read()[:, 0, 0].tolist() == [0, 7]
    assert merged.store.lists.keys() == {"mine"}


def test_two_parts_with_other_features_of_one_video_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    other = shard_of([2, 3])
    other.features_RX[0] += 1
    parts = [part(tmp_path / "1", shard_of([1, 2])), part(tmp_path / "2", other)]
    with pytest.raises(CacheError) as caught:
        merge(parts, tmp_path / "cache")
    for said in (*(str(shard_path(p, n)) for p, n in zip(parts, (1, 2), strict=True)), key(2), CENTRE.name):
        assert said in str(caught.value)
    assert not (tmp_path / "cache").exists()


def test_a_part_that_was_never_finished_is_taken_whole(tmp_path: Path) -> None:
    with Growth(tmp_path / "1" / "pool" / FINGERPRINT, RECIPE) as growth:
        growth.add(shard_of([1]))
    assert merge([growth.folder], tmp_path / "cache").store.lacks([key(1), key(2)], CENTRE) == [key(2)]


def test_everything_that_parts_have_is_united(tmp_path: Path, store: Path) -> None:
    other = tmp_path / "2" / "pool" / FINGERPRINT
    more = replace(texts(), templates=("a {}",))
    with Growth(other, RECIPE) as growth:
        growth.add(replace(shard_of([9]), maker=MAKER | {"device": "cuda"}))
        growth.put_list(replace(some_list(0, "theirs"), rows=(Listed("9.mp4", 0, video=key(9)),)), TAKES)
        growth.put_text(more.name, text_bytes(more))
        growth.note_files([Seen(key(9), "/elsewhere", "9.mp4", 1, 2)])
        growth.finish()
    merged = merge([store, other], tmp_path / "all").store
    assert merged.lists.keys() == {"mine", "theirs"}
    assert merged.texts.keys() == {texts().name, more.name, TOWER}
    assert len(merged.manifest["makers"]) == 2
    assert {seen.video for seen in read_catalogue(merged.path)} == {key(n) for n in (0, 1, 2, 3, 9)}
    assert list(problems(merged.path)) == []


TAKES = {"train": (CENTRE,), "other": (CENTRE,)}


def with_list(folder: Path, videos, take=CENTRE) -> Path:
    with Growth(folder / "pool" / FINGERPRINT, RECIPE) as growth:
        growth.add(shard_of(list(range(8)), take))
        growth.put_list(videos, {"train": (take,), "other": (take,)})
        return growth.finish().path


def test_of_two_versions_of_a_list_the_one_that_goes_on_from_the_other_is_kept(tmp_path: Path) -> None:
    old, new = some_list(4), replace(some_list(4), rows=(*some_list(4).rows, Listed("z.mp4", 1, video=key(7))))
    parts = [with_list(tmp_path / "1", new), with_list(tmp_path / "2", old, RANDOM)]
    for number, order in enumerate((parts, parts[::-1])):
        merged = merge(order, tmp_path / f"cache{number}")
        assert merged.store.read_list("mine") == new
        assert len(merged.said) == 1
        assert len(list((merged.store.path / "lists").iterdir())) == 2
        assert set(merged.store.lists["mine"].takes["other"]) == {CENTRE, RANDOM}


@pytest.mark.parametrize(
    "rows",
    [
        [Listed("0.mp4", 1, ("train",), "g0", video=key(0))],
        [Listed("0.mp4", 0, ("test",), "g0", video=key(0))],
        [Listed("0.mp4", 0, ("train",), "g0", video=key(5))],
    ],
)
def test_lists_that_contradict_each_other_are_refused(tmp_path: Path, rows: list[Listed]) -> None:
    one = with_list(tmp_path / "1", some_list(4))
    two = with_list(tmp_path / "2", replace(some_list(4), rows=(*rows, *some_list(4).rows[1:])))
    with pytest.raises(CacheError, match=r"list mine: mine@.* contradict each other"):
        merge([one, two], tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    "kind", sorted(k for k in DAMAGE if k not in ("no manifest", "the ledger lost", "the ledger damaged"))
)
def test_a_damaged_part_is_refused_and_nothing_is_written(store: Path, tmp_path: Path, kind: str) -> None:
    DAMAGE[kind](store)
    with pytest.raises(CacheError):
        merge([part(tmp_path / "1", shard_of([1])), store], tmp_path / "all")
    assert not (tmp_path / "all").exists()


def test_texts_of_two_machines_may_round_differently_but_not_say_other_things(tmp_path: Path) -> None:
    parts = []
    for number, start in enumerate((1.0, 1.002, 5.0)):
        with Growth(tmp_path / str(number) / "pool" / FINGERPRINT, RECIPE) as growth:
            growth.put_text(texts().name, text_bytes(texts(start=start)))
            growth.finish()
        parts.append(growth.folder)
    merged = merge(parts[:2], tmp_path / "all").store
    assert (merged.path / "text" / texts().name).read_bytes() == text_bytes(texts())
    with pytest.raises(CacheError, match="should be the same and are not"):
        merge(parts, tmp_path / "more")


def test_the_pool_is_that_of_the_parts_or_what_is_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    one, two = part(tmp_path / "1", shard_of([1]), pool="a"), part(tmp_path / "2", shard_of([2]), pool="b")
    odd = part(tmp_path / "3", shard_of([3]), pool="-rf x")
    for parts, pool in (
        ([one, two], None),
        ([odd], None),
        ([one], "../../x"),
        ([one], "/x"),
        ([one], ""),
        ([one], "a\n"),
    ):
        with pytest.raises(UsageError, match="--pool"):
            merge(parts, tmp_path / "cache", pool)
    assert not (tmp_path / "cache").exists()
    assert merge([one, two, odd], tmp_path / "cache", "ab").store.pool == "ab"
    assert (
        main(["cache", "merge", str(one), str(two), "--pool", "c", "--cache", str(tmp_path / "cache"), "--json"]) == 0
    )
    said = json.loads(capfd.readouterr().out)
    assert (said["copied"], said["shards"], said["videos"], said["complete"]) == (2, 2, 2, True)
    assert main(["cache", "merge", str(one), str(tmp_path / "none"), "--cache", str(tmp_path / "cache")]) == 4


def test_a_store_of_another_recipe_is_no_part(tmp_path: Path) -> None:
    one = part(tmp_path / "1", shard_of([1]))
    other = replace(RECIPE, dtype="float32")
    with Growth(tmp_path / "2" / "pool" / other.fingerprint, other) as growth:
        growth.finish()
    with pytest.raises(CacheError, match="dtype is"):
        merge([one, growth.folder], tmp_path / "cache")


# --- gc


def old(path: Path) -> Path:
    os.utime(path, (0, 0), follow_symlinks=False)
    return path


def test_leftovers_are_named_first_and_go_on_request(store: Path, capfd: pytest.CaptureFixture[str]) -> None:
    root = store.parents[1]
    left = [old(_written(store / inside / ".x.host-1.part")) for inside in ("", "shards", "lists", "text")]
    live = _written(part_of(store / "shards" / shard_path(store).name))
    notes = _written(store / "notes.part" / "thesis.tex")
    rubbish = _written(store / "shards" / "centre-4-0123456789ab.h5")
    assert {item.path for item in waste(root, 7)} == {*left, rubbish}
    assert main(["cache", "gc", "--cache", str(root), "--json"]) == 0
    assert len(json.loads(capfd.readouterr().out)) == 5
    assert rubbish.exists()
    assert main(["cache", "gc", "--cache", str(root), "--yes"]) == 0
    assert waste(root, 0) == []
    assert live.exists()
    assert notes.exists()
    assert not any(path.exists() for path in (*left, rubbish))


def _written(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"xy")
    return path


def test_a_store_that_nobody_finished_goes_after_some_days_and_only_under_its_own_name(store: Path) -> None:
    (store / "manifest.json").unlink()
    other = store.rename(store.with_name("thesis"))
    other.rename(store)
    root = store.parents[1]
    assert [item.path for item in waste(root, 0)] == [store]
    assert waste(root, 7) == []
    renamed = store.rename(store.with_name("thesis"))
    assert waste(root, 0) == []
    renamed.rename(store)
    found = waste(root, 0)
    _written(store / "notes.txt")  # somebody went on meanwhile
    assert throw_away(found, 7) == []
    assert store.exists()
    throw_away(found, 0)
    assert not store.exists()


def test_shards_that_add_nothing_go_and_every_video_stays(tmp_path: Path) -> None:
    store = part(tmp_path, shard_of([1, 2], status={2: FAILED}), shard_of([1, 2]), shard_of([3], status={3: FAILED}))
    rows = open_store(store).rows([key(n) for n in (1, 2, 3)], CENTRE).read().tobytes()
    found = waste(tmp_path, 7)
    assert len(found) == 1
    throw_away(found, 7)
    assert open_store(store).rows([key(n) for n in (1, 2, 3)], CENTRE).read().tobytes() == rows
    assert open_store(store).failed([key(3)], CENTRE) == [key(3)]
    assert list(problems(store)) == []
    assert waste(tmp_path, 7) == []


def test_a_shard_is_not_superfluous_while_the_other_one_is_damaged(tmp_path: Path) -> None:
    one, other = shard_of([1, 2], status={2: FAILED}), shard_of([1, 2])
    store = part(tmp_path, one, other)
    flip(store / "shards" / other.name, -9)
    assert not any(item.path.name == one.name for item in waste(tmp_path, 7))


def test_a_store_that_somebody_grows_is_left_alone(store: Path) -> None:
    left = old(_written(store / ".x.host-1.part"))
    found = waste(store.parents[1], 7)
    with Growth(store, RECIPE):
        assert [item.why for item in throw_away(found, 7)] == ["somebody grows it now"]
        assert [item.kept for item in waste(store.parents[1], 7)] == [True]
        assert left.exists()
    assert [item.path for item in throw_away(found, 7)] == [left]


def test_links_are_named_and_never_followed(store: Path, tmp_path: Path) -> None:
    root, outside = store.parents[1], tmp_path / "outside"
    away = outside / FINGERPRINT
    whole_store(away)
    (away / "manifest.json").unlink()
    old(_written(away / "shards" / ".x.host-1.part"))
    (root / "linked").symlink_to(outside)
    (store.parent / "other").symlink_to(away)
    (store / "text").rename(outside / "text")
    (store / "text").symlink_to(outside / "text")
    (store / "shards" / ".y.host-1.part").symlink_to(outside / "text" / TOWER)
    before = files(outside)
    found = waste(root, 0)
    assert {item.path for item in found if item.kept} == {root / "linked", store.parent / "other", store / "text"}
    throw_away([replace(item, kept=False, store=item.path) for item in found], 0)
    assert main(["cache", "gc", "--cache", str(root), "--days", "0", "--yes"]) == 0
    assert files(outside) == before
    assert (store / "shards" / ".y.host-1.part").is_symlink()


def test_one_bad_folder_stops_nothing(store: Path) -> None:
    root = store.parents[1]
    left = old(_written(store / ".x.host-1.part"))
    for number, content in enumerate(("{", "[]", '{"format": 2}', "[" * 100000, "\x00")):
        _written(root / "bad" / "recipe.json") if number == 0 else None
        folder = root / "other" / str(number)
        folder.mkdir(parents=True)
        (folder / "recipe.json").write_text(content)
    os.mkfifo(root / "bad" / "fifo")
    found = waste(root, 0)
    assert [item.path for item in found if not item.kept] == [left]
    assert len([item for item in found if item.kept]) == 6


# --- several at once

GROW = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from test_shards import shard_of, RECIPE
from plfeat.shards.growth import Growth
for step in range(12):
    with Growth(Path(sys.argv[1]), RECIPE) as growth:
        for n in range(5):
            growth.add(shard_of([300 * int(sys.argv[3]) + step * 10 + n, 7]))
        growth.add(shard_of([7]))
        growth.finish()
"""

CLEAN = """
import sys
from pathlib import Path
from plfeat.shards.waste import throw_away, waste
while True:
    throw_away(waste(Path(sys.argv[1]), 0), 0)
"""


@pytest.mark.slow
def test_two_grow_one_store_while_a_third_throws_away_and_nothing_is_lost(tmp_path: Path) -> None:
    folder, here = tmp_path / "cache" / "pool" / FINGERPRINT, str(Path(__file__).parent)
    gc = subprocess.Popen([sys.executable, "-c", CLEAN, str(tmp_path / "cache")], stderr=subprocess.PIPE)
    growers = [
        subprocess.Popen([sys.executable, "-c", GROW, str(folder), here, str(n)], stderr=subprocess.PIPE)
        for n in (1, 2)
    ]
    for grower in growers:
        assert (grower.communicate(timeout=120)[1], grower.returncode) == (b"", 0)
    time.sleep(0.2)
    assert gc.poll() is None, gc.communicate()[1]
    gc.kill()
    gc.communicate()
    videos = [key(300 * n + step * 10 + m) for n in (1, 2) for step in range(12) for m in range(5)]
    store: Store = open_store(folder)
    assert store.lacks([*videos, key(7)], CENTRE) == []
    assert store.rows(videos, CENTRE).read()[:, 0, 0].tolist() == [int(video, 16) for video in videos]
    assert list(problems(folder)) == []


def test_texts_that_are_read_are_those_of_the_store(store: Path) -> None:
    assert read_texts(open_store(store).text(texts().name)).classes == ("a", "b")
    edit_manifest(store, lambda m: m["texts"][0].update(sha256="0" * 64))
    with pytest.raises(CacheError, match="sha256 is not the one"):
        open_store(store).text(texts().name)
