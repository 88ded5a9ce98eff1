"""Extract once: what has been looked at is never decoded again, shown by taking the videos away."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
import worlds
from worlds import Plfeat, bits, extract, film, names, process, put, records, report, shards, store, takes, train, write

pytestmark = pytest.mark.acceptance


def test_three_folds_of_ucf101_decode_each_video_once_and_two_methods_train_without_the_videos(
    plfeat: Plfeat, tmp_path: Path
) -> None:
    ucf, cache = worlds.ucf101(tmp_path), tmp_path / "cache"
    said = extract(plfeat, cache, *ucf.asked)
    assert (said["videos"], said["decoded"], said["reused"], said["failed"]) == (ucf.count, ucf.count, 0, 0)
    assert takes(store(cache)) == {"centre-8": ucf.count}
    ucf.lose()
    for preset in ("prompts", "nearest-mean"):
        rows = train(plfeat, cache, tmp_path / preset, "--dataset", "ucf101", preset=preset)
        assert len(rows) == 1, "one row a method"
        assert set(records(tmp_path / preset)) == {f"fold-{fold}/seed-0" for fold in (1, 2, 3)}
    rows = report(plfeat, tmp_path / "report", tmp_path / "prompts", tmp_path / "nearest-mean")
    assert len(rows) == 2, "one row a method"
    found = {}
    for preset in ("prompts", "nearest-mean"):
        (row,) = [row for row in rows if row["method"].startswith(preset)]
        runs = records(tmp_path / preset)
        tops = [runs[f"fold-{fold}/seed-0"]["metrics"]["top1"] for fold in (1, 2, 3)]
        assert row["top1"] == pytest.approx(sum(tops) / 3), "the mean over folds"
        for top in tops:
            assert any(figure == pytest.approx(top) for figure in worlds.figures(row["folds"])), "each fold's figure"
        found[preset] = row
    below = rows[1]["step"]
    assert below is not None, "the two are compared, paired by video within folds"
    assert below["gain"] == pytest.approx(rows[1]["top1"] - rows[0]["top1"])


def test_the_same_command_decodes_nothing_even_when_the_videos_are_gone(plfeat: Plfeat, tmp_path: Path) -> None:
    ucf, cache = worlds.ucf101(tmp_path, classes=2, groups=3), tmp_path / "cache"
    extract(plfeat, cache, *ucf.asked)
    before = shards(store(cache))
    again = extract(plfeat, cache, *ucf.asked)
    assert (again["decoded"], again["reused"]) == (0, 6)
    ucf.lose()
    again = extract(plfeat, cache, *ucf.asked)
    assert (again["videos"], again["decoded"], again["reused"], again["failed"]) == (6, 0, 6, 0)
    assert shards(store(cache)) == before


def test_one_fold_may_still_be_named(plfeat: Plfeat, tmp_path: Path) -> None:
    ucf, cache = worlds.ucf101(tmp_path, classes=2, groups=3), tmp_path / "cache"
    extract(plfeat, cache, *ucf.asked)
    ucf.lose()
    (row,) = train(plfeat, cache, tmp_path / "runs", "--dataset", "ucf101", "--fold", "2")
    assert len(records(tmp_path / "runs")) == 1
    assert row["n"] == 2


def test_hmdb51_brings_its_three_folds_at_once(plfeat: Plfeat, tmp_path: Path) -> None:
    hmdb, cache = worlds.hmdb51(tmp_path), tmp_path / "cache"
    said = extract(plfeat, cache, *hmdb.asked)
    assert (said["videos"], said["decoded"]) == (hmdb.count, hmdb.count)
    hmdb.lose()
    assert len(train(plfeat, cache, tmp_path / "runs", "--dataset", "hmdb51")) == 1
    assert set(records(tmp_path / "runs")) == {f"fold-{fold}/seed-0" for fold in (1, 2, 3)}


@pytest.mark.parametrize("of", ["mini-k200", "few-shot"])
def test_a_list_over_k400s_store_decodes_nothing_when_the_videos_are_gone(
    plfeat: Plfeat, tmp_path: Path, of: str
) -> None:
    k400, cache = worlds.k400(tmp_path), tmp_path / "cache"
    assert extract(plfeat, cache, *k400.asked)["decoded"] == k400.count == 36
    before = shards(store(cache))
    other = worlds.mini_k200(k400, tmp_path) if of == "mini-k200" else worlds.kinetics100(k400, tmp_path)
    k400.lose()
    said = extract(plfeat, cache, *other.asked)
    assert (said["videos"], said["decoded"], said["reused"], said["failed"]) == (other.count, 0, other.count, 0)
    assert said.get("missing", 0) == 0
    assert shards(store(cache)) == before, "one store, and nothing in it was made again"
    if of == "mini-k200":
        (row,) = train(plfeat, cache, tmp_path / "runs", "--dataset", "mini-k200")
        assert (row["n"], row["missing"]) == (3, 0)


def test_with_the_videos_in_place_mini_k200_finds_the_pool_of_k400_by_itself(plfeat: Plfeat, tmp_path: Path) -> None:
    k400, cache = worlds.k400(tmp_path), tmp_path / "cache"
    extract(plfeat, cache, *k400.asked)
    mini = worlds.mini_k200(k400, tmp_path)
    said = extract(plfeat, cache, *mini.asked)
    assert (said["decoded"], said["reused"]) == (0, mini.count)
    assert set(worlds.manifest(store(cache))["lists"]) == {"k400", "mini-k200"}


def test_a_copy_of_k400_on_another_mount_shares_its_pool_if_the_pool_is_named(plfeat: Plfeat, tmp_path: Path) -> None:
    k400, cache = worlds.k400(tmp_path), tmp_path / "cache"
    extract(plfeat, cache, *k400.asked, "--pool", "kinetics")
    assert store(cache).parent.name == "kinetics"
    mini = worlds.mini_k200(k400, tmp_path)
    elsewhere = tmp_path / "elsewhere"
    shutil.move(k400.videos, elsewhere)
    said = extract(
        plfeat,
        cache,
        "--dataset",
        "mini-k200",
        "--root",
        str(elsewhere),
        "--lists",
        str(mini.lists),
        "--pool",
        "kinetics",
    )
    assert (said["decoded"], said["reused"]) == (0, mini.count)


def test_other_class_names_cost_nothing(plfeat: Plfeat, tmp_path: Path) -> None:
    ucf, cache = worlds.ucf101(tmp_path, classes=2, groups=3), tmp_path / "cache"
    extract(plfeat, cache, *ucf.asked)
    before = shards(store(cache))
    ucf.lose()
    own = write(
        tmp_path / "names.csv",
        "class,name\n" + "".join(f"{worlds.camel(name)},something {place}\n" for place, name in enumerate(names()[:2])),
    )
    train(plfeat, cache, tmp_path / "runs", "--fold", "1", "--names", str(own), preset="zero-shot")
    (record,) = records(tmp_path / "runs").values()
    assert "something 0" in json.dumps(record), "the record says which words were used"
    said = extract(plfeat, cache, *ucf.asked, "--names", str(own))
    assert (said["decoded"], said["reused"]) == (0, 6)
    assert shards(store(cache)) == before


def test_another_split_costs_nothing(plfeat: Plfeat, tmp_path: Path) -> None:
    root, cache = worlds.unsplit(tmp_path / "mine"), tmp_path / "cache"
    extract(plfeat, cache, "--dataset", "folder", "--root", str(root), "--split", "70/10/20")
    before = shards(store(cache))
    shutil.rmtree(root)
    train(plfeat, cache, tmp_path / "half", "--split", "50/0/50")
    train(plfeat, cache, tmp_path / "folds", "--folds", "3")
    (half,) = records(tmp_path / "half").values()
    assert half["n"] == pytest.approx(18, abs=3)
    assert len(records(tmp_path / "folds")) == 3
    assert shards(store(cache)) == before


def test_another_list_of_ones_own_over_the_same_videos_costs_nothing(plfeat: Plfeat, tmp_path: Path) -> None:
    root, cache = worlds.with_splits(tmp_path / "mine"), tmp_path / "cache"
    extract(plfeat, cache, "--dataset", "folder", "--root", str(root))
    before = shards(store(cache))
    paths = [path.relative_to(root).as_posix() for path in sorted(root.rglob("*.mp4"))]
    own = worlds.table(
        tmp_path / "swapped.csv",
        [
            {"path": path, "label": "first" if place % 4 < 2 else "second", "split": ("train", "test")[place % 2]}
            for place, path in enumerate(paths)
        ],
    )
    shutil.rmtree(root)
    said = extract(plfeat, cache, "--dataset", "csv", "--root", str(root), "--lists", str(own))
    assert (said["videos"], said["decoded"], said["reused"]) == (20, 0, 20)
    assert shards(store(cache)) == before
    (row,) = train(plfeat, cache, tmp_path / "runs", "--dataset", "swapped")
    assert row["n"] == 10


def test_one_video_added_to_36_is_one_decoded(plfeat: Plfeat, tmp_path: Path) -> None:
    root, cache = worlds.unsplit(tmp_path / "mine"), tmp_path / "cache"
    command = ("--dataset", "folder", "--root", str(root), "--split", "70/10/20")
    assert extract(plfeat, cache, *command)["decoded"] == 36
    before, old = shards(store(cache)), worlds.assigned(store(cache))
    put(film(0, 9), root / names()[0] / "new.mp4")
    said = extract(plfeat, cache, *command)
    assert (said["videos"], said["decoded"], said["reused"], said["failed"]) == (37, 1, 36, 0)
    assert before.items() <= shards(store(cache)).items(), "what was there is as it was"
    now = worlds.assigned(store(cache))
    assert len(now) == 37
    assert {name: now[name] for name in old} == old, "no old video has moved"
    assert extract(plfeat, cache, *command)["decoded"] == 0


def test_the_old_36_are_not_even_opened_by_a_decoder_when_one_is_added(plfeat: Plfeat, tmp_path: Path) -> None:
    """Their content is spoiled behind the store's back: path, size and time say that there is nothing new."""
    root, cache = worlds.unsplit(tmp_path / "mine"), tmp_path / "cache"
    command = ("--dataset", "folder", "--root", str(root), "--split", "70/10/20")
    extract(plfeat, cache, *command)
    for video in root.rglob("*.mp4"):
        worlds.spoil(video)
    put(film(0, 9), root / names()[0] / "new.mp4")
    said = extract(plfeat, cache, *command)
    assert (said["videos"], said["decoded"], said["reused"], said["failed"]) == (37, 1, 36, 0)


