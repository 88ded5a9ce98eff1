"""Decode workers: in order, bit for bit, and never held up or brought down by one video."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import odd_videos as odd
import psutil
import pytest
from conftest import ENVIRONMENT

from plfeat.errors import PlfeatError
from plfeat.recipe import Take
from plfeat.video.crew import Crew
from plfeat.video.decode import read_frames
from plfeat.video.job import Job, Orders
from plfeat.video.sampling import segment_centres

ORDERS = Orders("pyav", None, 30.0)
FOUR = (Take(frames=4),)

TRAP = """
import ctypes, os
import plfeat.video.decode as decode
whole = decode.read_frames
def read_frames(path, *rest):
    if path.name.startswith("sleep"):
        while True:
            ctypes.PyDLL(None).sleep(1000)  # in C, with the interpreter's lock, as a stuck decoder is
    if path.name.startswith("crash"):
        ctypes.string_at(0)
    if path.name.startswith("once") and not path.with_suffix(".seen").exists():
        path.with_suffix(".seen").touch()
        os.kill(os.getpid(), 9)
    return whole(path, *rest)
decode.read_frames = read_frames
"""
"""A decoder that sleeps or crashes on files of that name: put in the way of the workers, which are real processes."""


@pytest.fixture
def traps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "traps").mkdir()
    (tmp_path / "traps" / "sitecustomize.py").write_text(TRAP)
    monkeypatch.syspath_prepend(tmp_path / "traps")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Forty little videos of many sizes."""
    folder = tmp_path_factory.mktemp("clips")
    for number in range(40):
        odd.video(folder / f"{number:02}.mp4", odd.pictures(6 + number, 32 + 2 * number, 48, seed=number))
    return [folder / f"{number:02}.mp4" for number in range(40)]


def jobs(paths: list[Path]) -> list[Job]:
    return [Job(str(path), path.name, FOUR) for path in paths]


@pytest.mark.parametrize("workers", [1, 3])
def test_frames_come_in_order_and_are_those_of_a_plain_read(clips: list[Path], workers: int) -> None:
    with Crew(workers, ORDERS) as crew:
        for turn in range(2):  # a crew can be used again
            seen = 0
            for path, clip in zip(clips, crew.run(jobs(clips)), strict=True):
                plain = read_frames(path, lambda seconds: segment_centres(len(seconds), 4), "pyav")
                assert clip.job.key == path.name
                assert np.array_equal(clip.frames_UHWC[clip.answer.picks[0]], plain.frames_UHWC), turn
                seen += 1
            assert seen == 40
        assert (crew.decoded, crew.lost) == (80, 0)


def test_no_jobs_no_frames() -> None:
    with Crew(2, ORDERS) as crew:
        assert list(crew.run([])) == []


def test_workers_never_import_torch(clips: list[Path]) -> None:
    others = set(psutil.Process().children())
    with Crew(1, ORDERS) as crew:
        assert len(list(crew.run(jobs(clips[:3])))) == 3
        (worker,) = set(psutil.Process().children()) - others
        loaded = {Path(mapped.path).name for mapped in worker.memory_maps()}
        assert not [name for name in loaded if "torch" in name]
        assert worker.memory_info().rss < 200 << 20


@pytest.mark.usefixtures("traps")
def test_a_decoder_that_sleeps_for_ever_costs_its_own_video_and_no_more_than_the_limit(
    clips: list[Path], tmp_path: Path
) -> None:
    stuck = tmp_path / "sleep.mp4"
    stuck.write_bytes(clips[0].read_bytes())
    paths = [*clips[:10], stuck, *clips[10:]]
    started = time.monotonic()
    with Crew(2, Orders("pyav", None, 2.0)) as crew:
        answers = [clip.answer for clip in crew.run(jobs(paths))]
    assert [answer.error for answer in answers if answer.error] == ["pyav: no answer within 2 s"]
    assert answers[10].error
    assert 2.0 < time.monotonic() - started < 12.0  # the rest is starting processes on a busy machine
    assert crew.lost == 1


@pytest.mark.usefixtures("traps")
def test_a_decoder_that_crashes_costs_its_own_video_only(clips: list[Path], tmp_path: Path) -> None:
    for name in ("crash", "once"):
        (tmp_path / f"{name}.mp4").write_bytes(clips[0].read_bytes())
    paths = [tmp_path / "crash.mp4", *clips[:5], tmp_path / "once.mp4", *clips[5:9]]
    with Crew(2, ORDERS) as crew:
        answers = {clip.job.key: clip.answer.error for clip in crew.run(jobs(paths))}
    assert {name: error for name, error in answers.items() if error} == {
        "crash.mp4": "pyav: the process crashed (SIGSEGV)"
    }
    assert crew.lost == 3  # twice the one that always crashes; what was killed once has its second chance


