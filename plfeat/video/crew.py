"""Workers that decode side by side: jobs in, frames out in the same order. A stuck or crashing video costs itself only.

with Crew(workers=4, orders=Orders("pyav")) as crew:
    for clip in crew.run(jobs):  # clip.frames_UHWC lies in shared memory and is valid until the next one is asked for
        ...
"""

import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import IO, Any

from plfeat.errors import PlfeatError
from plfeat.video.decode import Frames
from plfeat.video.job import Answer, Job, Orders
from plfeat.video.slot import Slot

_AHEAD = 1 << 30  # bytes of finished videos that may wait for their turn
_QUEUE = 2  # the one that it decodes and the next, so that it never waits for us
_STARTS = 5  # workers in a row that may be killed before they began
_GRACE = 5.0  # seconds after which a worker that its own timer did not end is killed from here


@dataclass(frozen=True, slots=True)
class Decoded:
    job: Job
    answer: Answer
    frames_UHWC: Frames


@dataclass(slots=True)
class _Task:
    position: int
    job: Job
    slot: int
    decoder: str
    first_error: str = ""  # what the other decoder said
    crashes: int = 0


@dataclass(slots=True)
class _Worker:
    slots: list[Slot]
    process: "subprocess.Popen[bytes]"
    link: Connection
    stderr: IO[bytes]
    free: list[int]
    queue: deque[_Task] = field(default_factory=deque)
    ready: bool = False
    since: float = 0.0  # when the first task of the queue became the first

    def late(self, limit: float) -> bool:
        """Its own timer should have ended it by now."""
        return bool(self.queue) and time.monotonic() - self.since > limit + _GRACE


