"""Extraction: once, deterministic, resumable, and never stopped by a bad video."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from conftest import ENVIRONMENT, ONE

from plfeat.config import ExtractConfig
from plfeat.errors import CacheError, DataError, UsageError
from plfeat.extract import again
from plfeat.flows.desks import Wanted, open_desk
from plfeat.flows.extract import Extraction, estimate, extract, prepare
from plfeat.flows.verify import verify
from plfeat.frames import kit
from plfeat.means import Means
from plfeat.recipe import Take
from plfeat.records import silent
from plfeat.settings import build
from plfeat.shards.store import Store, open_store
from plfeat.shards.upkeep import problems
from plfeat.toy import videos

CENTRE = Take()
Counts = tuple[int, int, int]


def settings(**more: Any) -> ExtractConfig:
    return build(ExtractConfig, settings={"dataset": "toy", "model": "toy", "shard": 8, **more})


CONFIG = settings()


def counts(done: Extraction) -> Counts:
    return done.decoded, done.reused, done.failed


def shards(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted((path / "shards").iterdir())}


def rows(store: Store, take: Take) -> dict[str, bytes]:
    """The features of every video, by its key."""
    keys = sorted(store.index(take).where)
    read = store.rows(keys, take)
    return {key: read.one(number).tobytes() for number, key in enumerate(keys) if read.has[number]}


@pytest.fixture
def root(small_folder: Path, tmp_path: Path) -> Path:
    """A copy of the 48 videos that may be changed."""
    return Path(shutil.copytree(small_folder, tmp_path / "videos" / "toy"))


def test_the_same_videos_give_the_same_bytes_with_any_number_of_workers_and_threads(
    small_store: Store, small_folder: Path, tmp_path: Path
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1 if before > 1 else 3)
    try:
        again = extract(CONFIG, small_folder, tmp_path, silent, Means(workers=3))
    finally:
        torch.set_num_threads(before)
    assert again.path.name == small_store.path.name
    assert shards(again.path) == shards(small_store.path)
    for name in ("manifest.json", "recipe.json", "ledger.jsonl"):
        assert (again.path / name).read_bytes() == (small_store.path / name).read_bytes()


def test_interrupted_and_continued_it_gives_the_same_bytes(
    small_store: Store, small_folder: Path, tmp_path: Path
) -> None:
    class PowerCutError(Exception):
        pass

    def cut(stage: str, done: int, total: int, note: str = "", /) -> None:
        if stage == "encoding videos" and done >= 30:
            raise PowerCutError

    with pytest.raises(PowerCutError):
        extract(CONFIG, small_folder, tmp_path, cut, ONE)
    (folder,) = tmp_path.glob("toy/*")
    assert not (folder / "manifest.json").exists()
    assert 0 < len(shards(folder)) < len(shards(small_store.path))
    done = extract(CONFIG, small_folder, tmp_path, silent, ONE)
    assert done.reused > 0
    assert done.decoded + done.reused == 48
    assert shards(done.path) == shards(small_store.path)
    assert (done.path / "manifest.json").read_bytes() == (small_store.path / "manifest.json").read_bytes()


def test_parts_of_a_run_together_are_the_whole(small_store: Store, small_folder: Path, tmp_path: Path) -> None:
    one, two = (extract(CONFIG, small_folder, tmp_path, silent, Means(workers=1, part=(n, 2))) for n in (1, 2))
    assert (one.decoded, one.unmade, one.complete) == (24, 24, False)
    assert (two.decoded, two.reused, two.unmade, two.complete) == (24, 24, 0, True)
    assert shards(two.path) == shards(small_store.path)


def test_bad_videos_are_counted_and_named_and_the_rest_is_unharmed(
    small_store: Store, root: Path, tmp_path: Path
) -> None:
    victims = sorted((root / "train").rglob("*.mp4"))[2:20:7]
    for victim, content in zip(victims, (b"", b"garbage", victims[2].read_bytes()[:900]), strict=True):
        victim.write_bytes(content)
    done = extract(CONFIG, root, tmp_path / "cache", silent, ONE)
    assert (done.videos, *counts(done)) == (48, 48, 0, 3)
    ledger = [json.loads(line) for line in (done.path / "ledger.jsonl").read_text().splitlines()]
    assert sorted(line["path"] for line in ledger) == sorted(map(str, victims))
    assert all(line["stage"] == "decode" and line["error"] for line in ledger)
    found, clean = rows(open_store(done.path), CENTRE), rows(small_store, CENTRE)
    assert len(found) == 45
    assert found.items() <= clean.items()


def test_a_video_without_a_file_is_missing_and_said_to_be(tmp_path: Path, root: Path) -> None:
    (tmp_path / "list.csv").write_text("path,label,split\nnone.mp4,a,train\n" + f"{_some(root)},b,test\n")
    config = build(ExtractConfig, dataset="csv", model="toy", lists=tmp_path / "list.csv")
    done = extract(config, root, tmp_path / "cache", silent, ONE)
    assert (done.videos, done.failed, done.missing, done.complete) == (2, 1, 1, True)
    assert done.reasons == {"the file does not exist": 1}
    (line,) = map(json.loads, (done.path / "ledger.jsonl").read_text().splitlines())
    assert (line["name"], line["stage"]) == ("none.mp4", "find")


def _some(root: Path) -> str:
    return next(root.rglob("*.mp4")).relative_to(root).as_posix()


def test_all_videos_bad_is_still_a_store_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "videos" / "jumping").mkdir(parents=True)
    (tmp_path / "videos" / "jumping" / "a.mp4").write_bytes(b"x")
    config = build(ExtractConfig, dataset="folder", model="toy")
    done = extract(config, tmp_path / "videos", tmp_path / "c", silent, ONE)
    assert (done.videos, done.failed) == (1, 1)
    store = open_store(done.path)
    assert not store.rows(list(store.index(CENTRE).where), CENTRE).has.any()


# ---- once


def test_what_is_there_is_not_made_again_and_no_file_is_touched(small_store: Store, small_folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in small_store.path.rglob("*")}
    done = extract(CONFIG, small_folder, small_store.path.parents[1], silent, ONE)
    assert counts(done) == (0, 48, 0)
    assert {path: path.stat().st_mtime_ns for path in small_store.path.rglob("*")} == before


def test_a_new_video_costs_itself(root: Path, tmp_path: Path) -> None:
    first = sorted(root.rglob("*.mp4"))[0]
    first.rename(tmp_path / "later.mp4")
    assert extract(CONFIG, root, tmp_path / "c", silent, ONE).decoded == 47
    (tmp_path / "later.mp4").rename(first)
    assert counts(extract(CONFIG, root, tmp_path / "c", silent, ONE)) == (1, 47, 0)


def test_a_replaced_file_of_the_same_size_costs_itself(root: Path, tmp_path: Path) -> None:
    extract(CONFIG, root, tmp_path / "c", silent, ONE)
    victim = sorted(root.rglob("*.mp4"))[0]
    content = victim.read_bytes()
    victim.write_bytes(bytes(len(content)))
    assert counts(extract(CONFIG, root, tmp_path / "c", silent, ONE)) == (1, 47, 1)
    victim.write_bytes(content)
    assert counts(extract(CONFIG, root, tmp_path / "c", silent, ONE)) == (0, 48, 0)


def test_moved_flattened_and_with_new_times_nothing_is_decoded(root: Path, tmp_path: Path) -> None:
    done = extract(CONFIG, root, tmp_path / "c", silent, ONE)
    flat = tmp_path / "flat"
    flat.mkdir()
    lines = ["path,label,split"]
    for number, path in enumerate(sorted(root.rglob("*.mp4"))):
        shutil.copyfile(path, flat / f"{number}.mp4")
        lines.append(f"{number}.mp4,{path.parent.name},{path.parents[1].name}")
    (flat / "mine.csv").write_text("\n".join(lines))
    shutil.rmtree(root)
    config = build(ExtractConfig, dataset="csv", model="toy", lists=flat / "mine.csv")
    moved = extract(config, flat, tmp_path / "c", silent, ONE)
    assert counts(moved) == (0, 48, 0)
    assert moved.path == done.path  # the pool that knows the videos


def test_without_the_folder_a_list_is_made_of_what_was_seen(root: Path, tmp_path: Path) -> None:
    done = extract(CONFIG, root, tmp_path / "c", silent, ONE)
    shutil.rmtree(root)
    again = extract(settings(name="other"), root, tmp_path / "c", silent, ONE)
    assert (again.path, again.videos, *counts(again)) == (done.path, 48, 0, 48, 0)
    store = open_store(done.path)
    one, other = (store.read_list(name) for name in ("toy", "other"))
    assert [row.video for row in one.rows] == [row.video for row in other.rows]


def test_what_is_neither_here_nor_in_the_store_is_missing(root: Path, tmp_path: Path) -> None:
    extract(CONFIG, root, tmp_path / "c", silent, ONE)
    shutil.rmtree(root)
    said: list[str] = []
    views = extract(settings(**{"sample.views": 2}), root, tmp_path / "c", silent, ONE, said.append)
    assert (views.decoded, views.missing, views.unmade) == (0, 0, 24)
    assert "24 videos are not on disk" in said[0]
    other = extract(settings(dtype="float32"), root, tmp_path / "c", silent, ONE, said.append)
    assert (other.decoded, other.failed, other.missing) == (0, 48, 48)
    assert "48 videos are neither in the store nor on disk" in said[-1]


def test_new_class_words_decode_nothing(root: Path, tmp_path: Path) -> None:
    done = extract(CONFIG, root, tmp_path / "c", silent, ONE)
    classes = open_store(done.path).read_list("toy").classes
    (tmp_path / "names.csv").write_text("class,name\n" + "".join(f"{name},my {name}\n" for name in classes))
    shutil.rmtree(root)
    again = extract(settings(names=str(tmp_path / "names.csv")), root, tmp_path / "c", silent, ONE)
    assert counts(again) == (0, 48, 0)
    assert open_store(done.path).read_list("toy").words[0] == f"my {classes[0]}"
    assert len(list((done.path / "text").glob("[0-9a-f]*.h5"))) == 2


def test_a_pool_can_be_named_and_a_name_is_no_path(root: Path, tmp_path: Path) -> None:
    first = extract(settings(pool="mine"), root, tmp_path / "c", silent, ONE)
    assert first.path.parent.name == "mine"
    assert extract(CONFIG, root, tmp_path / "c", silent, ONE).path == first.path
    with pytest.raises(UsageError, match="no path"):
        extract(settings(pool="../x"), root, tmp_path / "c", silent, ONE)


def test_a_store_that_is_named_itself_is_grown_or_refused(small_store: Store, root: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(small_store.path, tmp_path / "anywhere"))
    assert counts(extract(CONFIG, root, store, silent, ONE)) == (0, 48, 0)
    with pytest.raises(CacheError, match="dtype is"):
        extract(settings(dtype="float32"), root, store, silent, ONE)


@pytest.mark.parametrize("change", [{"dtype": "float32"}, {"decoder": "decord"}, {"compute": "bfloat16"}])
def test_another_way_of_making_features_is_another_store(
    small_store: Store, small_folder: Path, tmp_path: Path, change: dict[str, str]
) -> None:
    work = prepare(settings(**change), small_folder, tmp_path, silent)
    assert work.folder.name != small_store.path.name


@pytest.mark.parametrize("change", [{"batch": 64}, {"shard": 3}, {"sample.frames": 4}, {"sample.views": 2}])
def test_other_takes_batches_and_chunks_share_a_store(
    small_store: Store, small_folder: Path, tmp_path: Path, change: dict[str, int]
) -> None:
    assert prepare(settings(**change), small_folder, tmp_path, silent).folder.name == small_store.path.name


def test_the_recipe_names_everything_that_features_mean(small_store: Store) -> None:
    recipe = small_store.recipe
    assert recipe.encoder["activation"] == "gelu"
    assert len(recipe.encoder["image_sha256"]) == 64
    assert recipe.preprocess["interpolation"] == "bicubic"
    assert (recipe.decoder, recipe.dtype, recipe.compute) == ("pyav", "float16", "float32")


def test_stored_features_are_the_live_ones(small_store: Store, small_folder: Path, toy_backbone: Any) -> None:
    from plfeat.backbone.vision import FrameEncoder
    from plfeat.video.decode import DEFAULT, read_frames
    from plfeat.video.sampling import segment_centres

    listed = small_store.read_list("toy").of("test")
    stored = small_store.rows([row.video for row in listed], CENTRE)
    encoder = FrameEncoder(toy_backbone.model, toy_backbone.preprocess)
    for index in (0, 11, 23):
        clip = read_frames(small_folder / listed[index].name, lambda t: segment_centres(len(t), 8), DEFAULT)
        live = encoder.encode(encoder.fit(clip.frames_UHWC), batch=8).numpy()
        np.testing.assert_allclose(stored.one(index), live, rtol=2e-3, atol=2e-3)


# ---- makers


class _Newer:
    """The libraries as they might be tomorrow, for as long as it is used."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        plain = kit.versions
        monkeypatch.setattr(kit, "versions", lambda: plain() | {"av": "99.0"})


