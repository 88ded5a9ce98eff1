"""The store's files: what is written is read back, what is damaged is never read, what is there is found."""

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plfeat.errors import CacheError, DataError
from plfeat.recipe import Recipe, Take
from plfeat.records import Listed, VideoList
from plfeat.shards.growth import Growth
from plfeat.shards.reader import read_shard
from plfeat.shards.schema import DOUBTFUL, FAILED, OK, Shard
from plfeat.shards.store import Store, open_store
from plfeat.shards.writer import shard_bytes

ENCODER = {"model": "toy", "image_sha256": "ab" * 32, "activation": "gelu"}
RECIPE = Recipe(ENCODER, {"size": [32, 32]}, "pyav", "float16", "float32", {"pretrained": "included"})
MAKER = {"torch": "2.14", "device": "cpu"}
CENTRE = Take("centre", 4)


def key(number: int) -> str:
    return f"{number:032x}"


def shard_of(videos: list[int], take: Take = CENTRE, status: dict[int, int] | None = None, width: int = 3) -> Shard:
    """Video n has features n, n + 1, … (and four frames), unless it failed."""
    status_N = np.array([(status or {}).get(n, OK) for n in videos], np.uint8)
    rows = [
        np.arange(take.frames * width, dtype=np.float16).reshape(-1, width) + n
        for n, s in zip(videos, status_N, strict=True)
        if s != FAILED
    ]
    lengths = np.where(status_N == FAILED, 0, take.frames)
    return Shard(
        features_RX=np.concatenate(rows) if rows else np.empty((0, width), np.float16),
        frame_index_R=np.arange(lengths.sum(), dtype=np.int32),
        video_ptr=np.cumsum([0, *lengths], dtype=np.int64),
        status_N=status_N,
        video_N=tuple(map(key, videos)),
        decoder_N=("pyav",) * len(videos),
        error_N=tuple("" if s == OK else "it broke" for s in status_N),
        take=take,
        recipe=RECIPE.fingerprint,
        maker=MAKER,
    )


def grown(folder: Path, *shards: Shard) -> Store:
    with Growth(folder, RECIPE) as growth:
        for shard in shards:
            growth.add(shard)
        return growth.finish()


def first_shard(store: Path) -> Path:
    return next((store / "shards").iterdir())


names = st.one_of(
    st.builds(Take, st.just("centre"), st.integers(1, 10**6), output=st.sampled_from(["features", "pre", "patch"])),
    st.builds(
        Take,
        st.just("random"),
        st.integers(1, 10**6),
        st.integers(0, 2**62),
        st.integers(0, 10**6),
        st.sampled_from(["none", "flip", "rand", "rand+flip"]),
    ),
    st.builds(Take, st.just("dense"), every=st.integers(1, 10**6), cap=st.integers(1, 10**6)),
    st.builds(Take, st.just("dense"), fps=st.floats(1e-6, 1e4, allow_nan=False), cap=st.integers(1, 10**6)),
)


@given(names)
def test_a_takes_name_is_the_whole_take(take: Take) -> None:
    assert Take.named(take.name) == take


@pytest.mark.parametrize(
    "name", ["", "centre", "centre-08", "../centre-8", "centre-8/x", "centre-8\n", "dense-fps-1-cap8"]
)
def test_a_name_that_is_no_takes_is_refused(name: str) -> None:
    with pytest.raises(CacheError, match="not the name of a take"):
        Take.named(name)


def test_a_recipe_says_what_sets_it_apart_and_its_source_does_not() -> None:
    other = replace(RECIPE, encoder=ENCODER | {"activation": "quick_gelu"}, dtype="float32")
    assert [name for name, *_ in RECIPE.diff(other)] == ["dtype", "encoder.activation"]
    assert RECIPE.fingerprint != other.fingerprint
    assert replace(RECIPE, source={"weights": "elsewhere"}).fingerprint == RECIPE.fingerprint
    assert Recipe.of(json.loads(json.dumps(RECIPE.as_dict()))).fingerprint == RECIPE.fingerprint


