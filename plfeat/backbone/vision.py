"""uint8 frames in, frame features out: the frozen vision tower."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from open_clip.transform import PreprocessCfg
from torch import nn
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as pixels

from plfeat.errors import UsageError


class FrameEncoder:
    """`fit` brings one video's frames to the model's size as uint8; `encode` turns a batch of those into features."""

    def __init__(self, model: nn.Module, preprocess: PreprocessCfg) -> None:
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
        self.model = model
        self.mean = torch.tensor(preprocess.mean).view(3, 1, 1)
        self.std = torch.tensor(preprocess.std).view(3, 1, 1)

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

    def fit(self, frames_KHWC: NDArray[np.uint8]) -> torch.Tensor:
        """`[K, 3, size, size]` uint8: resized with antialiasing, then cropped to the centre."""
        frames = torch.from_numpy(np.ascontiguousarray(frames_KHWC)).permute(0, 3, 1, 2)
        goal = list(self.size) if self.squash else [self.size[0]]
        return pixels.center_crop(pixels.resize(frames, goal, self.interpolation, antialias=True), list(self.size))

    def normalise(self, frames_BCHW: torch.Tensor) -> torch.Tensor:
        """uint8 frames to what the vision tower eats."""
        return (frames_BCHW.float() / 255 - self.mean) / self.std

    @torch.inference_mode()
    def encode(self, frames_BCHW: torch.Tensor, batch: int) -> torch.Tensor:
        """Features `[B, D]`, projected, not normalised. Every pass has `batch` frames; the last one is padded."""
        parts = []
        for chunk in frames_BCHW.split(batch):
            padding = batch - len(chunk)
            padded = F.pad(chunk, (0, 0, 0, 0, 0, 0, 0, padding))
            features: torch.Tensor = self.model.encode_image(self.normalise(padded))  # type: ignore[operator]
            parts.append(features[: len(chunk)])
        return torch.cat(parts)