@pytest.mark.skipif(sys.platform != "linux", reason="decord has no wheel here")
def test_with_a_fallback_the_other_decoder_is_tried_once_and_named(tmp_path: Path) -> None:
    odd.several(tmp_path / "two.mp4", [odd.pictures(12), odd.pictures(12, 64, 64)])
    (tmp_path / "bad.mp4").write_bytes(b"rubbish")
    odd.video(tmp_path / "good.mp4", odd.pictures(12))
    paths = [tmp_path / "good.mp4", tmp_path / "two.mp4", tmp_path / "bad.mp4"]
    with Crew(1, Orders("decord", "pyav", 30.0)) as crew:
        good, two, bad = (clip.answer for clip in crew.run(jobs(paths)))
    assert (good.decoder, two.decoder) == ("decord", "pyav")
    assert not good.error
    assert not two.error
    assert bad.error.startswith("decord: ")
    assert "; pyav: " in bad.error


class _Finished(subprocess.Popen):
    """Over before whoever started it goes on, as happens on a busy machine."""

    def __init__(self, *given, **more) -> None:
        super().__init__(*given, **more)
        self.wait()


@pytest.mark.parametrize("dead", ["before it gets its orders", "some time"])
def test_workers_that_cannot_start_say_why(dead: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if dead != "some time":
        monkeypatch.setattr(subprocess, "Popen", _Finished)
    (tmp_path / "sitecustomize.py").write_text("import os, sys; print('no numpy here', file=sys.stderr); os._exit(3)")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PlfeatError, match="decode workers cannot start: no numpy here"), Crew(1, ORDERS) as crew:
        list(crew.run(jobs([tmp_path / "a.mp4"])))


def test_leaving_early_leaves_no_process_and_no_open_file(clips: list[Path]) -> None:
    before, others = psutil.Process().num_fds(), psutil.Process().children()
    with Crew(2, ORDERS) as crew:
        next(crew.run(jobs(clips)))
    assert psutil.Process().children() == others
    assert psutil.Process().num_fds() == before


def test_when_the_parent_is_killed_the_workers_go_too(clips: list[Path]) -> None:
    code = f"""
import time
from plfeat.video.crew import Crew
from plfeat.video.job import Job, Orders
with Crew(2, Orders("pyav", None, 30.0)) as crew:
    for clip in crew.run(Job({str(clips[0])!r}, str(n)) for n in range(10**9)):
        print(*(worker.process.pid for worker in crew._workers), flush=True)
"""
    run = subprocess.Popen([sys.executable, "-c", code], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    assert run.stdout
    workers = [psutil.Process(int(pid)) for pid in run.stdout.readline().split()]
    os.kill(run.pid, signal.SIGKILL)
    run.communicate()
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive


def test_time_spent_stopped_does_not_count(clips: list[Path], tmp_path: Path) -> None:
    """Ctrl-Z, or a suspended job, for longer than the limit."""
    odd.video(tmp_path / "long.mp4", odd.pictures(400), gop=250)
    code = f"""
import os, signal, sys
from plfeat.video.crew import Crew
from plfeat.video.job import Job, Orders
from plfeat.recipe import Take
os.setpgid(0, 0)
looks = (Take(frames=200),)
with Crew(1, Orders("pyav", None, 2.0)) as crew:
    for number, clip in enumerate(crew.run(Job({str(tmp_path / "long.mp4")!r}, str(n), looks) for n in range(6))):
        print(clip.answer.error or "fine", flush=True)
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout
        said = [run.stdout.readline().strip()]
        os.killpg(run.pid, signal.SIGSTOP)
        time.sleep(3)
        os.killpg(run.pid, signal.SIGCONT)
        said += run.stdout.read().split("\n")  # communicate would lose a line that is buffered already
    assert [line for line in said if line] == ["fine"] * 6


def test_a_worker_that_is_killed_before_it_began_is_replaced(clips: list[Path]) -> None:
    with Crew(2, ORDERS) as crew:
        for worker in crew._workers:
            worker.process.kill()
        assert [clip.answer.error for clip in crew.run(jobs(clips[:6]))] == [""] * 6