def test_a_list_of_37_of_which_only_the_new_one_still_lies_there_decodes_one(plfeat: Plfeat, tmp_path: Path) -> None:
    root, cache = worlds.unsplit(tmp_path / "mine"), tmp_path / "cache"
    paths = [path.relative_to(root).as_posix() for path in sorted(root.rglob("*.mp4"))]
    lines = [
        {"path": path, "label": path.split("/")[0], "split": ("train", "test")[place % 2]}
        for place, path in enumerate(paths)
    ]
    listed = worlds.table(tmp_path / "films.csv", lines)
    command = ("--dataset", "csv", "--root", str(root), "--lists", str(listed))
    assert extract(plfeat, cache, *command)["decoded"] == 36
    shutil.rmtree(root)
    put(film(0, 9), root / "new.mp4")
    worlds.table(listed, [*lines, {"path": "new.mp4", "label": names()[0], "split": "train"}])
    said = extract(plfeat, cache, *command)
    assert (said["videos"], said["decoded"], said["reused"], said["failed"]) == (37, 1, 36, 0)


def test_ten_views_on_a_centre_store_are_of_training_videos_only_and_leave_the_centres_alone(
    plfeat: Plfeat, tmp_path: Path
) -> None:
    root, cache = worlds.with_splits(tmp_path / "mine"), tmp_path / "cache"
    command = ("--dataset", "folder", "--root", str(root))
    extract(plfeat, cache, *command)
    centres = shards(store(cache), "centre-8-")
    assert centres
    before = bits(store(cache))
    for video in (root / "test").rglob("*.mp4"):
        worlds.spoil(video)  # whoever decodes one of them fails
    said = extract(plfeat, cache, *command, "--views", "10")
    assert (said["videos"], said["decoded"], said["failed"]) == (20, 12, 0)
    assert shards(store(cache), "centre-8-") == centres, "the centres' files, byte by byte"
    assert takes(store(cache)) == {"centre-8": 20} | {f"random-8-seed0-view{view}": 12 for view in range(10)}
    with_ten = bits(store(cache))
    assert before.items() <= with_ten.items()
    trained = {row["video"] for row in worlds.rows(store(cache)) if row["split"] == "train"}
    assert {video for take, video in with_ten if take.startswith("random")} == trained
    ten = shards(store(cache))
    said = extract(plfeat, cache, *command, "--views", "20")
    assert (said["decoded"], said["failed"]) == (12, 0)
    assert takes(store(cache)) == {"centre-8": 20} | {f"random-8-seed0-view{view}": 12 for view in range(20)}
    assert ten.items() <= shards(store(cache)).items(), "the first ten views are as they were"
    assert extract(plfeat, cache, *command, "--views", "20")["decoded"] == 0
    shutil.rmtree(root)
    (row,) = train(plfeat, cache, tmp_path / "runs")
    assert row["n"] == 8


