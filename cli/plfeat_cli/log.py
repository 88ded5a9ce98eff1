"""How far work is, as lines: for a scheduler's log, a pipe, or anything else that is no terminal."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from plfeat.progress import LOADING
from plfeat.records import Tick
from plfeat_cli.words import duration, rate

SOON, EVERY = 1.0, 30.0
"""Seconds after which a stage is announced that has not ended yet, and after which it speaks again."""


@dataclass
class _Stage:
    """A stage that began at `since`, when `first` was already done. `last`: when the log last wrote a line about it, if
    it did."""

    name: str
    total: int
    first: int
    since: float
    done: int = field(default=0, init=False)
    note: str = field(default="", init=False)
    last: float | None = field(default=None, init=False)

    @property
    def counted(self) -> bool:
        return self.total > 1

    def opening(self) -> str:
        return f"{self.name}: {self.done:,}/{self.total:,}" if self.counted else f"{self.name}…"

    def under_way(self, now: float) -> str:
        spent, more = now - self.since, self.done - self.first
        if not self.counted:
            return f"{self.name}: {duration(spent)} so far"
        pace = f", {rate(more, spent)}, {duration((self.total - self.done) * spent / more)} to go" if more > 0 else ""
        return f"{self.name}: {self.done:,}/{self.total:,} after {duration(spent)}{pace}{self._in_brackets()}"

    def closing(self, now: float) -> str:
        spent = duration(now - self.since)
        counts = f"{self.done:,}/{self.total:,} in " if self.counted or self.note else ""
        return f"{self.name}: {counts}{spent}{self._in_brackets()}"

    def _in_brackets(self) -> str:
        return f" ({self.note})" if self.note else ""


class Log:
    """Ticks in, lines out. The log names a stage once it has lasted a second, writes a line about it every half minute,
    and a last one with its final count. A stage without counts that takes less than a second has no line. A stage that
    cannot tick is written about by `beat`. The clock is handed in."""

    def __init__(self, every: float = EVERY, clock: Callable[[], float] = time.monotonic) -> None:
        self._every, self._clock = every, clock
        self._open: dict[str, _Stage] = {}  # the last of them is the one under way
        self._closed: dict[str, int] = {}
        self._began = self._spoke = clock()

    def tick(self, name: str, done: int, total: int, note: str = "") -> str | None:
        now = self._clock()
        if done >= total and self._closed.get(name) == total and name not in self._open:
            return None
        stage = self._open.pop(name, None) or _Stage(name, total, done, now)
        stage.done, stage.total, stage.note = done, total, note
        if done >= total:
            self._closed[name] = total
            worth = stage.counted or note or stage.last is not None or now - stage.since >= SOON
            return self._speak(stage, now, stage.closing(now)) if worth else None
        self._closed.pop(name, None)
        self._open[name] = stage
        return self._due(stage, now)

    def beat(self) -> str | None:
        """The line that is due if nobody has ticked for a while."""
        now = self._clock()
        if self._open:
            return self._due(list(self._open.values())[-1], now)
        if now - self._spoke < self._every:
            return None
        self._spoke = now
        return f"at work for {duration(now - self._began)}"

    def _due(self, stage: _Stage, now: float) -> str | None:
        if stage.last is None:
            # while torch is loaded no other thread may run for seconds: this stage is named at once
            due = now - stage.since >= SOON or stage.name == LOADING
            return self._speak(stage, now, stage.opening()) if due else None
        return self._speak(stage, now, stage.under_way(now)) if now - stage.last >= self._every else None

    def _speak(self, stage: _Stage, now: float, line: str) -> str:
        stage.last = self._spoke = now
        return line


@contextmanager
def lines(say: Callable[[str], None], log: Log, pause: float = SOON / 2) -> Iterator[Tick]:
    """Writes the log's lines: whoever ticks does it, and a thread where nobody ticks."""
    lock, ended = threading.Lock(), threading.Event()

    def tick(stage: str, done: int, total: int, note: str = "", /) -> None:
        with lock:
            if line := log.tick(stage, done, total, note):
                say(line)

    def watch() -> None:
        while not ended.wait(pause):
            with lock:
                if line := log.beat():
                    say(line)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield tick
    finally:
        ended.set()
        thread.join(timeout=1.0)
