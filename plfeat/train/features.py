"""Where a fleet's features are: on the device that trains, or, where they do not fit there, in the store.

A tensor `[N, V, T, D]` is features that are on the device. `Mapped` are features in the store: threads read the next
batches while the device computes. Both give the same numbers, to the bit.

Shapes: E members, N videos, V views, T frames, B samples, K samples of all members, D width.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import torch
from numpy.typing import NDArray

from plfeat.device import sent
from plfeat.shards.views import Views
from plfeat.train.batches import Batch

SHARE = 0.5
"""Of the free memory that features may take; the rest is for what is computed from them."""

_READERS, _AHEAD = 2, 3  # threads, and pieces that are read or being read before they are asked for
_GROUPS = Path("/sys/fs/cgroup")

Plan = Callable[[torch.device], Iterator[Batch]]
T = TypeVar("T")


@dataclass(frozen=True)
class Mapped:
    """Features in the store, for a device. `pooled`: of each view only the mean of its frames is kept, as float32."""

    views: Views
    device: torch.device
    pooled: bool = False

    @property
    def shape(self) -> torch.Size:
        videos, views, frames, *rest = self.views.shape
        return torch.Size((videos, views, 1 if self.pooled else frames, *rest))

    def split(self, most: int) -> Iterator[torch.Tensor]:
        """All videos in order, at most so many at a time `[n, V, T, D]`, as a tensor is split."""
        pieces = (partial(self._piece, first, first + most) for first in range(0, len(self.views), most))
        return (sent(piece, self.device) for piece in ahead(pieces))

    def fed(self, plan: Plan) -> Iterator[tuple[torch.Tensor, Batch]]:
        """The plan is made on the CPU, where the store is read."""
        for frames, batch in ahead(partial(self._frames, batch) for batch in plan(torch.device("cpu"))):
            yield sent(frames, self.device), _sent(batch, self.device)

    def _piece(self, first: int, last: int) -> torch.Tensor:
        return self._ready(self.views.read(first, last))

    def _frames(self, batch: Batch) -> tuple[torch.Tensor, Batch]:
        video_K, view_K = (rows_EB.flatten().numpy() for rows_EB in (batch.video_EB, batch.view_EB))
        return self._ready(self.views.gather(video_K, view_K)).unflatten(0, batch.video_EB.shape), batch

    def _ready(self, features: NDArray[Any]) -> torch.Tensor:
        """What was read `[…, T, D]`, where the device can fetch it."""
        found = torch.from_numpy(features)
        found = found.mean(dim=-2, keepdim=True, dtype=torch.float32) if self.pooled else found
        return found.pin_memory() if self.device.type == "cuda" else found


Features = torch.Tensor | Mapped


def fed(features: Features, plan: Plan) -> Iterator[tuple[torch.Tensor, Batch]]:
    """The frames `[E, B, T, D]` of every batch of a plan, on the features' device, and the batch."""
    if isinstance(features, Mapped):
        yield from features.fed(plan)
        return
    for batch in plan(features.device):
        yield features[batch.video_EB, batch.view_EB], batch


def ahead(pieces: Iterator[Callable[[], T]]) -> Iterator[T]:
    """What the pieces of work return, in their order. Threads do the next ones before they are asked for."""
    with ThreadPoolExecutor(_READERS, "features") as pool:
        waiting = deque(pool.submit(piece) for piece in islice(pieces, _AHEAD))
        try:
            while waiting:
                done = waiting.popleft().result()
                waiting.extend(pool.submit(piece) for piece in islice(pieces, 1))
                yield done
        finally:
            pool.shutdown(cancel_futures=True)


def _sent(batch: Batch, device: torch.device) -> Batch:
    """As a plan for the device has it: `texts_EU` stays on the CPU."""
    return replace(
        batch,
        video_EB=sent(batch.video_EB, device),
        view_EB=sent(batch.view_EB, device),
        label_EB=sent(batch.label_EB, device),
        own_EB=sent(batch.own_EB, device),
    )


def fits(needed: int, free: int) -> bool:
    """Whether features of so many bytes are kept in memory, of which so many bytes are free."""
    return needed <= SHARE * free


def free_memory(device: torch.device) -> int:
    """Bytes that are free where a device keeps its features: its own memory, or this machine's, as far as this process
    may use it."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return min(_machine_free(), _group_free(_GROUPS))


def not_kept(needed: int, free: int) -> str:
    """The remark of a training whose features do not fit."""
    return f"features of {needed / 1e9:.3g} GB are read from the store, {free / 1e9:.3g} GB are free"


def _machine_free() -> int:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        pages = "SC_AVPHYS_PAGES" if "SC_AVPHYS_PAGES" in os.sysconf_names else "SC_PHYS_PAGES"
        return os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE")


def _group_free(groups: Path) -> int:
    """What the limit of a container or a job leaves. Pages of files that were read are given back when needed."""
    try:
        limit = int((groups / "memory.max").read_text(encoding="ascii"))  # "max" where there is none
        used = int((groups / "memory.current").read_text(encoding="ascii"))
        stat = dict(line.split() for line in (groups / "memory.stat").read_text(encoding="ascii").splitlines())
        return max(0, limit - used + int(stat["active_file"]) + int(stat["inactive_file"]))
    except (OSError, ValueError, KeyError):
        return 1 << 62
