"""How the work is done, and by which part of many machines. None of it changes the features."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from plfeat.errors import UsageError


def _cores() -> int:
    """Those that this process may use, where the system tells; of several that torchrun started here, its share."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // max(1, number(os.environ, "LOCAL_WORLD_SIZE", 1)))


def number(environment: Mapping[str, str], name: str, otherwise: int) -> int:
    said = environment.get(name, "")
    return int(said) if said.isdecimal() else otherwise


@dataclass(frozen=True)
class Means:
    """How the work is done, none of which changes the features."""

    workers: int = field(default_factory=_cores)
    limit: float = 60.0  # seconds after which a decoder is killed
    part: tuple[int, int] = (1, 1)  # (2, 3): this process makes the second of every three chunks
    engine: str = "local"  # or ray
    address: str | None = None  # of a Ray cluster; without one, a cluster of this machine
    retry: bool = False  # try videos again that failed


_RANKS = (
    ("RANK", "WORLD_SIZE"),
    ("SLURM_PROCID", "SLURM_NTASKS"),
    ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN"),
)


def _rank(environment: Mapping[str, str], rank: str, world: str, first: str = "") -> tuple[int, int]:
    try:
        return int(environment[rank]) - int(environment.get(first, 0)) + 1, int(environment[world])
    except (KeyError, ValueError):
        return 1, 1


def parse_part(said: str | None, environment: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """`2/3` is the second of three. `auto` asks torchrun's variables, then SLURM's; without them there is one part."""
    if said is None:
        return 1, 1
    if said == "auto":
        return next((found for names in _RANKS if (found := _rank(environment, *names))[1] > 1), (1, 1))
    number, slash, count = said.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise UsageError(f"--part {said}: expected i/n with 1 <= i <= n, for example 2/3, or auto")
    return int(number), int(count)