def test_test_views_are_of_the_others_only(plfeat: Plfeat, tmp_path: Path) -> None:
    root, cache = worlds.with_splits(tmp_path / "mine"), tmp_path / "cache"
    command = ("--dataset", "folder", "--root", str(root))
    extract(plfeat, cache, *command)
    said = extract(plfeat, cache, *command, "--test-views", "3")
    assert said["decoded"] == 8
    assert takes(store(cache)) == {"centre-8": 20} | {f"random-8-seed0-view{view}": 8 for view in range(3)}


def test_fewer_views_than_there_are_cost_nothing(plfeat: Plfeat, tmp_path: Path) -> None:
    root, cache = worlds.with_splits(tmp_path / "mine"), tmp_path / "cache"
    command = ("--dataset", "folder", "--root", str(root))
    extract(plfeat, cache, *command, "--views", "3")
    shutil.rmtree(root)
    assert extract(plfeat, cache, *command, "--views", "2")["decoded"] == 0


def test_other_outputs_and_dense_frames_join_the_store_and_leave_the_centres_alone(
    plfeat: Plfeat, tmp_path: Path
) -> None:
    root, cache = worlds.with_splits(tmp_path / "mine"), tmp_path / "cache"
    command = ("--dataset", "folder", "--root", str(root))
    extract(plfeat, cache, *command)
    centres = shards(store(cache), "centre-8-")
    extract(plfeat, cache, *command, "--also", "pre")
    extract(plfeat, cache, *command, "--every", "4")
    found = takes(store(cache))
    assert (found["centre-8"], found["centre-8.pre"]) == (20, 20)
    assert sum(count for take, count in found.items() if take.startswith("dense-every4")) == 20
    assert centres.items() <= shards(store(cache), "centre-8-").items()


