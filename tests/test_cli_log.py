"""Progress where there is no terminal: a line now and then, never half a minute of silence."""

import threading
from collections.abc import Callable
from itertools import pairwise

import pytest

from plfeat.progress import stage
from plfeat_cli.log import Log, lines


class Clock:
    """Stands still unless told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Heard:
    """A log, and what it said at which second."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.log = Log(clock=self.clock)
        self.lines: list[tuple[float, str]] = []

    def __call__(self, *ticked: object) -> None:
        self._note(self.log.tick(*ticked))

    def wait(self, seconds: float) -> None:
        """As long as it takes, listening as the thread does."""
        for _ in range(round(2 * seconds)):
            self.clock.now += 0.5
            self._note(self.log.beat())

    def _note(self, line: str | None) -> None:
        if line:
            self.lines.append((self.clock.now - 100.0, line))


@pytest.fixture
def heard() -> Heard:
    return Heard()


def test_a_stage_opens_speaks_every_half_minute_and_closes(heard: Heard) -> None:
    for done in range(0, 101, 10):
        heard("encoding videos", done, 100, f"at {done}")
        if done < 100:
            heard.wait(12)
    assert heard.lines == [
        (1.0, "encoding videos: 0/100"),
        (31.0, "encoding videos: 20/100 after 31 s, 0.65/s, 2 min 04 s to go (at 20)"),
        (61.0, "encoding videos: 50/100 after 1 min 01 s, 0.82/s, 1 min 01 s to go (at 50)"),
        (91.0, "encoding videos: 70/100 after 1 min 31 s, 0.77/s, 39 s to go (at 70)"),
        (120.0, "encoding videos: 100/100 in 2 min 00 s (at 100)"),
    ]


def test_what_was_there_before_counts_for_the_end_and_not_for_the_rate(heard: Heard) -> None:
    heard("encoding videos", 100_000, 240_000)
    heard.wait(1)
    heard.clock.now += 99
    heard("encoding videos", 104_000, 240_000)
    heard.wait(1)
    assert heard.lines[1][1] == "encoding videos: 104,000/240,000 after 1 min 40 s, 40/s, 56 min 40 s to go"


def test_a_stage_that_cannot_count_speaks_too(heard: Heard) -> None:
    with stage(heard, "reading the list"):
        heard.wait(70)
    assert heard.lines == [
        (1.0, "reading the list…"),
        (31.0, "reading the list: 31 s so far"),
        (61.0, "reading the list: 1 min 01 s so far"),
        (70.0, "reading the list: 1 min 10 s"),
    ]


def test_torch_is_announced_at_once_since_nothing_else_can_run_then(heard: Heard) -> None:
    heard("loading torch", 0, 1)
    assert heard.lines == [(0.0, "loading torch…")]


def test_what_takes_no_second_takes_no_line_but_a_count_is_told(heard: Heard) -> None:
    with stage(heard, "reading the list"):
        heard.wait(0.5)
    heard("encoding videos", 120, 120)
    heard("encoding videos", 120, 120)
    assert heard.lines == [(0.5, "encoding videos: 120/120 in 0 s")]


def test_a_stage_that_comes_again_is_told_again(heard: Heard) -> None:
    for _ in range(2):
        for done in (0, 5):
            heard("training", done, 5)
            heard.wait(2)
    assert [line for _, line in heard.lines] == ["training: 0/5", "training: 5/5 in 2 s"] * 2


def test_nothing_is_silent_for_long_not_even_what_is_no_stage(heard: Heard) -> None:
    heard.wait(100)
    heard("training", 0, 5)
    heard.wait(100)
    heard("training", 5, 5)
    heard.wait(100)
    times = [0.0, *(when for when, _ in heard.lines), 300.0]
    assert max(after - before for before, after in pairwise(times)) <= 31
    assert heard.lines[0] == (30.0, "at work for 30 s")


def test_somebody_speaks_while_the_work_does_not_come_to_it() -> None:
    said, spoken = list[str](), threading.Event()

    def say(line: str) -> None:
        said.append(line)
        if len(said) == 3:
            spoken.set()

    clock: Callable[[], float] = iter(range(10**6)).__next__  # every look at it is a second later
    with lines(say, Log(every=2, clock=clock), pause=0.001) as tick, stage(tick, "hashing"):
        assert spoken.wait(timeout=60)
    assert said[0] == "hashing…"
    assert said[1].endswith("so far")
    assert said[-1].startswith("hashing: ")