def test_another_maker_makes_sixteen_videos_again_once(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = sorted(root.rglob("*.mp4"))[:2]
    for number, path in enumerate(late):
        path.rename(tmp_path / f"{number}.mp4")
    extract(CONFIG, root, tmp_path / "c", silent, ONE)
    _Newer(monkeypatch)
    asked = []
    whole = again.made_again

    def watched(kit: Any, chosen: Any, *more: Any) -> Any:
        asked.append(len(chosen))
        return whole(kit, chosen, *more)

    monkeypatch.setattr(again, "made_again", watched)
    said: list[str] = []
    assert extract(CONFIG, root, tmp_path / "c", silent, ONE, said.append).decoded == 0
    assert asked == []  # nothing to make, nothing to compare
    for number, path in enumerate(late):
        (tmp_path / f"{number}.mp4").rename(path)
        done = extract(CONFIG, root, tmp_path / "c", silent, ONE, said.append)
        assert done.decoded == 1
        assert asked == [16]  # by now it is known
    assert said == []
    assert len(open_store(done.path).manifest["makers"]) == 2


def _shifted(monkeypatch: pytest.MonkeyPatch, by: float) -> None:
    from plfeat.backbone.vision import FrameEncoder

    plain = FrameEncoder._pass

    def passed(self: Any, full: torch.Tensor, filled: int) -> Any:
        return {name: value + by * value.flip(-1) for name, value in plain(self, full, filled).items()}

    monkeypatch.setattr(FrameEncoder, "_pass", passed)


@pytest.mark.parametrize(("by", "outcome"), [(1e-3, "noted"), (0.3, "refused")])
def test_a_maker_with_other_bits_is_noted_or_refused(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: float, outcome: str
) -> None:
    late = sorted(root.rglob("*.mp4"))[0]
    late.rename(tmp_path / "late.mp4")
    extract(CONFIG, root, tmp_path / "c", silent, ONE)
    (tmp_path / "late.mp4").rename(late)
    _Newer(monkeypatch)
    _shifted(monkeypatch, by)
    said: list[str] = []
    if outcome == "refused":
        with pytest.raises(CacheError, match=r"features of video [0-9a-f]{32} are others .*av 99\.0"):
            extract(CONFIG, root, tmp_path / "c", silent, ONE, said.append)
        return
    done = extract(CONFIG, root, tmp_path / "c", silent, ONE, said.append)
    (newer,) = (m for m in open_store(done.path).manifest["makers"] if m["versions"]["av"] == "99.0")
    assert newer["compared"]["videos"] == 16
    assert 0.999 <= newer["compared"]["worst_cosine"] < 1
    assert "within tolerance" in said[0]


def test_with_no_stored_video_at_hand_a_maker_is_noted_as_unchecked(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract(settings(pool="p"), root, tmp_path / "c", silent, ONE)
    shutil.rmtree(root)
    videos.make(tmp_path / "others" / "toy", 48, seed=4, tick=silent, workers=1)
    _Newer(monkeypatch)
    said: list[str] = []
    done = extract(settings(pool="p"), tmp_path / "others" / "toy", tmp_path / "c", silent, ONE, said.append)
    assert done.decoded == 48
    assert "none of its videos is here" in said[0]
    assert any("unchecked" in maker.get("compared", {}) for maker in open_store(done.path).manifest["makers"])


# ---- refusals, damage, accidents


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda root: None, "does not exist"),
        (lambda root: root.mkdir(), "no videos under"),
        (lambda root: root.write_text("x"), "is a file"),
        (lambda root: (root / "jumping").mkdir(parents=True), "no videos under"),
    ],
)
def test_a_missing_or_empty_folder_is_a_data_error_and_leaves_nothing(tmp_path: Path, make: Any, said: str) -> None:
    root = tmp_path / "videos"
    make(root)
    with pytest.raises(DataError, match=said) as caught:
        extract(CONFIG, root, tmp_path / "cache", silent, ONE)
    assert said == "is a file" or "plfeat datasets make toy" in str(caught.value)
    assert not (tmp_path / "cache").exists()