def test_a_replaced_file_of_the_same_size_is_one_decoded(plfeat: Plfeat, tmp_path: Path) -> None:
    root, cache = worlds.with_splits(tmp_path / "mine"), tmp_path / "cache"
    command = ("--dataset", "folder", "--root", str(root))
    extract(plfeat, cache, *command)
    old = {row["name"]: row["video"] for row in worlds.rows(store(cache))}
    victim = max(root.rglob("*.mp4"), key=lambda path: path.stat().st_size)
    worlds.replace_by_another_of_the_same_size(victim, worlds.films()[200:])
    said = extract(plfeat, cache, *command)
    assert (said["videos"], said["decoded"], said["reused"], said["failed"]) == (20, 1, 19, 0)
    new = {row["name"]: row["video"] for row in worlds.rows(store(cache))}
    changed = [name for name in old if new[name] != old[name]]
    assert len(changed) == 1, "the list says which video it is now"
    assert victim.stem in changed[0]
    assert takes(store(cache))["centre-8"] == 21, "what the store knew of the old file is not thrown away"


def test_k400_moved_flattened_and_with_new_times_is_the_same_videos(plfeat: Plfeat, tmp_path: Path) -> None:
    k400, cache = worlds.k400(tmp_path), tmp_path / "cache"
    extract(plfeat, cache, *k400.asked)
    before, lists = shards(store(cache)), worlds.manifest(store(cache))["lists"]["k400"]["hash"]
    flat = tmp_path / "another mount" / "flat"
    for place, video in enumerate(sorted(k400.videos.rglob("*.mp4"))):
        moved = put(video, flat / video.name)
        os.utime(moved, (10**9 + place, 10**9 + place))
    k400.lose()
    said = extract(plfeat, cache, "--dataset", "k400", "--root", str(flat), "--lists", str(k400.lists))
    assert (said["videos"], said["decoded"], said["reused"], said["failed"]) == (36, 0, 36, 0)
    assert shards(store(cache)) == before
    assert worlds.manifest(store(cache))["lists"]["k400"]["hash"] == lists, "the same list, wherever the videos lie"


