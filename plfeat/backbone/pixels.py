"""Decoded frames to a model's input: resized and cropped as uint8 on the device, then normalised.

Shapes: K frames of one video, B batch, C channels, H W pixels.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip.transform import PreprocessCfg
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as pixels

from plfeat.device import sent
from plfeat.errors import UsageError

_CPU = torch.device("cpu")


class Pixels:
    """What open_clip's own transform does, eight times as fast and within two levels of it (uint8 arithmetic)."""

    def __init__(self, preprocess: PreprocessCfg, device: torch.device = _CPU) -> None:
        if preprocess.resize_mode not in ("shortest", "squash"):
            raise UsageError(
                f"this model's preprocess resizes by {preprocess.resize_mode!r}; only shortest and squash are known"
            )
        size = preprocess.size if isinstance(preprocess.size, tuple) else (preprocess.size, preprocess.size)
        if preprocess.resize_mode == "shortest" and size[0] != size[1]:
            raise UsageError(f"this model's preprocess crops to {size}; only squares are known")
        self.size = size
        self.squash = preprocess.resize_mode == "squash"
        self.interpolation = InterpolationMode(preprocess.interpolation)
        self.mean = torch.tensor(preprocess.mean).view(3, 1, 1)
        self.std = torch.tensor(preprocess.std).view(3, 1, 1)
        self._there = self.mean.to(device), self.std.to(device)  # once: copied in every pass, they would hold it up

    @property
    def about(self) -> dict[str, Any]:
        """What goes into a fingerprint."""
        return {
            "size": list(self.size),
            "resize": "squash" if self.squash else "shortest",
            "interpolation": self.interpolation.value,
            "arithmetic": "uint8",
            "mean": self.mean.flatten().tolist(),
            "std": self.std.flatten().tolist(),
        }

    def load(self, frames_KHWC: NDArray[np.uint8], device: torch.device) -> torch.Tensor:
        """`[K, 3, H, W]` uint8 on the device; to a GPU the copy does not hold up the caller."""
        return sent(torch.from_numpy(np.ascontiguousarray(frames_KHWC)), device).permute(0, 3, 1, 2)

    def fit(self, frames_KCHW: torch.Tensor) -> torch.Tensor:
        """`[K, 3, size, size]` uint8: resized with antialiasing, then cropped to the centre."""
        goal = list(self.size) if self.squash else [self.size[0]]
        return pixels.center_crop(pixels.resize(frames_KCHW, goal, self.interpolation, antialias=True), list(self.size))

    def normalise(self, frames_BCHW: torch.Tensor) -> torch.Tensor:
        """uint8 frames to what the vision tower eats."""
        mean, std = self._there
        return (frames_BCHW.float() / 255 - mean) / std