def test_videos_come_back_in_the_order_in_which_they_are_asked_for(tmp_path: Path) -> None:
    store = grown(tmp_path / "s", shard_of([5, 1, 9], status={1: FAILED}), shard_of([2, 4]))
    rows = store.rows([key(4), key(7), key(1), key(9), key(4), key(5)], CENTRE)
    assert rows.has.tolist() == [True, False, False, True, True, True]
    assert rows.shape == (4, 3)
    assert rows.read()[:, 0, 0].tolist() == [4, 9, 4, 5]
    assert rows.one(3)[0, 0] == 9
    assert store.lacks([key(7), key(1), key(2)], CENTRE) == [key(7)]
    assert store.failed([key(7), key(1), key(2)], CENTRE) == [key(1)]


@given(st.data())
def test_any_choice_of_videos_in_any_shards_is_what_each_alone_is(tmp_path_factory, data: st.DataObject) -> None:
    videos = data.draw(st.lists(st.integers(0, 200), unique=True, min_size=1, max_size=30))
    cuts = sorted(data.draw(st.lists(st.integers(1, len(videos)), max_size=4)))
    parts = [videos[a:b] for a, b in zip([0, *cuts], [*cuts, len(videos)], strict=True) if b > a]
    asked = data.draw(st.lists(st.sampled_from(videos), min_size=1, max_size=40))
    store = grown(tmp_path_factory.mktemp("store") / "s", *map(shard_of, parts))
    rows = store.rows([key(n) for n in asked], CENTRE)
    assert rows.read()[:, 0, 0].tolist() == asked
    seen = {int(at): block[i, 0, 0] for at_K, block in rows.blocks(3) for i, at in enumerate(at_K)}
    assert [seen[i] for i in range(len(asked))] == asked


def test_features_count_before_failures_and_the_first_before_later_ones(tmp_path: Path) -> None:
    store = grown(tmp_path / "s", shard_of([1, 2], status={1: FAILED}), shard_of([1], status={1: DOUBTFUL}))
    assert store.failed([key(1)], CENTRE) == []
    assert store.rows([key(1)], CENTRE).read()[0, 0, 0] == 1


def test_a_store_that_grows_has_the_bits_of_one_that_was_made_at_once(tmp_path: Path) -> None:
    at_once = grown(tmp_path / "one", shard_of(list(range(9))))
    for start in (0, 3, 6):
        steps = grown(tmp_path / "steps", shard_of(list(range(start, start + 3))))
    videos = [key(n) for n in range(9)]
    assert steps.rows(videos, CENTRE).read().tobytes() == at_once.rows(videos, CENTRE).read().tobytes()


def test_what_a_killed_run_left_behind_is_found_again(tmp_path: Path) -> None:
    with Growth(tmp_path / "s", RECIPE) as growth:
        growth.add(shard_of([1, 2]))
    with pytest.raises(CacheError, match="not finished"):
        open_store(tmp_path / "s")
    with Growth(tmp_path / "s", RECIPE) as growth:
        assert growth.lacks([key(n) for n in (1, 2, 3)], CENTRE) == [key(3)]


def test_a_flipped_bit_of_features_is_found_when_they_are_read_and_made_again(tmp_path: Path) -> None:
    store = grown(tmp_path / "s", shard_of([1, 2]), shard_of([3]))
    path = next(p for p in (store.path / "shards").iterdir() if read_shard(p)[0].video_N[0] == key(1))
    content = bytearray(path.read_bytes())
    with h5py.File(path) as file:
        content[file["features"].id.get_offset() + 3] ^= 1
    path.write_bytes(content)
    again = open_store(store.path)
    assert again.rows([key(3)], CENTRE).read()[0, 0, 0] == 3  # what is not asked for is not read
    with pytest.raises(CacheError, match="checksum"):
        again.rows([key(1), key(3)], CENTRE).read()
    with Growth(store.path, RECIPE) as growth:
        assert growth.lacks([key(n) for n in (1, 2, 3)], CENTRE) == [key(1), key(2)]
        growth.add(shard_of([1, 2]))
        growth.finish()
    assert open_store(store.path).rows([key(1)], CENTRE).read()[0, 0, 0] == 1