class Crew:
    """Counts the videos `decoded`, the `seconds` that the workers spent on them, the seconds that we `waited`, and the
    workers `lost`."""

    def __init__(self, workers: int, orders: Orders, ahead: int = 4) -> None:
        """`ahead`: how many finished videos may wait while whoever takes them is busy."""
        self.orders = orders
        self._held = 0  # bytes of finished videos that nobody has taken yet
        self._unready = 0  # workers in a row that ended before they began
        self._continued = 0.0  # when we last went on after having been stopped (Ctrl-Z, a suspended job)
        self._before = _when_continued(self._went_on)
        self.forget()
        self._workers: list[_Worker] = []
        try:
            for _ in range(workers):
                slots = [Slot() for _ in range(_QUEUE + -(-ahead // workers))]
                self._workers.append(_start(slots, orders))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def forget(self) -> None:
        """Start counting anew."""
        self.decoded = self.lost = 0
        self.seconds = self.waited = 0.0

    @property
    def rate(self) -> float:
        """Videos a second that all workers together could decode."""
        return self.decoded * len(self._workers) / self.seconds if self.seconds else 0.0

    def _went_on(self, number: int, frame: object) -> None:
        self._continued = time.monotonic()

    def close(self) -> None:
        if self._before is not None:
            signal.signal(signal.SIGCONT, self._before)
        for worker in self._workers:
            _end(worker)
            worker.stderr.close()
            for slot in worker.slots:
                slot.close()

    def run(self, jobs: Iterable[Job]) -> Iterator[Decoded]:
        """What became of every job, in order. Later jobs are decoded meanwhile, as far as there is memory for them."""
        coming = iter(enumerate(jobs))
        done: dict[int, tuple[_Worker, _Task, Answer]] = {}
        position = 0
        while True:
            if self._held < _AHEAD:
                self._hand_out(coming)
            if position not in done and not any(worker.queue for worker in self._workers):
                return
            self._listen(done, block=position not in done)
            if position in done:
                worker, task, answer = done.pop(position)
                self._held -= math.prod(answer.shape)
                yield Decoded(task.job, answer, worker.slots[task.slot].array(answer.shape))
                worker.free.append(task.slot)
                position += 1

    def _hand_out(self, coming: Iterator[tuple[int, Job]]) -> None:
        while True:
            able = [worker for worker in self._workers if worker.free and len(worker.queue) < _QUEUE]
            if not able:
                return
            following = next(coming, None)
            if following is None:
                return
            worker = min(able, key=lambda worker: len(worker.queue))
            self._send(worker, _Task(*following, slot=worker.free.pop(), decoder=self.orders.decoder))

    def _send(self, worker: _Worker, task: _Task) -> None:
        if not worker.queue:
            worker.since = time.monotonic()
        worker.queue.append(task)
        with suppress(BrokenPipeError, ConnectionResetError):  # it has just died: its successor gets the whole queue
            worker.link.send((task.slot, task.job, task.decoder))

    def _listen(self, done: dict[int, tuple[_Worker, _Task, Answer]], block: bool) -> None:
        links = {worker.link: worker for worker in self._workers}
        started = time.monotonic()
        heard = wait(list(links), self.orders.limit + _GRACE if block else 0)
        self.waited += time.monotonic() - started
        for link in heard:
            worker = links[link]  # type: ignore[index]
            try:
                while worker.link.poll():
                    self._receive(worker, worker.link.recv(), done)
            except (EOFError, ConnectionResetError):
                self._replace(worker, done)
        for worker in self._workers:
            if worker.late(self.orders.limit) and not worker.link.poll():
                worker.process.kill()

    def _receive(self, worker: _Worker, message: Any, done: dict[int, tuple[_Worker, _Task, Answer]]) -> None:
        worker.since = time.monotonic()
        if message == "ready":
            worker.ready = True
            return
        _, answer, seconds = message
        self.seconds += seconds
        self.decoded += 1
        self._conclude(worker, worker.queue.popleft(), replace(answer, seconds=seconds), done)

    def _conclude(
        self, worker: _Worker, task: _Task, answer: Answer, done: dict[int, tuple[_Worker, _Task, Answer]]
    ) -> None:
        """A video that failed is tried once with the other decoder, if that is allowed."""
        if answer.error and self.orders.fallback and task.decoder != self.orders.fallback:
            self._send(worker, replace(task, decoder=self.orders.fallback, first_error=answer.error))
            return
        if answer.error and task.first_error:
            answer = replace(answer, error=f"{task.first_error}; {answer.error}"[:200])
        done[task.position] = (worker, task, answer)
        self._held += math.prod(answer.shape)

    def _replace(self, worker: _Worker, done: dict[int, tuple[_Worker, _Task, Answer]]) -> None:
        """Its first video ended it; the others in its queue go to its successor. A crash is given a second chance: it
        may have been somebody else's doing."""
        ended_by = -_end(worker)
        self._unready = 0 if worker.ready else self._unready + 1
        if self._unready > (_STARTS if ended_by > 0 else 0):
            raise PlfeatError(f"decode workers cannot start: {_last_words(worker)}")
        worker.stderr.close()
        worker_was_ready = worker.ready
        self.lost += 1
        tasks = list(worker.queue)
        late = ended_by == signal.SIGALRM or worker.late(self.orders.limit)
        late = late and self._continued < worker.since  # not if we all were stopped meanwhile, and the clock ran on
        fresh = _start(worker.slots, self.orders)
        worker.process, worker.link, worker.stderr, worker.ready = fresh.process, fresh.link, fresh.stderr, False
        worker.queue.clear()
        if tasks and not worker_was_ready:
            first = None
        elif tasks and not late and not tasks[0].crashes:
            tasks[0].crashes += 1
            first = None
        else:
            first = tasks.pop(0) if tasks else None
        for task in tasks:
            self._send(worker, task)
        if first is not None:
            said = f"no answer within {self.orders.limit:g} s" if late else f"the process crashed ({_name(ended_by)})"
            error = f"{first.decoder}: {said}"
            self._conclude(worker, first, Answer(error=error, decoder=first.decoder), done)


def _when_continued(do: Any) -> Any:
    """Only the main thread may listen to signals; elsewhere None."""
    if threading.current_thread() is not threading.main_thread():
        return None
    return signal.signal(signal.SIGCONT, do) or signal.SIG_DFL


def _start(slots: list[Slot], orders: Orders) -> _Worker:
    ours, theirs = socket.socketpair()
    stderr = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the worker
    descriptors = [theirs.fileno(), *(slot.descriptor for slot in slots)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "plfeat.video.worker", *map(str, descriptors)],
        pass_fds=descriptors,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        env=environment | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    )
    theirs.close()
    link = Connection(ours.detach())
    with suppress(BrokenPipeError, ConnectionResetError):  # it has died already, which is heard where all are heard
        link.send(orders)
    return _Worker(slots, process, link, stderr, list(range(len(slots))))


def _end(worker: _Worker) -> int:
    """Its exit code. One that does not even die when killed (a dead network disk) is left behind."""
    worker.link.close()
    try:
        return worker.process.wait(timeout=0.2)
    except subprocess.TimeoutExpired:
        worker.process.kill()
    try:
        return worker.process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        return -signal.SIGKILL


def _last_words(worker: _Worker) -> str:
    worker.stderr.seek(0)
    lines = worker.stderr.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"exit code {worker.process.returncode}"


def _name(ended_by: int) -> str:
    try:
        return signal.Signals(ended_by).name
    except ValueError:
        return f"exit code {-ended_by}"
