"""A GPU that is none: tensors that know their shape and say they are on `cuda`, streams that keep what happened before
what, and a list of who waited. What races or waits on a real GPU does so here as well.

A stream's clock counts, for every stream, how much of its work is done before what this one does next; the host has
one, too. An access that another needs is in order if its place is within the other's clock.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

GPU = torch.device("cuda", 0)
Place = tuple[str, int]  # a stream, and the how many-th of its works


class Stream:
    def __init__(self, name: str, host: Counter[str]) -> None:
        self.name, self.host, self.clock = name, host, Counter[str]()
        self.events: list[Event] = []
        self.deepest = 0  # so many events were ahead of the host

    def wait_stream(self, other: "Stream") -> None:
        self.clock |= other.clock | self.host

    def record_event(self) -> "Event":
        self.events = [event for event in self.events if not event.clock <= self.host]
        self.events.append(Event(self.clock.copy(), self.host))
        self.deepest = max(self.deepest, len(self.events))
        return self.events[-1]

    def next(self) -> Place:
        self.clock |= self.host
        self.clock[self.name] += 1
        return self.name, self.clock[self.name]


@dataclass
class Event:
    clock: Counter[str]
    host: Counter[str]

    def synchronize(self) -> None:
        self.host |= self.clock


@dataclass
class Memory:
    """`home` is the stream that it goes back to; `safe` those that it waits for before it does."""

    alive: StorageWeakRef
    home: Stream
    what: str
    write: Place | None = None
    reads: list[Place] = field(default_factory=list)
    safe: set[str] = field(default_factory=set)


class Watch(TorchDispatchMode):
    """`races`: who did not wait for whom. `waits`: what held up the host. `flags`: whether TF32 was on at a product."""

    def __init__(self) -> None:
        super().__init__()
        self.mode = FakeTensorMode()
        self.host = Counter[str]()
        self.default, self.side = Stream("default", self.host), Stream("side", self.host)
        self.stream = self.default
        self.memory: dict[int, Memory] = {}
        self.races: list[str] = []
        self.waits: list[str] = []
        self.flags: set[bool] = set()

    @property
    def deepest(self) -> int:
        return max(stream.deepest for stream in (self.default, self.side))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = {key: value for key, value in (kwargs or {}).items() if key != "pin_memory"}
        name = str(func)
        if "conv" in name or "mm" in name:
            self.flags.add(torch.backends.cudnn.allow_tf32)
        self._sweep()
        taken = [value for value in tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)]
        named = {argument.name: value for argument, value in zip(func._schema.arguments, args, strict=False)} | kwargs
        on_gpu = torch.device(named.get("device") or "cpu").type == "cuda"
        if not on_gpu and not any(isinstance(value, FakeTensor) for value in taken):
            with unset_fake_temporarily():  # what is planned on the CPU has numbers
                return func(*args, **kwargs)
        args, kwargs = tree_map(self._fake, (args, kwargs))
        taken = [value for value in tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)]
        out = func(*args, **kwargs)
        given = [value for value in tree_leaves(out) if isinstance(value, torch.Tensor)]
        written = [
            value
            for argument, value in zip(func._schema.arguments, args, strict=False)
            if isinstance(value, torch.Tensor) and argument.alias_info is not None and argument.alias_info.is_write
        ]
        view = any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)
        if view or name.startswith(("prim.", "aten.empty", "aten.new_empty")):
            return out
        self._order(name, taken, written or given, bool(named.get("non_blocking")))
        return out

    def _fake(self, value: Any) -> Any:
        real = isinstance(value, torch.Tensor) and not isinstance(value, FakeTensor)
        return self.mode.from_tensor(value) if real else value

    def _order(self, name: str, taken: list[torch.Tensor], written: list[torch.Tensor], quick: bool) -> None:
        there = {value.device.type for value in (*taken, *written) if value.dim()}
        if "cuda" not in there:  # the host alone
            for value in taken:
                self._read(value, name, None)
            return
        place = self.stream.next()
        for value in taken:
            if not any(value is other for other in written):
                self._read(value, name, place)
        for value in written:
            self._write(value, name, place)
        if len(there) == 2 and not quick:  # an ordinary copy, or a row that is named by a tensor on the CPU
            self.waits.append(name)
            self.host |= self.stream.clock

    def _clock(self, place: Place | None) -> Counter[str]:
        return self.host if place is None else self.stream.clock

    def _read(self, value: torch.Tensor, name: str, place: Place | None) -> None:
        memory = self.memory.get(value.untyped_storage()._cdata)
        if memory is None:
            return
        if memory.write and self._clock(place)[memory.write[0]] < memory.write[1]:
            self.races.append(f"{name} on {place and place[0]} reads what {memory.what} on {memory.write[0]} writes")
        if place is not None:
            memory.reads.append(place)

    def _write(self, value: torch.Tensor, name: str, place: Place) -> None:
        key = value.untyped_storage()._cdata
        memory = self.memory.setdefault(key, Memory(StorageWeakRef(value.untyped_storage()), self.stream, name))
        for other in (*memory.reads, *([memory.write] if memory.write else [])):
            if self.stream.clock[other[0]] < other[1]:
                self.races.append(f"{name} on {place[0]} writes over what {other[0]} uses")
        memory.write, memory.reads, memory.what = place, [], name

    def _sweep(self) -> None:
        """Memory that nobody holds is used again by the stream that it came from."""
        for key, memory in list(self.memory.items()):
            if not memory.alive.expired():
                continue
            del self.memory[key]
            home = memory.home.clock | self.host
            for name, count in (*memory.reads, *([memory.write] if memory.write else [])):
                if home[name] < count and name not in memory.safe:
                    self.races.append(f"memory of {memory.home.name} was freed while {name} used it ({memory.what})")


@contextmanager
def pretended_gpu() -> Iterator[Watch]:
    """Within, `cuda` is there. Computes nothing: what is on it has shapes only."""
    watch, patch = Watch(), pytest.MonkeyPatch()

    @contextmanager
    def within(stream: Stream) -> Iterator[None]:
        watch.stream, before = stream, watch.stream
        yield
        watch.stream = before

    def record_stream(value: torch.Tensor, stream: Stream) -> None:
        watch.memory[value.untyped_storage()._cdata].safe.add(stream.name)

    def asked(name: str, blank: Callable[[Any], Any]) -> Callable[..., Any]:
        """What asks for numbers: there are none, so 0."""

        def answer(value: torch.Tensor) -> Any:
            if value.is_cuda:
                watch.waits.append(name)
                watch.host |= watch.stream.clock
            watch._read(value, name, None)
            return blank(np.zeros(tuple(value.shape), str(value.dtype).removeprefix("torch.")))

        return answer

    replaced: dict[str, Callable[..., Any]] = {
        "torch.cuda.Stream": lambda device: watch.side,
        "torch.cuda.stream": within,
        "torch.cuda.current_stream": lambda device=None: watch.stream,
        "torch.Tensor.record_stream": record_stream,
        "torch.Tensor.pin_memory": lambda value: value.clone(),
        "torch.nn.Module._apply": _apply,
    }
    for name, value in replaced.items():
        patch.setattr(name, value)
    patch.setattr(FakeTensor, "numpy", asked("numpy", lambda zeros: zeros), raising=False)
    patch.setattr(FakeTensor, "tolist", asked("tolist", lambda zeros: zeros.tolist()))
    with ExitStack() as modes:
        modes.callback(patch.undo)
        modes.enter_context(watch.mode)
        modes.enter_context(watch)
        yield watch


def _apply(module: torch.nn.Module, change: Callable[[torch.Tensor], torch.Tensor]) -> torch.nn.Module:
    """torch's own puts what was moved into the old tensor, which cannot be on another device than it is."""
    for child in module.children():
        _apply(child, change)
    for name, value in module._parameters.items():
        if value is not None:
            module._parameters[name] = torch.nn.Parameter(change(value.detach()), value.requires_grad)
    for name, buffer in module._buffers.items():
        if buffer is not None:
            module._buffers[name] = change(buffer)
    return module
