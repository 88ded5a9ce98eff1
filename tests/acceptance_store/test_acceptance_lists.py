"""Lists laid over a store: splits and folds of one's own, groups, names, and which store a command means."""

import csv
import json
import re
import shutil
import time
from collections import Counter, defaultdict
from pathlib import Path

import pytest
import worlds
from worlds import Plfeat, extract, film, names, put, records, refused, report, store, train, write

pytestmark = pytest.mark.acceptance


# ------------------------------------------------------------------------------------------------- one's own videos


def test_an_unsplit_folder_is_a_table_row_in_two_commands_and_five_folds_in_one_more(
    plfeat: Plfeat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As typed in an empty folder, with nothing but what has to be said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PLFEAT_CACHE", raising=False)
    root = worlds.unsplit(tmp_path / "mine", each=10)
    said = plfeat("extract", "--dataset", "folder", "--root", str(root), "--split", "70/10/20", "--model", "toy")
    assert said.code == 0, said.err
    said = plfeat("train", "--frozen", "--preset", "nearest-mean")
    assert said.code == 0, said.err
    assert "nearest-mean" in said.out
    shutil.rmtree(root)
    said = plfeat("train", "--frozen", "--preset", "nearest-mean", "--folds", "5", "--out", "five", "--json")
    assert said.code == 0, said.err
    (row,) = json.loads(said.out)["rows"]
    runs = records(tmp_path / "five")
    assert set(runs) == {f"fold-{fold}/seed-0" for fold in range(1, 6)}
    tops = [record["metrics"]["top1"] for record in runs.values()]
    assert row["top1"] == pytest.approx(sum(tops) / 5)
    assert sum(record["n"] for record in runs.values()) == 40, "every video is tested on once"


def test_without_a_split_extraction_says_so_before_it_decodes_and_gives_the_line_to_type(
    plfeat: Plfeat, tmp_path: Path
) -> None:
    root, cache = worlds.unsplit(tmp_path / "mine", classes=2, each=4), tmp_path / "cache"
    said = plfeat("extract", "--dataset", "folder", "--root", str(root), *worlds.MODEL, "--cache", str(cache))
    worlds.clean(said)
    hint = said.err.find("--split 70/10/20")
    assert hint >= 0, said.err
    decoding = re.search(r"(encoding|decoding|extracting)[^\n]*\d+/\d+", said.err)
    assert decoding is None or hint < decoding.start(), "before, not after"
    if said.code:
        assert said.code in (2, 3)
        assert not list(cache.rglob("*.h5")), "it refused, so it decoded nothing"


def test_training_without_a_split_names_the_remedy_at_once(plfeat: Plfeat, tmp_path: Path) -> None:
    root, cache = worlds.unsplit(tmp_path / "mine", classes=2, each=4), tmp_path / "cache"
    plfeat("extract", "--dataset", "folder", "--root", str(root), *worlds.MODEL, "--cache", str(cache), "--quiet")
    if not worlds.stores(cache):
        pytest.skip("extraction refuses without a split, so that there is nothing to train over")
    since = time.monotonic()
    said = plfeat("train", "--frozen", "--cache", str(cache), "--out", str(tmp_path / "runs"), "--quiet")
    assert time.monotonic() - since < 5
    line = refused(said, codes=(2, 3, 4))
    assert "--split" in line
    assert "--folds" in line
    assert len(train(plfeat, cache, tmp_path / "later", "--split", "70/10/20")) == 1


def people(tmp_path: Path) -> tuple[Path, Path]:
    """40 videos of 4 classes, filmed by ten people; everyone does everything."""
    root, lines = tmp_path / "films", []
    for kind, name in enumerate(names()[:4]):
        for person in range(10):
            path = f"{kind}{person}.mp4"
            put(film(kind, person), root / path)
            lines.append({"path": path, "label": name, "group": f"person {person}"})
    return root, worlds.table(tmp_path / "people.csv", lines)


def splits_of(cache: Path, name: str) -> list[dict[str, str]]:
    return worlds.rows(store(cache), name)


def test_a_split_keeps_groups_together_and_classes_even_and_stands_in_the_record(
    plfeat: Plfeat, tmp_path: Path
) -> None:
    (root, listed), cache = people(tmp_path), tmp_path / "cache"
    command = ("--dataset", "csv", "--root", str(root), "--lists", str(listed), "--split", "60/20/20")
    extract(plfeat, cache, *command)
    lines = splits_of(cache, "people")
    by_group, by_class = defaultdict(set), defaultdict(Counter)
    for line in lines:
        assert line["group"] == f"person {line['name'].removesuffix('.mp4')[1]}"
        by_group[line["group"]].add(line["split"])
        by_class[line["class"]][line["split"]] += 1
    assert all(len(found) == 1 for found in by_group.values()), "a person is on one side only"
    for counts in by_class.values():
        assert counts == {"train": 6, "val": 2, "test": 2}
    other = tmp_path / "other"
    extract(plfeat, other, *command)
    assert worlds.assigned(store(other)) == worlds.assigned(store(cache)), "the same seed, the same split"
    train(plfeat, cache, tmp_path / "runs", "--dataset", "people")
    (record,) = records(tmp_path / "runs").values()
    said = json.dumps(record)
    assert "60/20/20" in said or "[60, 20, 20]" in said, "the record says how the list was split"
    assert re.search(r'"(split_)?seed"', said)


def test_folds_keep_groups_together_and_test_on_every_video_once(plfeat: Plfeat, tmp_path: Path) -> None:
    (root, listed), cache = people(tmp_path), tmp_path / "cache"
    extract(plfeat, cache, "--dataset", "csv", "--root", str(root), "--lists", str(listed), "--folds", "5")
    held = worlds.assigned(store(cache), "people")
    assert all(len(splits) == 5 and splits.count("test") == 1 for splits in held.values())
    of_person = defaultdict(set)
    for name, splits in held.items():
        of_person[name[1]].add(splits)
    assert all(len(found) == 1 for found in of_person.values())
    for fold in range(5):
        kinds = Counter(name[0] for name, splits in held.items() if splits[fold] == "test")
        assert kinds == dict.fromkeys("0123", 2), "each fold tests on two people, who do everything"
    (row,) = train(plfeat, cache, tmp_path / "runs", "--dataset", "people")
    assert len(records(tmp_path / "runs")) == 5
    assert row["n"] in (8, 40)


@pytest.mark.parametrize("how", [("--split", "70/10/20"), ("--folds", "4")])
def test_new_videos_join_without_moving_any_old_one(plfeat: Plfeat, tmp_path: Path, how: tuple[str, str]) -> None:
    root, cache = worlds.unsplit(tmp_path / "mine", classes=3, each=7), tmp_path / "cache"
    command = ("--dataset", "folder", "--root", str(root), *how)
    extract(plfeat, cache, *command)
    old = worlds.assigned(store(cache))
    first = next(iter(worlds.manifest(store(cache))["lists"].values()))["hash"]
    for kind, number in ((0, 7), (0, 8), (1, 7), (2, 9), (5, 0), (5, 1), (5, 2)):
        put(film(kind, number), root / names()[kind] / f"a new one {number}.mp4")
    said = extract(plfeat, cache, *command)
    assert (said["decoded"], said["reused"]) == (7, 21)
    now = worlds.assigned(store(cache))
    assert {name: now[name] for name in old} == old
    assert len(now) == 28
    assert all(any(splits) for splits in now.values()), "the new ones have a place as well"
    assert next(iter(worlds.manifest(store(cache))["lists"].values()))["hash"] != first, "it is a new version"
    train(plfeat, cache, tmp_path / "runs")


def test_runs_over_two_versions_of_a_list_never_share_a_row(plfeat: Plfeat, tmp_path: Path) -> None:
    root, cache = worlds.unsplit(tmp_path / "mine"), tmp_path / "cache"
    command = ("--dataset", "folder", "--root", str(root), "--split", "50/0/50")
    extract(plfeat, cache, *command)
    train(plfeat, cache, tmp_path / "before")
    for number in range(3):
        put(film(4, number), root / names()[4] / f"{number}.mp4")
    extract(plfeat, cache, *command)
    train(plfeat, cache, tmp_path / "after")
    said = plfeat(
        "report", str(tmp_path / "before"), str(tmp_path / "after"), "--out", str(tmp_path / "r"), "--json", "--quiet"
    )
    worlds.clean(said)
    if said.code == 0:
        assert len(json.loads(said.out)["rows"]) == 2
    else:
        assert said.code in (1, 2, 3, 4)
        assert len(said.err.splitlines()) == 1


# ------------------------------------------------------------------------------------------------------------ groups


def test_ucf101s_groups_are_the_class_and_the_number_in_the_name(plfeat: Plfeat, tmp_path: Path) -> None:
    ucf, cache = worlds.ucf101(tmp_path, classes=3, groups=3), tmp_path / "cache"
    extract(plfeat, cache, *ucf.asked)
    lines = worlds.rows(store(cache), "ucf101")
    assert len({line["group"] for line in lines}) == 9
    assert all(line["group"] for line in lines)
    assert {re.sub(r".*_(g\d\d)_.*", r"\1", line["name"]) for line in lines} == {"g01", "g02", "g03"}
    assert all(re.search(r"g\d\d", line["group"]) for line in lines)
    assert all(len(splits) == 3 for splits in worlds.assigned(store(cache), "ucf101").values()), (
        "its folds are one file"
    )


def test_hmdb51s_groups_are_the_source_films(plfeat: Plfeat, tmp_path: Path) -> None:
    hmdb, cache = worlds.hmdb51(tmp_path), tmp_path / "cache"
    extract(plfeat, cache, *hmdb.asked)
    sources = defaultdict(set)
    for line in worlds.rows(store(cache), "hmdb51"):
        source = next(film for film in ("Faceoff", "Mr._Bean", "50_FIRST_DATES") if film in line["name"])
        sources[source].add((line["class"], line["group"]))
    groups = [{group for _, group in found} for found in sources.values()]
    assert not groups[0] & groups[1]
    assert not groups[1] & groups[2]
    for found in sources.values():
        assert len(found) == 3, "the two clips of a film in a class are one group"
        assert all(group for _, group in found)


def test_k400s_groups_are_the_youtube_ids(plfeat: Plfeat, tmp_path: Path) -> None:
    k400, cache = worlds.k400(tmp_path, classes=2, train=2, val=1), tmp_path / "cache"
    extract(plfeat, cache, *k400.asked)
    for line in worlds.rows(store(cache), "k400"):
        assert line["group"]
        assert line["group"] in line["name"]


def test_the_kind_of_a_class_is_its_stratum_and_shown_by_the_table(plfeat: Plfeat, tmp_path: Path) -> None:
    root, cache = worlds.with_splits(tmp_path / "mine", classes=2), tmp_path / "cache"
    one, two = names()[:2]
    write(root / "classes.csv", f"class,stratum,mirror\n{one},easy,\n{two},hard,\n")
    extract(plfeat, cache, "--dataset", "folder", "--root", str(root))
    train(plfeat, cache, tmp_path / "runs")
    (row,) = report(plfeat, tmp_path / "report", tmp_path / "runs")
    assert set(row["strata"]) == {"easy", "hard"}


# ------------------------------------------------------------------------------------- names, templates, labels


def test_zero_shot_against_any_list_of_names(plfeat: Plfeat, tmp_path: Path) -> None:
    root, cache = worlds.with_splits(tmp_path / "mine"), tmp_path / "cache"
    extract(plfeat, cache, "--dataset", "folder", "--root", str(root))
    shutil.rmtree(root)
    own = write(tmp_path / "names.csv", "class,name\n" + "".join(f"{name},{name} again\n" for name in names()[:4]))
    command = ("eval", "--zero-shot", "--cache", str(cache), "--quiet", "--json")
    for out, more in (("plain", ()), ("named", ("--names", str(own)))):
        said = plfeat(*command, "--out", str(tmp_path / out), *more)
        assert said.code == 0, said.err
    assert len(report(plfeat, tmp_path / "r", tmp_path / "plain", tmp_path / "named")) == 2, "a table compares them"


def test_zero_shot_over_videos_without_labels(plfeat: Plfeat, tmp_path: Path) -> None:
    root, cache = tmp_path / "films", tmp_path / "cache"
    paths = [put(film(kind, 0), root / f"{kind}.mp4").name for kind in range(6)]
    listed = worlds.table(tmp_path / "bare.csv", [{"path": path} for path in paths])
    said = extract(plfeat, cache, "--dataset", "csv", "--root", str(root), "--lists", str(listed))
    assert said["decoded"] == 6
    shutil.rmtree(root)
    own = write(tmp_path / "names.csv", "class,name\n" + "".join(f"{name},{name}\n" for name in names()))
    said = plfeat(
        "eval", "--zero-shot", "--names", str(own), "--cache", str(cache), "--out", str(tmp_path / "runs"), "--quiet"
    )
    worlds.clean(said)
    assert said.code == 0, said.err
    (told,) = (tmp_path / "runs").rglob("predictions.csv")
    with told.open(newline="", encoding="utf-8") as file:
        best = {line["video"]: line["name1"] for line in csv.DictReader(file)}
    assert len(best) == 6, "what it says of every video is kept"
    assert set(best.values()) <= set(names())
    line = refused(
        plfeat("train", "--frozen", "--cache", str(cache), "--out", str(tmp_path / "t"), "--quiet"), codes=(2, 3, 4)
    )
    assert "label" in line


def test_templates_are_chosen_when_training(plfeat: Plfeat, tmp_path: Path) -> None:
    root, cache = worlds.with_splits(tmp_path / "mine", classes=2), tmp_path / "cache"
    extract(plfeat, cache, "--dataset", "folder", "--root", str(root))
    sentences = write(tmp_path / "mine.txt", "I see {}.\nlook, {}!\n")
    train(plfeat, cache, tmp_path / "own", "--templates", str(sentences), preset="zero-shot-ensemble")
    train(plfeat, cache, tmp_path / "default", preset="zero-shot-ensemble")
    assert len(report(plfeat, tmp_path / "r", tmp_path / "own", tmp_path / "default")) == 2


@pytest.mark.parametrize("file", ["--names", "--templates"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"class,name\n\x1b[31m,\x1b[31m\n", b"no such column\n"])
def test_a_wrong_file_of_names_or_templates_is_one_clear_line(
    plfeat: Plfeat, tmp_path: Path, file: str, content: bytes
) -> None:
    root, cache = worlds.with_splits(tmp_path / "mine", classes=2), tmp_path / "cache"
    extract(plfeat, cache, "--dataset", "folder", "--root", str(root))
    own = tmp_path / "own"
    own.write_bytes(content)
    command = ("train", "--frozen", "--preset", "zero-shot", "--cache", str(cache), file, str(own), "--quiet")
    said = plfeat(*command, "--out", str(tmp_path / "runs"))
    worlds.clean(said)
    refused(said, codes=(2, 3, 4))


# --------------------------------------------------------------------------------------------------- which store


def test_which_of_two_stores_is_answered_by_what_differs(plfeat: Plfeat, tmp_path: Path) -> None:
    root, cache = worlds.with_splits(tmp_path / "mine", classes=2), tmp_path / "cache"
    command = ("--dataset", "folder", "--root", str(root))
    extract(plfeat, cache, *command)
    extract(plfeat, cache, *command, "--set", "dtype=float32")
    assert len(worlds.stores(cache)) == 2
    said = plfeat("train", "--frozen", "--cache", str(cache), "--out", str(tmp_path / "runs"), "--quiet")
    worlds.clean(said)
    assert said.code in (2, 4)
    assert "float16" in said.err, said.err
    assert "float32" in said.err, said.err
    listing = plfeat("cache", "ls", "--cache", str(cache))
    lines = [line for line in listing.out.splitlines() if any(path.name in line for path in worlds.stores(cache))]
    assert len(lines) == 2
    bare = [
        re.sub(r"\s+", " ", line.replace(str(path), "")) for line, path in zip(lines, worlds.stores(cache), strict=True)
    ]
    bare = [re.sub(r"\S*[0-9a-f]{16}\S*", "", line) for line in bare]
    assert bare[0].strip() != bare[1].strip(), "not two lines that differ in their path alone"
    chosen = next(path for path in worlds.stores(cache) if "float32" in (path / "recipe.json").read_text())
    assert len(train(plfeat, chosen, tmp_path / "runs")) == 1


def test_which_of_two_lists_is_asked_by_name(plfeat: Plfeat, tmp_path: Path) -> None:
    k400, cache = worlds.k400(tmp_path, classes=3), tmp_path / "cache"
    extract(plfeat, cache, *k400.asked)
    mini = worlds.mini_k200(k400, tmp_path, classes=2)
    extract(plfeat, cache, *mini.asked)
    said = plfeat(
        "train",
        "--frozen",
        "--preset",
        "nearest-mean",
        "--cache",
        str(cache),
        "--out",
        str(tmp_path / "runs"),
        "--quiet",
    )
    line = refused(said, codes=(2, 4))
    assert "mini-k200" in line
    assert "--dataset" in line
    said = plfeat("train", "--frozen", "--cache", str(cache), "--dataset", "mini-k20", "--quiet")
    assert "mini-k200" in refused(said, codes=(2, 4)), "an unknown name is answered with the nearest known one"


def test_what_people_type_is_understood(plfeat: Plfeat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    root, cache = worlds.with_splits(tmp_path / "mine", classes=2), tmp_path / "cache"
    extract(plfeat, cache, "--dataset", "folder", "--root", str(root))
    here = store(cache)
    for path in (str(here), str(here) + "/", here.relative_to(tmp_path).as_posix(), str(cache), "cache"):
        for verb in ("info", "verify"):
            said = plfeat("cache", verb, path)
            assert said.code == 0, (verb, path, said.err)
            worlds.clean(said)
    info = json.loads(plfeat("cache", "info", str(here), "--json").out)
    assert "toy" in json.dumps(info)
    assert "centre-8" in json.dumps(info)
    said = plfeat("datasets", "check", "folder", str(root))
    assert said.code == 0, said.err
    assert re.search(r"train +6 +6 +0", said.out), said.out
    assert re.search(r"test +4 +4 +0", said.out), said.out
    said = plfeat("datasets", "check", "folder", "mine")
    assert said.code == 0, said.err
    for verb in ("info", "verify"):
        refused(
            plfeat("cache", verb, str(tmp_path / "nowhere"), *(["--quiet"] if verb == "verify" else [])),
            codes=(2, 3, 4),
        )
    assert plfeat("datasets", "check", "folder", str(tmp_path / "nowhere")).code in (2, 3)


def test_the_text_form_of_extract_says_the_four_counts_as_well(plfeat: Plfeat, tmp_path: Path) -> None:
    root, cache = worlds.with_splits(tmp_path / "mine", classes=2), tmp_path / "cache"
    said = plfeat("extract", "--dataset", "folder", "--root", str(root), *worlds.MODEL, "--cache", str(cache))
    assert said.code == 0
    both = said.out + said.err
    for word in ("decoded", "reused", "failed"):
        assert word in both, both


# ------------------------------------------------------------------------------------------ complete, or said not to be


def test_a_list_that_names_videos_the_store_lacks_says_how_many_and_the_table_says_so(
    plfeat: Plfeat, tmp_path: Path
) -> None:
    k400, cache = worlds.k400(tmp_path, classes=3), tmp_path / "cache"
    lost = sorted((k400.videos / "val").rglob("*.mp4"))[::3] + sorted((k400.videos / "train").rglob("*.mp4"))[:1]
    assert len(lost) == 3
    for video in lost:
        video.unlink()
    said = extract(plfeat, cache, *k400.asked)
    assert (said["videos"], said["decoded"], said["missing"]) == (18, 15, 3)
    mini = worlds.mini_k200(k400, tmp_path, train=4, val=2)
    k400.lose()
    said = extract(plfeat, cache, *mini.asked)
    assert (said["videos"], said["decoded"], said["missing"]) == (18, 0, 3)
    (row,) = train(plfeat, cache, tmp_path / "runs", "--dataset", "mini-k200")
    assert (row["n"], row["missing"]) == (4, 2)
    said = plfeat("report", str(tmp_path / "runs"), "--out", str(tmp_path / "r"))
    assert re.search(r"n = 4 val videos; 2 more have no features", said.out + said.err), said.out + said.err
    loud = plfeat(
        "train", "--frozen", "--preset", "nearest-mean", "--cache", str(cache), "--dataset", "mini-k200",
        "--out", str(tmp_path / "loud"),
    )  # fmt: skip
    assert "2 more have no features" in loud.err + loud.out


def test_a_list_of_which_the_store_has_nothing_is_one_clear_line(plfeat: Plfeat, tmp_path: Path) -> None:
    root, cache = worlds.with_splits(tmp_path / "mine", classes=2), tmp_path / "cache"
    extract(plfeat, cache, "--dataset", "folder", "--root", str(root))
    listed = worlds.table(tmp_path / "other.csv", [{"path": "nowhere.mp4", "label": "x", "split": "train"}])
    shutil.rmtree(root)
    said = plfeat(
        "extract", "--dataset", "csv", "--root", str(root), "--lists", str(listed), *worlds.MODEL,
        "--cache", str(cache), "--quiet",
    )  # fmt: skip
    refused(said)
    assert plfeat("cache", "verify", str(store(cache)), "--quiet").code == 0


def test_a_list_edited_by_hand_after_runs_were_made_is_refused_and_named(plfeat: Plfeat, tmp_path: Path) -> None:
    root, cache = worlds.with_splits(tmp_path / "mine"), tmp_path / "cache"
    extract(plfeat, cache, "--dataset", "folder", "--root", str(root))
    train(plfeat, cache, tmp_path / "runs", preset="prompts")
    (listed,) = (store(cache) / "lists").glob("*.csv")
    lines = listed.read_text(encoding="utf-8").splitlines()
    place = next(number for number, line in enumerate(lines) if number > 1 and ",test" in line)
    lines[place] = lines[place].replace(",test", ",train")
    listed.write_text("\n".join(lines) + "\n", encoding="utf-8")
    said = plfeat("cache", "verify", str(store(cache)), "--quiet")
    assert said.code == 4
    assert listed.name in said.out + said.err or listed.stem.partition("@")[0] in said.out + said.err
    for command in (
        ("train", "--frozen", "--preset", "nearest-mean", "--out", str(tmp_path / "more")),
        ("eval", "--zero-shot", "--out", str(tmp_path / "z")),
        ("eval", str(tmp_path / "runs" / "seed-0")),
    ):
        line = refused(plfeat(*command, "--cache", str(cache), "--quiet"))
        assert listed.stem.partition("@")[0] in line
    assert len(report(plfeat, tmp_path / "r", tmp_path / "runs")) == 1, "a table is made of records alone"


def test_ucf101s_twins_in_several_folds_test_on_the_same_rows_as_their_row(plfeat: Plfeat, tmp_path: Path) -> None:
    """A row is one list name, or all its folds: one fold of one method beside all folds of another is not compared as
    if both were tested alike."""
    ucf, cache = worlds.ucf101(tmp_path, classes=2), tmp_path / "cache"
    extract(plfeat, cache, *ucf.asked)
    train(plfeat, cache, tmp_path / "all", "--dataset", "ucf101")
    train(plfeat, cache, tmp_path / "one", "--dataset", "ucf101", "--fold", "1", preset="zero-shot")
    said = plfeat(
        "report", str(tmp_path / "all"), str(tmp_path / "one"), "--out", str(tmp_path / "r"), "--json", "--quiet"
    )
    worlds.clean(said)
    if said.code == 0:
        assert all(row["step"] is None for row in json.loads(said.out)["rows"]), "other test videos are not compared"
    else:
        assert len(said.err.splitlines()) == 1


# ------------------------------------------------------------------------------------------------ names are names


EVIL = [
    "../x",
    "..",
    "/etc/x",
    "a/b",
    "a\nb",
    "a\x1b[31mred\x1b[0m",
    "a\x07b",
    "a@b",
    "",
    ".",
    "-x",
    "a" * 300,
    "con\x00",
]


@pytest.mark.parametrize("option", ["--pool", "--name"])
@pytest.mark.parametrize("evil", EVIL, ids=repr)
def test_a_pool_and_a_list_are_called_by_names_not_by_paths(
    plfeat: Plfeat, tmp_path: Path, option: str, evil: str
) -> None:
    root, cache = worlds.with_splits(tmp_path / "inner" / "mine", classes=1), tmp_path / "inner" / "cache"
    before = worlds.snapshot(tmp_path)
    said = plfeat(
        "extract", "--dataset", "folder", "--root", str(root), *worlds.MODEL, "--cache", str(cache), "--workers", "1",
        "--quiet", f"{option}={evil}",
    )  # fmt: skip
    worlds.clean(said)
    if said.code:
        refused(said, codes=(2, 3, 4))
    after = worlds.snapshot(tmp_path)
    assert {path: what for path, what in after.items() if not path.startswith(str(cache))} == before
    for path in worlds.stores(cache):
        assert path.parent.parent == cache


@pytest.mark.parametrize(
    "odd", ["new\nline", "\x1b[31mred\x1b[0m", "bell\x07", "com,ma", 'quo"te', "ümläut", " blank ", "# x"]
)
def test_videos_with_odd_names_are_extracted_and_trained_on_and_no_terminal_obeys_them(
    plfeat: Plfeat, tmp_path: Path, odd: str
) -> None:
    root, cache = tmp_path / "mine", tmp_path / "cache"
    for place, kind in enumerate((odd, "plain")):
        for number in range(4):
            put(film(place, number), root / ("train", "test")[number % 2] / kind / f"{odd}{number}.mp4")
    broken = put(film(0, 5), root / "train" / "plain" / f"{odd} broken.mp4")
    broken.write_bytes(b"no film")
    said = plfeat("extract", "--dataset", "folder", "--root", str(root), *worlds.MODEL, "--cache", str(cache))
    worlds.clean(said)
    if said.code:
        assert said.code in (2, 3)
        assert repr(odd)[1:-1] in said.err or odd.strip() in said.err
        return
    for command in (
        ("cache", "verify", str(store(cache))),
        ("cache", "info", str(store(cache))),
        ("train", "--frozen", "--preset", "nearest-mean", "--cache", str(cache), "--out", str(tmp_path / "runs")),
        ("report", str(tmp_path / "runs"), "--out", str(tmp_path / "r")),
        ("datasets", "check", "folder", str(root)),
    ):
        said = plfeat(*command)
        worlds.clean(said)
        assert said.code == 0, (command, said.err)
    again = extract(plfeat, cache, "--dataset", "folder", "--root", str(root))
    assert again["decoded"] == 0
