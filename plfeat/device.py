"""What a GPU wants and a CPU does not: copies that nobody waits for, float32 that is float32, chunks as large as its
memory allows, its name in the record, and one line where its memory is too small.

Whatever is known on the CPU goes to a GPU by `sent`; an ordinary copy waits until the GPU has done all that is queued.
"""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from plfeat.errors import PlfeatError, first_line

_CHUNK, _GPU_CHUNK = 256 << 20, 8 << 30  # bytes
_DRIVER = Path("/proc/driver/nvidia/version")


def sent(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """On the device, some time before what comes next there; nobody waits. (Only from pinned memory a GPU fetches by
    itself.)"""
    if values.device == device or device.type == "cpu":
        return values.to(device)
    if device.type == "cuda" and values.device.type == "cpu":
        values = values.pin_memory()
    return values.to(device, non_blocking=True)


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Within, float32 is float32: on a GPU torch would round the inputs of convolutions to TF32, ten bits of mantissa,
    and those of products too if somebody asked for it."""
    if device.type == "cpu":
        yield
        return
    convolutions, products = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    try:
        torch.backends.cudnn.allow_tf32 = False
        torch.set_float32_matmul_precision("highest")
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = convolutions
        torch.set_float32_matmul_precision(products)


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Within, what is single precision stays so."""
    known = torch.amp.is_autocast_available(device.type)
    on = known and torch.is_autocast_enabled(device.type)
    return torch.autocast(device.type, enabled=False) if on else nullcontext()


def chunk_bytes(device: torch.device) -> int:
    """What one chunk of a larger work may take: on a GPU a tenth of its memory, since small chunks leave it waiting."""
    if device.type != "cuda" or not torch.cuda.is_available():
        return _CHUNK
    total: int = torch.cuda.get_device_properties(device).total_memory
    return max(_CHUNK, min(_GPU_CHUNK, total // 10))


def accelerator(device: torch.device) -> dict[str, Any] | None:
    """The card, its driver, and the CUDA that torch was built for; None for a CPU. Last bits depend on all three."""
    if device.type != "cuda":
        return None
    return {"name": torch.cuda.get_device_name(device), "driver": _driver(), "cuda": torch.version.cuda}


def _driver() -> str | None:
    try:
        found = re.search(r"\b\d+\.\d+(\.\d+)?\b", _DRIVER.read_text(encoding="utf-8"))
    except OSError:
        return None
    return found.group() if found else None


@contextmanager
def enough_memory(instead: str) -> Iterator[None]:
    """Where a GPU's memory is too small for what is done within, one line that says what to do `instead`."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        said = first_line(error)
        facts = [found.group() for found in re.finditer(r"(Tried to allocate|total capacity of) [\d.]+ \w+", said)]
        raise PlfeatError(f"the GPU's memory is too small ({', '.join(facts) or said[:100]}); {instead}") from error
