"""Training views: one video's fitted frames in, the same frames changed alike out. A pure function of (key, frames).

Shapes: K frames of one view, C channels, H W pixels.
"""

from importlib.metadata import version
from typing import Any

import torch
from torchvision.transforms.v2 import InterpolationMode, RandAugment
from torchvision.transforms.v2 import functional as pixels

from plfeat.video.sampling import uniform

KINDS = ("none", "flip", "rand", "rand+flip")
_OPERATIONS, _MAGNITUDE = 2, 9


def about(kind: str) -> Any:
    """What goes into a fingerprint: the library's version too, for its operations are not ours to freeze."""
    if "rand" not in kind:
        return kind
    return {"kind": kind, "operations": _OPERATIONS, "magnitude": _MAGNITUDE, "torchvision": version("torchvision")}


def augment(frames_KCHW: torch.Tensor, kind: str, key: str) -> torch.Tensor:
    """All frames of a view are flipped together, and go through the same random operations."""
    coin, draw = uniform(f"augment/{key}", 2)
    if "flip" in kind and coin < 0.5:
        frames_KCHW = pixels.horizontal_flip(frames_KCHW)
    if "rand" in kind:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(draw * 2**53))
            change = RandAugment(_OPERATIONS, _MAGNITUDE, interpolation=InterpolationMode.BILINEAR)
            frames_KCHW = change(frames_KCHW)
    return frames_KCHW
