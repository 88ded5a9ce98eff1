"""Ways to do the same thing in, the seconds that each takes out, side by side; and how much arithmetic it is."""

import time
from collections.abc import Callable

import torch

from plfeat.device import full_precision
from plfeat.records import Tick

Ways = dict[str, Callable[[], object]]
CPU = torch.device("cpu")

_LARGE = {"cpu": 2048, "cuda": 8192}  # rows of a product that nothing but the arithmetic limits


def timed(work: Callable[[], object], device: torch.device = CPU) -> float:
    """Seconds until the work is done, on the device too."""
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def rounds(ways: Ways, repeats: int, tick: Tick, device: torch.device = CPU) -> dict[str, list[float]]:
    """The seconds of every way in every round. In a round all take turns, so that what else the machine does meets
    them alike."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats):
        for name, way in ways.items():
            seconds[name].append(timed(way, device))
        tick("measuring", turn + 1, repeats)
    return seconds


def counted(work: Callable[[], object]) -> float:
    """Floating-point operations. The counter knows products, but not those within a fused attention."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            work()
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return float(counter.get_total_flops())


def product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of one large product; the best of a few."""
    size = _LARGE[device.type]
    left, right = torch.randn(2, size, size, device=device, dtype=dtype)

    def multiply() -> None:
        for _ in range(4):
            left @ right

    with full_precision(device):
        multiply()
        return 4 * 2 * size**3 / min(timed(multiply, device) for _ in range(8))


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
