"""A process that decodes videos for another one: `python -m plfeat.video.worker LINK SLOT...`. Never imports torch.

Jobs come over the link, frames go into the shared slots, answers go back. A decoder that does not return within the
limit is killed together with its process by the kernel's own timer, which no library can hold up.
"""

import os
import resource
import signal
import sys
import time
from contextlib import suppress
from multiprocessing.connection import Connection

from plfeat.video.job import Orders, decode
from plfeat.video.slot import Slot

_MOST_MEMORY = 6 << 30
"""Bytes of its own that a worker may hold; a damaged header then costs one video and not the machine."""


def serve(link: Connection, slots: list[Slot]) -> None:
    orders: Orders = link.recv()
    link.send("ready")
    while True:
        number, job, decoder = link.recv()
        started = time.perf_counter()
        signal.setitimer(signal.ITIMER_REAL, orders.limit)
        answer = decode(job, decoder, slots[number].array)
        signal.setitimer(signal.ITIMER_REAL, 0)
        link.send((number, answer, time.perf_counter() - started))


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the parent decides; when it is gone, the link is too
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    with suppress(ValueError, OSError):  # not every system has this limit
        resource.setrlimit(resource.RLIMIT_DATA, (_MOST_MEMORY, _MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(5)  # encoding, where it shares the cores, goes first: idle arithmetic units are the dearer loss
    link, *slots = (int(argument) for argument in sys.argv[1:])
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        serve(Connection(link), [Slot(slot) for slot in slots])


if __name__ == "__main__":
    main()
