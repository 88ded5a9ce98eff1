"""The trainer that ours is measured against: what a trainer over cached features looks like when nobody has looked into
it. A DataLoader over HDF5, every class through all 77 tokens of open_clip's own text tower, one member.

Shapes: B samples, N videos, T frames, C classes, L tokens, W text width, D width.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset

from plfeat.backbone.load import Backbone
from plfeat.loss.match import matching_loss
from plfeat.train.build import Material
from plfeat.train.fleet import Fleet

_CONTEXTS = 16


class _Stored(Dataset[tuple[Any, int]]):
    """A video's features from an HDF5 file, opened once, read for every sample."""

    def __init__(self, path: Path) -> None:
        self.file = h5py.File(path)

    def __len__(self) -> int:
        return len(self.file["label"])

    def __getitem__(self, row: int) -> tuple[Any, int]:
        return self.file["features"][row].astype(np.float32), int(self.file["label"][row])


class NaiveTrainer:
    """Batch, rate, device and precision are those of a fleet."""

    def __init__(
        self,
        backbone: Backbone,
        material: Material,
        features_NTD: np.ndarray[Any, Any],
        label_N: np.ndarray[Any, Any],
        fleet: Fleet,
        folder: Path,
    ) -> None:
        path, device, self.halved = folder / "features.h5", fleet.train.features_NVTD.device, fleet.halved
        with h5py.File(path, "w") as file:
            file["features"], file["label"] = features_NTD, label_N
        inner: Any = backbone.model.text if hasattr(backbone.model, "text") else backbone.model
        self.inner, self.device = inner, device
        self.fixed_CLW, self.eot_C = self._prompts(material, inner, device)
        generator = torch.Generator().manual_seed(0)
        shape = (len(material.classes), _CONTEXTS, self.fixed_CLW.shape[-1])
        self.contexts = (0.02 * torch.randn(shape, generator=generator)).to(device).requires_grad_()
        self.log_scale = torch.tensor(material.start_scale, device=device, requires_grad=True)
        self.optimiser = torch.optim.AdamW([self.contexts, self.log_scale], lr=fleet.optim.rate)
        self.loader = DataLoader(_Stored(path), batch_size=fleet.batch, shuffle=True)

    @staticmethod
    def _prompts(material: Material, inner: Any, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        blanks = " ".join(["x"] * _CONTEXTS)
        ids = material.tower.tokenizer([f"{blanks} {name}." for name in material.classes]).to(device)
        with torch.no_grad():
            return inner.token_embedding(ids), ids.argmax(dim=1)

    def text(self) -> torch.Tensor:
        """Every class, all 77 tokens."""
        inner, prompts = self.inner, self.fixed_CLW.clone()
        prompts[:, 1 : 1 + _CONTEXTS] = self.contexts
        hidden = inner.transformer(prompts + inner.positional_embedding, attn_mask=inner.attn_mask)
        last = inner.ln_final(hidden)[torch.arange(len(prompts)), self.eot_C]
        return F.normalize(last @ inner.text_projection, dim=-1)

    def loss(self, frames_BTD: torch.Tensor, label_B: torch.Tensor) -> torch.Tensor:
        video_BD = F.normalize(frames_BTD.mean(dim=1), dim=-1)
        logits = self.log_scale.exp() * video_BD @ self.text()[label_B].T
        return matching_loss(logits[None], label_B[None], 1.0, 1.0)[0]

    def batches(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for frames, label in self.loader:
            yield frames.to(self.device), label.to(self.device)

    def first_loss(self) -> float:
        """Of the first batch in the file's order, before any step."""
        rows: Any = self.loader.dataset
        frames, label = zip(*(rows[row] for row in range(self.loader.batch_size or 1)), strict=True)
        with torch.no_grad():
            return float(self.loss(torch.tensor(np.stack(frames)).to(self.device), torch.tensor(label).to(self.device)))

    def epoch(self) -> None:
        for frames, label in self.batches():
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.halved):
                loss = self.loss(frames, label)
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