@pytest.mark.parametrize("array", ["video_ptr", "status", "video", "checksum", "frame_index", "error"])
def test_a_flipped_bit_elsewhere_breaks_the_seal(tmp_path: Path, array: str) -> None:
    store = grown(tmp_path / "s", shard_of([1, 2], status={2: FAILED}))
    path = first_shard(store.path)
    content = bytearray(path.read_bytes())
    with h5py.File(path) as file:
        content[file[array].id.get_offset()] ^= 1
    path.write_bytes(content)
    with pytest.raises(CacheError, match="seal"):
        open_store(store.path).rows([key(1)], CENTRE)


def test_takes_of_other_shapes_lie_side_by_side(tmp_path: Path) -> None:
    random = Take("random", 2, 0, 1, "flip")
    store = grown(tmp_path / "s", shard_of([1, 2]), shard_of([2], random), shard_of([1], replace(CENTRE, output="pre")))
    assert set(store.takes) == {CENTRE, random, replace(CENTRE, output="pre")}
    assert store.lacks([key(1), key(2)], random) == [key(1)]
    assert store.rows([key(2)], random).shape == (2, 3)


def test_videos_of_several_lengths_cannot_be_stacked_but_read_one_by_one(tmp_path: Path) -> None:
    dense = Take("dense", every=1)
    one, two = shard_of([1], Take("centre", 2)), shard_of([2], Take("centre", 3))
    store = grown(tmp_path / "s", *(replace(shard, take=dense) for shard in (one, two)))
    rows = store.rows([key(1), key(2)], dense)
    with pytest.raises(DataError, match="2 to 3 frames"):
        rows.read()
    assert [len(rows.one(n)) for n in range(2)] == [2, 3]


def test_a_store_of_another_recipe_is_never_grown(tmp_path: Path) -> None:
    grown(tmp_path / "s", shard_of([1]))
    other = Growth(tmp_path / "s", replace(RECIPE, dtype="float32"))
    with pytest.raises(CacheError, match='dtype is "float16", but what is asked for has "float32"'), other:
        pass


def test_a_store_of_the_format_before_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text("{}")
    with pytest.raises(CacheError, match="format 2 is not read; extract again"):
        open_store(tmp_path)


def test_a_list_lies_in_the_store_with_the_takes_that_were_made_for_it(tmp_path: Path) -> None:
    rows = tuple(Listed(f"{n}.mp4", n % 2, ("train",), video=key(n)) for n in range(4))
    videos = VideoList("mine", (*rows, Listed("gone.mp4", 0)), ("a", "b"), ("a", "b"))
    with Growth(tmp_path / "s", RECIPE) as growth:
        growth.add(shard_of([0, 1, 2, 3], status={1: FAILED, 2: DOUBTFUL}))
        growth.put_list(videos, {"train": (CENTRE,), "other": (CENTRE,)})
        tally = growth.tally(videos, lambda row: (CENTRE,))
        store = growth.finish()
    assert (tally.videos, tally.failed, tally.missing, tally.doubtful, tally.unmade) == (5, 2, 1, 1, 0)
    assert store.read_list("mine").rows == videos.rows
    assert store.lists["mine"].takes["train"] == (CENTRE,)
    ledger = [json.loads(line) for line in (store.path / "ledger.jsonl").read_text().splitlines()]
    assert [line["stage"] for line in ledger] == ["decode", "decode", "find"]


def test_the_same_shard_is_always_the_same_bytes() -> None:
    assert shard_bytes(shard_of([1, 2, 3])) == shard_bytes(shard_of([1, 2, 3]))
    assert shard_of([1, 2]).name != shard_of([1, 3]).name
