"""Killed at any instant, in parts, merged, by two at once, and swept beside: the same bits of every video."""

import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import worlds
from worlds import Plfeat, bits, extract, film, names, put, store

pytestmark = pytest.mark.acceptance


# ------------------------------------------------------------------------------------- processes that start at once


@dataclass
class Run:
    """A command that runs."""

    pid: int
    out: Path
    err: Path
    since: float
    code: int | None = None
    ended: threading.Event = field(default_factory=threading.Event)

    def wait(self, seconds: float = 240) -> int:
        assert self.ended.wait(seconds), f"still running after {seconds} s: {self.err.read_text()[-2000:]}"
        assert self.code is not None
        return self.code

    def kill(self) -> None:
        """SIGKILL to the command itself, as a scheduler does; not to the processes that it started."""
        if not self.ended.is_set():
            os.kill(self.pid, signal.SIGKILL)
        self.wait(20)

    def sweep(self) -> None:
        """Whoever of its group is still there."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return


class Zygote:
    def __init__(self, folder: Path) -> None:
        self.folder, self.runs, self.count = folder, dict[int, Run](), 0
        here = Path(__file__).parent
        environment = worlds.ENVIRONMENT | {"PYTHONPATH": f"{here}:{worlds.ENVIRONMENT['PYTHONPATH']}"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "zygote"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.fresh: list[int] = []
        self.born = threading.Condition()
        assert self.process.stdout is not None
        assert json.loads(self.process.stdout.readline()) == {"ready": True}
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            said = json.loads(line)
            with self.born:
                if "pid" in said:
                    self.fresh.append(said["pid"])
                    self.born.notify_all()
                    continue
                assert self.born.wait_for(lambda: said["ended"] in self.runs, 10)  # noqa: B023
                run = self.runs[said["ended"]]
            run.code = said["code"]
            run.ended.set()

    def start(self, *command: str) -> Run:
        self.count += 1
        out, err = (self.folder / f"{self.count}.{kind}" for kind in ("out", "err"))
        asked = {"command": list(command), "out": str(out), "err": str(err), "cwd": str(self.folder)}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        with self.born:
            assert self.born.wait_for(lambda: bool(self.fresh), 20)
            run = Run(self.fresh.pop(0), out, err, time.monotonic())
            self.runs[run.pid] = run
            self.born.notify_all()
        return run

    def close(self) -> None:
        for run in self.runs.values():
            if not run.ended.is_set():
                run.sweep()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(20)
        self.thread.join(10)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    started = Zygote(tmp_path_factory.mktemp("runs"))
    yield started
    started.close()


# ------------------------------------------------------------------------------------------------------------ killed


@dataclass(frozen=True)
class Plan:
    """A command, what it starts from, and what an uninterrupted run of it makes."""

    begun: Path | None
    command: tuple[str, ...]
    whole: dict[tuple[str, str], worlds.Bits]
    seconds: float
    lists: dict[str, tuple[str, ...]]


def line(root: Path, cache: Path, *more: str) -> tuple[str, ...]:
    return (
        "extract", "--dataset", "folder", "--root", str(root), *worlds.MODEL, "--cache", str(cache), "--workers", "1",
        "--json", "--quiet", *more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def plans(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Plan]:
    """An extraction from nothing with three views, and one that grows it by two classes and seven views."""
    folder = tmp_path_factory.mktemp("plans")
    root = worlds.with_splits(folder / "mine", classes=5, train=4, test=2)
    found, begun = {}, None
    cache = folder / "whole"
    for name, more in (("made", ("--views", "3", "--pool", "mine")), ("grown", ("--views", "10", "--pool", "mine"))):
        if name == "grown":
            begun = folder / "begun"
            shutil.copytree(cache, begun)
            for kind in (5, 6):
                for number in range(4):
                    put(film(kind, number), root / ("train", "test")[number % 2] / names()[kind] / f"{number}.mp4")
        run = zygote.start(*line(root, cache, *more))
        assert run.wait() == 0, run.err.read_text()
        spent = time.monotonic() - run.since
        seen = worlds.assigned(store(cache))
        found[name] = Plan(begun, ("--root", str(root), *more), bits(store(cache)), spent, seen)
        if name == "made":
            shutil.copytree(root, folder / "made root")
            found[name] = Plan(None, ("--root", str(folder / "made root"), *more), bits(store(cache)), spent, seen)
    return found


INSTANTS = [("made", place) for place in range(12)] + [("grown", place) for place in range(13)]


@pytest.mark.parametrize(("phase", "place"), INSTANTS)
def test_killed_at_any_instant_the_same_command_finishes_it_to_the_same_bits(
    zygote: Zygote, plans: dict[str, Plan], plfeat: Plfeat, tmp_path: Path, phase: str, place: int
) -> None:
    plan, cache = plans[phase], tmp_path / "cache"
    if plan.begun:
        shutil.copytree(plan.begun, cache)
    command = (
        "extract", "--dataset", "folder", *plan.command, *worlds.MODEL, "--cache", str(cache), "--workers", "1",
        "--json", "--quiet",
    )  # fmt: skip
    instants = [plan.seconds * (number + 0.5) / 12.5 for number in range(13)]
    run = zygote.start(*command)
    run.ended.wait(instants[place])
    run.kill()
    run.sweep()
    if plan.begun:  # what was there is still there, and whole, before anybody repairs anything
        said = plfeat("cache", "verify", str(store(cache)), "--quiet")
        worlds.clean(said)
        assert said.code == 0, said.err + said.out
    for path in worlds.stores(cache):
        said = plfeat("cache", "info", str(path))
        worlds.clean(said)
        assert said.code in (0, 4)
    again = zygote.start(*command)
    assert again.wait() == 0, again.err.read_text()
    said_json = json.loads(again.out.read_text())
    assert said_json["failed"] == 0
    assert said_json["complete"] is True
    assert plfeat("cache", "verify", str(store(cache)), "--quiet").code == 0
    assert bits(store(cache)) == plan.whole
    assert worlds.assigned(store(cache)) == plan.lists
    assert plfeat("cache", "gc", "--cache", str(cache), "--yes", "--days", "0", "--quiet").code == 0
    assert bits(store(cache)) == plan.whole, "sweeping up takes nothing that counts"
    assert plfeat("cache", "verify", str(store(cache)), "--quiet").code == 0


def test_killed_again_and_again_it_still_gets_there(zygote: Zygote, plans: dict[str, Plan], tmp_path: Path) -> None:
    plan, cache, draw = plans["made"], tmp_path / "cache", random.Random(0)
    command = (
        "extract", "--dataset", "folder", *plan.command, *worlds.MODEL, "--cache", str(cache), "--workers", "1",
        "--json", "--quiet",
    )  # fmt: skip
    for _ in range(8):
        run = zygote.start(*command)
        run.ended.wait(plan.seconds * draw.uniform(0.2, 0.9))
        run.kill()
        run.sweep()
    last = zygote.start(*command)
    assert last.wait() == 0, last.err.read_text()
    assert bits(store(cache)) == plan.whole


def test_an_interrupt_is_130_and_keeps_what_was_made(zygote: Zygote, plans: dict[str, Plan], tmp_path: Path) -> None:
    plan, cache = plans["made"], tmp_path / "cache"
    command = ("extract", "--dataset", "folder", *plan.command, *worlds.MODEL, "--cache", str(cache), "--workers", "1")
    run = zygote.start(*command)
    run.ended.wait(plan.seconds * 0.6)
    if not run.ended.is_set():
        os.kill(run.pid, signal.SIGINT)
    code = run.wait()
    assert code in (0, 130)
    assert "Traceback" not in run.err.read_text()


def test_of_a_slow_extraction_a_kill_never_loses_more_than_a_minute(zygote: Zygote, tmp_path: Path) -> None:
    """A large model on a CPU: between two arrivals of shards, and since the last one, there is never a minute."""
    root, cache = worlds.with_splits(tmp_path / "mine", classes=12, train=4, test=4), tmp_path / "cache"
    command = (
        "extract", "--dataset", "folder", "--root", str(root), "--model", "ViT-B-32", "--pretrained", "random:0",
        "--cache", str(cache), "--device", "cpu", "--quiet",
    )  # fmt: skip
    run = zygote.start(*command)
    arrivals, seen, begun = [], set[Path](), None
    while not run.ended.wait(0.5) and time.monotonic() - run.since < 240:
        if begun is None and worlds.stores(cache):
            begun = time.monotonic()
            arrivals.append(begun)
        new = set(cache.rglob("shards/*.h5")) - seen
        if new:
            seen |= new
            arrivals.append(time.monotonic())
    finished = run.ended.is_set()
    run.kill()
    run.sweep()
    arrivals.append(time.monotonic())
    assert len(seen) > 1, "96 videos are several units of work"
    assert finished or len(arrivals) > 2
    assert max(later - earlier for earlier, later in itertools.pairwise(arrivals)) <= 60


# --------------------------------------------------------------------------------------------------- parts and merge


@pytest.mark.parametrize("count", [2, 3])
def test_parts_made_apart_merge_to_the_same_bits(plfeat: Plfeat, tmp_path: Path, count: int) -> None:
    root = worlds.with_splits(tmp_path / "mine", classes=5, train=4, test=2)
    command = ("--dataset", "folder", "--root", str(root), "--views", "4")
    extract(plfeat, tmp_path / "whole", *command)
    parts, decoded = [], 0
    for number in range(1, count + 1):
        said = extract(plfeat, tmp_path / f"part {number}", *command, "--part", f"{number}/{count}")
        decoded += said["decoded"]
        parts.append(store(tmp_path / f"part {number}"))
    assert decoded == 30, "each video in one part"
    before = [worlds.snapshot(part) for part in parts]
    said = plfeat("cache", "merge", *map(str, parts), "--cache", str(tmp_path / "merged"), "--quiet")
    assert said.code == 0, said.err
    assert bits(store(tmp_path / "merged")) == bits(store(tmp_path / "whole"))
    assert worlds.assigned(store(tmp_path / "merged")) == worlds.assigned(store(tmp_path / "whole"))
    assert [worlds.snapshot(part) for part in parts] == before
    assert plfeat("cache", "verify", str(store(tmp_path / "merged")), "--quiet").code == 0
    shutil.rmtree(root)
    assert len(worlds.train(plfeat, tmp_path / "merged", tmp_path / "runs")) == 1


def test_parts_made_into_one_folder_need_no_merge(plfeat: Plfeat, tmp_path: Path) -> None:
    root = worlds.with_splits(tmp_path / "mine", classes=5, train=4, test=2)
    command = ("--dataset", "folder", "--root", str(root), "--views", "4")
    extract(plfeat, tmp_path / "whole", *command)
    for number in (3, 1, 2):
        extract(plfeat, tmp_path / "shared", *command, "--part", f"{number}/3")
    assert bits(store(tmp_path / "shared")) == bits(store(tmp_path / "whole"))
    assert extract(plfeat, tmp_path / "shared", *command)["decoded"] == 0


def test_merging_is_a_union_of_what_two_machines_made_of_different_lists(plfeat: Plfeat, tmp_path: Path) -> None:
    one, two = (tmp_path / name for name in ("one", "two"))
    worlds.with_splits(one, classes=3)
    for number in range(4):
        put(film(7, number), two / ("train", "test")[number % 2] / names()[7] / f"{number}.mp4")
        put(film(0, number), two / ("train", "test")[number % 2] / names()[0] / f"{number}.mp4")
    for root in (one, two):
        extract(plfeat, tmp_path / f"cache {root.name}", "--dataset", "folder", "--root", str(root), "--pool", "ours")
    parts = [str(store(tmp_path / f"cache {name}")) for name in ("one", "two")]
    said = plfeat("cache", "merge", *parts, "--cache", str(tmp_path / "both"), "--quiet")
    assert said.code == 0, said.err
    both = store(tmp_path / "both")
    assert worlds.takes(both) == {"centre-8": 19}, "four videos are in both"
    assert set(worlds.manifest(both)["lists"]) == {"one", "two"}
    assert plfeat("cache", "verify", str(both), "--quiet").code == 0


def test_a_damaged_text_file_of_a_part_is_refused_or_made_again_never_dropped(plfeat: Plfeat, tmp_path: Path) -> None:
    root, cache = worlds.with_splits(tmp_path / "mine", classes=2), tmp_path / "cache"
    extract(plfeat, cache, "--dataset", "folder", "--root", str(root))
    part = store(cache)
    text = next((part / "text").glob("*.h5"))
    content = bytearray(text.read_bytes())
    content[len(content) // 2] ^= 8
    text.write_bytes(content)
    said = plfeat("cache", "merge", str(part), "--cache", str(tmp_path / "into"), "--quiet")
    worlds.clean(said)
    if said.code:
        assert text.name in worlds.refused(said)
    else:
        merged = store(tmp_path / "into")
        assert list((merged / "text").glob("*.h5"))
        assert plfeat("cache", "verify", str(merged), "--quiet").code == 0
        worlds.train(plfeat, tmp_path / "into", tmp_path / "runs", preset="zero-shot")


def test_parts_of_other_recipes_are_never_merged(plfeat: Plfeat, tmp_path: Path) -> None:
    root = worlds.with_splits(tmp_path / "mine", classes=2)
    command = ("--dataset", "folder", "--root", str(root))
    extract(plfeat, tmp_path / "one", *command)
    extract(plfeat, tmp_path / "two", *command, "--set", "dtype=float32")
    parts = [str(store(tmp_path / name)) for name in ("one", "two")]
    line = worlds.refused(plfeat("cache", "merge", *parts, "--cache", str(tmp_path / "into"), "--quiet"), codes=(4,))
    assert "float16" in line
    assert "float32" in line, "an error names both values"
    assert not worlds.stores(tmp_path / "into")


# ---------------------------------------------------------------------------------------------- at once, and in steps


def test_a_store_grown_in_three_steps_has_the_bits_of_one_made_at_once(plfeat: Plfeat, tmp_path: Path) -> None:
    root = tmp_path / "mine"
    command = ("--dataset", "folder", "--root", str(root))
    worlds.with_splits(root, classes=3)
    extract(plfeat, tmp_path / "grown", *command)
    extract(plfeat, tmp_path / "grown", *command, "--views", "3")
    worlds.with_splits(root, classes=6)
    for video in root.rglob("*.mp4"):
        os.utime(video)
    extract(plfeat, tmp_path / "grown", *command, "--views", "5", "--test-views", "2", "--also", "pre")
    extract(plfeat, tmp_path / "once", *command, "--views", "5", "--test-views", "2", "--also", "pre")
    grown, once = bits(store(tmp_path / "grown")), bits(store(tmp_path / "once"))
    assert grown.keys() == once.keys()
    assert [key for key in grown if grown[key] != once[key]] == []
    assert len({take for take, _ in grown}) == 12, "centre and five views, both as two outputs"


def test_workers_and_neighbours_do_not_matter_to_a_bit(plfeat: Plfeat, tmp_path: Path) -> None:
    root = worlds.with_splits(tmp_path / "mine", classes=4)
    command = (
        "extract",
        "--dataset",
        "folder",
        "--root",
        str(root),
        *worlds.MODEL,
        "--views",
        "2",
        "--json",
        "--quiet",
    )
    assert plfeat(*command, "--cache", str(tmp_path / "one"), "--workers", "1").code == 0
    assert plfeat(*command, "--cache", str(tmp_path / "three"), "--workers", "3").code == 0
    few = tmp_path / "few"
    for video in sorted(root.rglob("*.mp4"))[::7]:
        put(video, few / video.relative_to(root))
    extract(plfeat, tmp_path / "few cache", "--dataset", "folder", "--root", str(few), "--views", "2")
    one = bits(store(tmp_path / "one"))
    assert bits(store(tmp_path / "three")) == one
    assert bits(store(tmp_path / "few cache")).items() <= one.items()


@pytest.mark.parametrize("times", range(4))
def test_two_commands_grow_one_store_at_once_while_gc_sweeps_beside_them(
    zygote: Zygote, plfeat: Plfeat, tmp_path: Path, times: int
) -> None:
    one, two, cache = tmp_path / "one", tmp_path / "two", tmp_path / "cache"
    worlds.with_splits(one, classes=4)
    for kind in range(2, 7):
        for number in range(4):
            put(film(kind, number), two / ("train", "test")[number % 2] / names()[kind] / f"{number}.mp4")
    common = ("--pool", "ours", "--views", "4")
    for root in (one, two):
        extract(plfeat, tmp_path / f"alone {root.name}", "--dataset", "folder", "--root", str(root), *common)
    expected = bits(store(tmp_path / "alone one")) | bits(store(tmp_path / "alone two"))
    if times % 2:  # half of the times there is a store already
        extract(plfeat, cache, "--dataset", "folder", "--root", str(one), "--pool", "ours")
    commands = [line(root, cache, *common) for root in (one, two)]
    runs = [zygote.start(*command) for command in commands]
    sweeps = []
    while not all(run.ended.is_set() for run in runs):
        sweep = zygote.start("cache", "gc", "--yes", "--days", "0", "--cache", str(cache), "--quiet")
        sweeps.append(sweep)
        sweep.wait(60)
        assert "Traceback" not in sweep.err.read_text()
        assert sweep.code == 0, sweep.err.read_text()
        assert time.monotonic() - runs[0].since < 240
    assert sweeps
    for command, run in zip(commands, runs, strict=True):
        text = run.err.read_text()
        assert "Traceback" not in text
        assert run.code in (0, 4), text
        if run.code == 4:  # one plan at a time may grow a store: then it said so, in one line, and is asked again
            assert len(text.splitlines()) == 1
            again = zygote.start(*command)
            assert again.wait() == 0, again.err.read_text()
    assert plfeat("cache", "verify", str(store(cache)), "--quiet").code == 0
    assert bits(store(cache)) == expected
    assert set(worlds.manifest(store(cache))["lists"]) == {"one", "two"}
    for name in ("one", "two"):
        worlds.train(plfeat, cache, tmp_path / f"runs {name}", "--dataset", name)


def test_the_same_command_twice_at_once_is_one_store(zygote: Zygote, plfeat: Plfeat, tmp_path: Path) -> None:
    root, cache = worlds.with_splits(tmp_path / "mine"), tmp_path / "cache"
    extract(plfeat, tmp_path / "alone", "--dataset", "folder", "--root", str(root), "--views", "3")
    runs = [zygote.start(*line(root, cache, "--views", "3")) for _ in range(2)]
    codes = sorted(run.wait() for run in runs)
    assert codes in ([0, 0], [0, 4]), [run.err.read_text() for run in runs]
    assert plfeat("cache", "verify", str(store(cache)), "--quiet").code == 0
    assert bits(store(cache)) == bits(store(tmp_path / "alone"))


def test_gc_beside_a_running_extraction_takes_nothing_from_it_and_says_that_the_store_is_busy(
    zygote: Zygote, plfeat: Plfeat, tmp_path: Path
) -> None:
    root, cache = worlds.with_splits(tmp_path / "mine", classes=8), tmp_path / "cache"
    run = zygote.start(*line(root, cache, "--views", "10"))
    said = []
    while not run.ended.is_set():
        done = plfeat("cache", "gc", "--yes", "--days", "0", "--cache", str(cache))
        worlds.clean(done)
        assert done.code == 0
        said.append(done.out + done.err)
    assert run.wait() == 0, run.err.read_text()
    assert plfeat("cache", "verify", str(store(cache)), "--quiet").code == 0
    assert any("busy" in text or "in use" in text or "running" in text or "writing" in text for text in said)


def test_repair_makes_a_damaged_shard_again_to_the_same_bits(plfeat: Plfeat, tmp_path: Path) -> None:
    root, cache = worlds.with_splits(tmp_path / "mine"), tmp_path / "cache"
    extract(plfeat, cache, "--dataset", "folder", "--root", str(root), "--views", "2")
    whole = bits(store(cache))
    for beginning in ("centre-8", "random-8-seed0-view1"):
        victim = next((store(cache) / "shards").glob(f"{beginning}-*.h5"))
        content = bytearray(victim.read_bytes())
        content[-5] ^= 8
        victim.write_bytes(content)
    assert plfeat("cache", "verify", str(store(cache)), "--quiet").code == 4
    said = plfeat("cache", "verify", str(store(cache)), "--repair", "--quiet")
    worlds.clean(said)
    assert plfeat("cache", "verify", str(store(cache)), "--quiet").code == 0
    assert bits(store(cache)) == whole


def test_live_verification_makes_videos_again_and_compares(plfeat: Plfeat, tmp_path: Path) -> None:
    root, cache = worlds.with_splits(tmp_path / "mine", classes=2), tmp_path / "cache"
    extract(plfeat, cache, "--dataset", "folder", "--root", str(root))
    said = plfeat("cache", "verify", str(store(cache)), "--live", "5", "--json", "--quiet")
    assert said.code == 0, said.err
    assert json.loads(said.out)["live"] is not None


def test_the_same_command_makes_again_what_is_damaged_and_never_reads_it(plfeat: Plfeat, tmp_path: Path) -> None:
    root, cache = worlds.with_splits(tmp_path / "mine"), tmp_path / "cache"
    command = ("--dataset", "folder", "--root", str(root))
    extract(plfeat, cache, *command)
    whole = bits(store(cache))
    for victim in (store(cache) / "shards").glob("*.h5"):
        victim.write_bytes(victim.read_bytes()[:3000])
    said = extract(plfeat, cache, *command)
    assert said["decoded"] == 20
    assert plfeat("cache", "verify", str(store(cache)), "--quiet").code == 0
    assert bits(store(cache)) == whole


def test_a_ray_cluster_makes_the_same_bits(plfeat: Plfeat, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    root = worlds.with_splits(tmp_path / "mine", classes=3)
    extract(plfeat, tmp_path / "local", "--dataset", "folder", "--root", str(root), "--views", "3")
    done = worlds.process(*line(root, tmp_path / "ray", "--views", "3", "--engine", "ray"), cwd=tmp_path)
    assert done.code == 0, done.err
    assert bits(store(tmp_path / "ray")) == bits(store(tmp_path / "local"))
    assert worlds.counted(json.loads(done.out))["decoded"] == 15