def test_an_unknown_model_is_found_out_before_anything_is_written(small_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'toy'"):
        extract(settings(model="tooy"), small_folder, tmp_path / "cache", silent, ONE)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("damage", ["bits", "status", "another shard", "half"])
def test_a_damaged_shard_is_made_again_and_never_taken_over(
    small_store: Store, small_folder: Path, tmp_path: Path, damage: str
) -> None:
    root = tmp_path / "cache"
    folder = root / "toy" / small_store.path.name
    shutil.copytree(small_store.path, folder)
    (folder / "manifest.json").unlink()  # the harder case: no seal to compare with
    other, victim = sorted((folder / "shards").iterdir())[:2]
    if damage == "bits":
        with h5py.File(victim) as file:
            offset = file["features"].id.get_offset()
        content = bytearray(victim.read_bytes())
        content[offset + 1000] ^= 4
        victim.write_bytes(bytes(content))
    elif damage == "status":
        with h5py.File(victim, "r+") as file:
            file["status"][0] = 2
    elif damage == "half":
        victim.write_bytes(victim.read_bytes()[:5000])
    else:
        shutil.copy(other, victim)
    done = extract(CONFIG, small_folder, root, silent, ONE)
    assert counts(done) == (8, 40, 0)
    assert rows(open_store(done.path), CENTRE) == rows(small_store, CENTRE)


def test_a_damaged_video_gives_the_same_bytes_wherever_it_lies(small_folder: Path, tmp_path: Path) -> None:
    found = []
    for name in ("a", "a-longer-name"):
        (tmp_path / name / "jumping").mkdir(parents=True)
        content = sorted(small_folder.rglob("*.mp4"))[0].read_bytes()
        (tmp_path / name / "jumping" / "1.mp4").write_bytes(content)
        (tmp_path / name / "jumping" / "2.mp4").write_bytes(content[:4000])
        config = build(ExtractConfig, dataset="folder", model="toy", batch=8)
        found.append(shards(extract(config, tmp_path / name, tmp_path / "cache" / name, silent, ONE).path))
        time.sleep(1.1)  # a clock in an error text would show
    assert found[0] == found[1]


def test_a_full_disk_is_an_error_and_not_a_crash(small_folder: Path, tmp_path: Path) -> None:
    """A limit on the size of written files stands in for the disk; the process must live to tell."""
    code = f"""
import resource, signal, sys
from plfeat_cli.main import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
sys.exit(main(["extract", "--dataset", "toy", "--root", {str(small_folder)!r}, "--quiet"]))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "File too large" in done.stderr
    assert not list(tmp_path.rglob("*.part"))
    assert not list(tmp_path.rglob("manifest.json"))


def test_two_extractions_of_the_same_thing_at_once_both_succeed(
    small_store: Store, small_folder: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "plfeat_cli.main", "extract", "--dataset", "toy", "--root", str(small_folder)]
    command += ["--set", "shard=8", "--quiet", "--workers", "1"]
    other = subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.PIPE)
    while not list(tmp_path.glob("cache/toy/*")) and other.poll() is None:
        time.sleep(0.01)
    extract(CONFIG, small_folder, tmp_path / "cache", silent, ONE)
    _, err = other.communicate(timeout=200)
    assert other.returncode == 0, err
    (folder,) = (tmp_path / "cache" / "toy").iterdir()
    assert rows(open_store(folder), CENTRE) == rows(small_store, CENTRE)


def test_a_chunk_that_somebody_else_has_made_meanwhile_is_passed_over(
    small_store: Store, small_folder: Path, tmp_path: Path
) -> None:
    """The other's shards appear as soon as the first of ours is made."""

    def helped(stage: str, done: int, total: int, note: str = "", /) -> None:
        for folder in tmp_path.glob("toy/*/shards"):
            for path in (small_store.path / "shards").iterdir():
                if not (folder / path.name).exists():
                    shutil.copy(path, folder / path.name)

    done = extract(settings(batch=8), small_folder, tmp_path, helped, ONE)
    assert done.decoded < 48
    assert done.complete


def test_a_video_that_changes_while_it_is_extracted_fails(root: Path, tmp_path: Path) -> None:
    """As when the videos are still being copied: whatever it is by then, it is not the video that was found."""
    victim = sorted((root / "train").rglob("*.mp4"))[0]

    def grow(stage: str, done: int, total: int, note: str = "", /) -> None:
        if stage == "finding the files" and done == total:
            victim.write_bytes(victim.read_bytes() + b"more")

    done = extract(CONFIG, root, tmp_path / "c", grow, ONE)
    assert done.reasons == {"the file changed during the run": 1}


def test_a_closed_stderr_is_no_reason_to_fail(small_folder: Path, tmp_path: Path) -> None:
    command = f"exec {sys.executable} -m plfeat_cli.main extract --dataset toy --root {small_folder} --workers 1 2>&-"
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0
    assert (tmp_path / done.stdout.strip() / "manifest.json").is_file()


def test_a_dry_run_says_what_is_lacking_and_writes_nothing(root: Path, tmp_path: Path) -> None:
    whole = estimate(CONFIG, root, tmp_path / "c", silent, ONE)
    assert (whole.videos, whole.lacking, whole.frames, whole.bytes) == (48, 48, 48 * 8, 48 * 8 * 96 * 2)
    assert not (tmp_path / "c").exists()
    done = extract(CONFIG, root, tmp_path / "c", silent, ONE)
    before = {path: path.stat().st_mtime_ns for path in done.path.rglob("*")}
    more = estimate(settings(**{"sample.views": 3}), root, tmp_path / "c", silent, ONE)
    assert (more.lacking, more.frames) == (24, 24 * 3 * 8)
    assert estimate(CONFIG, root, tmp_path / "c", silent, ONE).lacking == 0
    assert {path: path.stat().st_mtime_ns for path in done.path.rglob("*")} == before


# ---- splits of one's own


def _unsplit(small_folder: Path, tmp_path: Path) -> Path:
    root = tmp_path / "mine"
    for path in sorted(small_folder.rglob("*.mp4")):
        (root / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, root / path.parent.name / f"{path.parents[1].name}-{path.name}")
    return root


def test_an_unsplit_folder_is_told_so_before_it_is_decoded(small_folder: Path, tmp_path: Path) -> None:
    root = _unsplit(small_folder, tmp_path)
    said: list[str] = []

    def tick(stage: str, done: int, total: int, note: str = "", /) -> None:
        if stage == "encoding videos":
            assert "--split 70/10/20" in said[0]

    config = build(ExtractConfig, dataset="folder", model="toy")
    done = extract(config, root, tmp_path / "c", tick, ONE, said.append)
    assert done.list.startswith("mine@")
    divided = build(ExtractConfig, dataset="folder", model="toy", split="50/0/50")
    shutil.rmtree(root)
    assert counts(extract(divided, root, tmp_path / "c", silent, ONE)) == (0, 48, 0)
    assert open_store(done.path).read_list("mine").splits() == ["train", "test"]


def test_new_videos_join_a_divided_list_without_moving_an_old_one(small_folder: Path, tmp_path: Path) -> None:
    root = _unsplit(small_folder, tmp_path)
    late = sorted(root.rglob("*.mp4"))[:6]
    for number, path in enumerate(late):
        path.rename(tmp_path / f"{number}.mp4")
    config = build(ExtractConfig, dataset="folder", model="toy", folds=3)
    done = extract(config, root, tmp_path / "c", silent, ONE)
    before = {row.video: row.split for row in open_store(done.path).read_list("mine").rows}
    for number, path in enumerate(late):
        (tmp_path / f"{number}.mp4").rename(path)
    plain = build(ExtractConfig, dataset="folder", model="toy")  # the command without the option
    more = extract(plain, root, tmp_path / "c", silent, ONE)
    after = {row.video: row.split for row in open_store(done.path).read_list("mine").rows}
    assert (more.decoded, len(after)) == (6, 48)
    assert before.items() <= after.items()
    assert {len(split) for split in after.values()} == {3}


def test_a_list_of_which_nothing_is_there_makes_no_store(root: Path, tmp_path: Path) -> None:
    (tmp_path / "films.csv").write_text("path,label\nnowhere.mp4,x\nneither.mp4,x\n")
    config = build(ExtractConfig, dataset="csv", model="toy", lists=tmp_path / "films.csv")
    with pytest.raises(DataError, match=r"list films: none of its 2 videos is there.* 'neither.mp4', looked for under"):
        extract(config, root, tmp_path / "c", silent, ONE)
    assert not (tmp_path / "c").exists()


def test_counts_are_numbers_in_json(root: Path, tmp_path: Path) -> None:
    sorted(root.rglob("*.mp4"))[0].write_bytes(b"no film")
    done = extract(CONFIG, root, tmp_path / "c", silent, ONE)
    assert json.loads(json.dumps(done.as_dict() | {"path": ""}))["failed"] == 1


def test_a_list_that_was_edited_by_hand_is_not_divided_anew(small_folder: Path, tmp_path: Path) -> None:
    """Neither an extraction nor a repair knows better than the file, and none of them takes it away."""
    root = _unsplit(small_folder, tmp_path)
    done = extract(build(ExtractConfig, dataset="folder", model="toy", folds=3), root, tmp_path / "c", silent, ONE)
    (path,) = (done.path / "lists").iterdir()
    edited = path.read_text().replace(",test,", ",train,")
    path.write_text(edited)
    with pytest.raises(CacheError, match=r"it was changed; put back the file as it was, or remove it"):
        extract(build(ExtractConfig, dataset="folder", model="toy"), root, tmp_path / "c", silent, ONE)
    with pytest.raises(CacheError, match=r"it was changed; put back the file as it was, or remove it"):
        verify(done.path, 0, True, root, None, silent, ONE)
    assert path.read_text() == edited
    (done.path / "manifest.json").unlink()
    with pytest.raises(CacheError, match=r"it was changed"):
        extract(build(ExtractConfig, dataset="folder", model="toy"), root, tmp_path / "c", silent, ONE)


def test_a_store_whose_manifest_was_lost_still_knows_how_its_videos_were_divided(
    small_folder: Path, tmp_path: Path
) -> None:
    root = _unsplit(small_folder, tmp_path)
    done = extract(build(ExtractConfig, dataset="folder", model="toy", folds=3), root, tmp_path / "c", silent, ONE)
    (done.path / "manifest.json").unlink()
    again = extract(build(ExtractConfig, dataset="folder", model="toy"), root, tmp_path / "c", silent, ONE)
    assert (again.decoded, again.list) == (0, done.list)


def test_divided_otherwise_a_list_promises_only_the_views_that_all_its_videos_have(
    small_folder: Path, tmp_path: Path
) -> None:
    """Who was tested on has no random views. The store is sound all the same."""
    root = _unsplit(small_folder, tmp_path)
    config = build(ExtractConfig, dataset="folder", model="toy", split="50/0/50", **{"sample.views": 2})
    done = extract(config, root, tmp_path / "c", silent, ONE)
    desk = open_desk(done.path, Wanted(folds=2))
    assert desk.videos.name == "mine-2-folds"
    assert desk.takes["train"] == (Take(),)
    assert list(problems(done.path)) == []


def test_without_a_tower_the_texts_are_kept(root: Path, tmp_path: Path) -> None:
    whole = extract(CONFIG, root, tmp_path / "c", silent, ONE)
    bare = extract(settings(tower=False), root, tmp_path / "d", silent, ONE)
    names = [sorted(path.name for path in (done.path / "text").iterdir()) for done in (whole, bare)]
    assert [name[:5] == "tower" for name in names[0]] == [False, True]
    assert names[1] == names[0][:1]