def test_a_newer_av_makes_16_videos_again_and_then_none(plfeat: Plfeat, tmp_path: Path) -> None:
    root, cache = worlds.unsplit(tmp_path / "mine"), tmp_path / "cache"
    command = ("--dataset", "folder", "--root", str(root), "--split", "70/10/20")
    extract(plfeat, cache, *command)
    before = shards(store(cache))
    put(film(0, 9), root / names()[0] / "new.mp4")
    newer = worlds.pretending(tmp_path / "newer", worlds.NEWER_AV, av="99.0.0")
    line = ("extract", *command, *worlds.MODEL, "--cache", str(cache), "--workers", "1", "--json")
    said = process(*line, **newer)
    assert said.code == 0, said.err
    first = worlds.counted(json.loads(said.out))
    assert first["decoded"] in (1, 17), first
    assert 16.0 in worlds.figures(first) or re.search(r"\b16\b", said.err), "it says that it made 16 again"
    assert len(stores(cache)) == 1, "another version is not another store"
    assert before.items() <= shards(store(cache)).items()
    said = process(*line, **newer)
    assert (said.code, worlds.counted(json.loads(said.out))["decoded"]) == (0, 0), said.err
    put(film(1, 9), root / names()[1] / "new.mp4")
    said = process(*line, **newer)
    assert (said.code, worlds.counted(json.loads(said.out))["decoded"]) == (0, 1), "known by now: no 16 again"
    makers = worlds.manifest(store(cache))["makers"]
    assert len(makers) == 2, "both makers are on record"
    assert "99.0.0" in json.dumps(makers)
    assert plfeat("cache", "verify", str(store(cache)), "--quiet").code == 0


def test_a_newer_av_with_nothing_to_add_decodes_nothing_or_16_once(plfeat: Plfeat, tmp_path: Path) -> None:
    root, cache = worlds.with_splits(tmp_path / "mine"), tmp_path / "cache"
    command = ("--dataset", "folder", "--root", str(root))
    extract(plfeat, cache, *command)
    newer = worlds.pretending(tmp_path / "newer", worlds.NEWER_AV, av="99.0.0")
    line = ("extract", *command, *worlds.MODEL, "--cache", str(cache), "--workers", "1", "--json", "--quiet")
    counts = []
    for _ in range(2):
        said = process(*line, **newer)
        assert said.code == 0, said.err
        counts.append(json.loads(said.out)["decoded"])
    assert counts[0] in (0, 16)
    assert counts[1] == 0


def test_a_failed_video_is_remembered_until_retry_is_given(plfeat: Plfeat, tmp_path: Path) -> None:
    root, cache = worlds.with_splits(tmp_path / "mine"), tmp_path / "cache"
    broken = sorted(root.rglob("*.mp4"))[3]
    broken.write_bytes(b"no film at all" * 100)
    command = ("--dataset", "folder", "--root", str(root))
    first = extract(plfeat, cache, *command)
    assert (first["videos"], first["failed"]) == (20, 1)
    again = extract(plfeat, cache, *command)
    assert (again["videos"], again["decoded"], again["failed"]) == (20, 0, 1), "still said, not tried again"
    retried = extract(plfeat, cache, *command, "--retry")
    assert (retried["videos"], retried["failed"]) == (20, 1)
    assert retried["reused"] == 19
    put(film(5, 0), broken)
    mended = extract(plfeat, cache, *command)
    assert (mended["decoded"], mended["failed"]) == (1, 0), "another file is another video"


def test_segments_are_videos_of_their_own_and_are_made_once(plfeat: Plfeat, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    root = tmp_path / "films"
    for number in range(4):
        put(film(0, number), root / f"{number}.mp4")
    lines = [
        {"path": f"{number}.mp4", "label": ("a", "b")[half], "split": ("train", "test")[number % 2],
         "start": ("0", "0.4")[half], "end": ("0.4", "")[half]}
        for number in range(4)
        for half in range(2)
    ]  # fmt: skip
    listed = worlds.table(tmp_path / "halves.csv", lines)
    command = ("--dataset", "csv", "--root", str(root), "--lists", str(listed))
    said = extract(plfeat, cache, *command)
    assert (said["videos"], said["decoded"], said["failed"]) == (8, 8, 0)
    assert {video.partition("#")[2] for _, video in bits(store(cache))} == {"t=0,0.4", "t=0.4,"}
    shutil.rmtree(root)
    assert extract(plfeat, cache, *command)["decoded"] == 0


def test_a_file_under_two_names_is_one_video_and_the_check_says_so(plfeat: Plfeat, tmp_path: Path) -> None:
    root, cache = worlds.with_splits(tmp_path / "mine"), tmp_path / "cache"
    one = sorted((root / "train").rglob("*.mp4"))[0]
    put(one, one.with_name("twin.mp4"))
    said = extract(plfeat, cache, "--dataset", "folder", "--root", str(root))
    assert (said["videos"], said["failed"]) == (21, 0)
    assert takes(store(cache)) == {"centre-8": 20}
    checked = plfeat("datasets", "check", "folder", str(root))
    assert "twin" in checked.out + checked.err, checked


def stores(cache: Path) -> list[Path]:
    return worlds.stores(cache)


def test_units_of_work_on_a_cpu_are_small_so_that_a_kill_costs_little(plfeat: Plfeat, tmp_path: Path) -> None:
    """About 256 frames over all takes: with ten views of eight frames and the centre, three videos at a time."""
    root, cache = worlds.with_splits(tmp_path / "mine", classes=6, train=4, test=1), tmp_path / "cache"
    extract(plfeat, cache, "--dataset", "folder", "--root", str(root), "--views", "10")
    import h5py

    for path in (store(cache) / "shards").glob("random-8-*.h5"):
        with h5py.File(path) as file:
            assert len(file["features"]) <= 8 * 8, "of one take no more than a few videos at a time"
    for path in (store(cache) / "shards").glob("*.h5"):
        with h5py.File(path) as file:
            assert len(file["features"]) <= 512


def test_the_format_says_no_label_in_a_shard(plfeat: Plfeat, tmp_path: Path) -> None:
    import h5py

    root, cache = worlds.with_splits(tmp_path / "mine"), tmp_path / "cache"
    extract(plfeat, cache, "--dataset", "folder", "--root", str(root))
    for path in (store(cache) / "shards").glob("*.h5"):
        with h5py.File(path) as file:
            assert not {"label", "split", "class", "id", "name"} & set(file)
            for name in ("features", "frame_index", "video_ptr", "video", "status", "decoder", "error", "checksum"):
                assert name in file
                assert file[name].chunks is None, "contiguous, so that it can be mapped"
