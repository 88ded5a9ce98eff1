"""Learners without learned text: a linear classifier (the "ViT" row of Table 3) and Tip-Adapter-F.

Shapes: E members, N videos, V views, T frames, B samples, C classes, K cached videos of a member, D width.
"""

import torch
import torch.nn.functional as F
from torch import nn

from plfeat.device import full_precision
from plfeat.loss.match import cosine
from plfeat.model.draws import Draws
from plfeat.model.layers import Linear
from plfeat.train.batches import Batch, widened
from plfeat.train.features import Features

_AT_ONCE = 1024  # videos scored in one piece


class Classifier(nn.Module):
    """Learns from the cross entropy of logits over all classes."""

    @property
    def per_class(self) -> int:
        return 1

    def logits(self, frames_EBTD: torch.Tensor, step: int | None = None) -> torch.Tensor:
        """`[E, B, C]`, at a training step or at test."""
        raise NotImplementedError

    def loss(self, frames_EBTD: torch.Tensor, batch: Batch) -> torch.Tensor:
        log_share = self.logits(frames_EBTD, batch.step).log_softmax(dim=-1)
        return -log_share.take_along_dim(batch.label_EB[..., None], dim=-1).mean(dim=(1, 2))

    @torch.no_grad()
    def score(self, features_NVTD: Features) -> torch.Tensor:
        """Class probabilities `[E, N, C]`; logits are averaged over the views."""
        parts = []
        for rows in features_NVTD.split(_AT_ONCE):
            with full_precision(rows.device):
                logits = self.logits(widened(rows.flatten(0, 1))[None])
            parts.append(logits.unflatten(1, rows.shape[:2]).mean(dim=2))
        return torch.cat(parts, dim=1).softmax(dim=-1)


class LinearClassifier(Classifier):
    def __init__(self, draws: Draws, head: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.head = head
        self.classify = Linear(draws, "classify", width, classes)

    def logits(self, frames_EBTD: torch.Tensor, step: int | None = None) -> torch.Tensor:
        frames_EBTD = frames_EBTD.expand(len(self.classify.weight), -1, -1, -1)
        video = F.normalize(self.head(frames_EBTD, step), dim=-1)
        return self.classify(video * video.shape[-1] ** 0.5)


class TipAdapter(Classifier):
    """CLIP's own scores, plus a score for how near the training videos of each class are. What is learned are the
    features of those training videos, the keys."""

    values_EKC: torch.Tensor
    text_CD: torch.Tensor

    def __init__(
        self,
        keys_EKD: torch.Tensor,
        label_EK: torch.Tensor,
        text_CD: torch.Tensor,
        scale: float,
        alpha: float,
        beta: float,
    ) -> None:
        super().__init__()
        self.keys = nn.Parameter(keys_EKD)
        self.register_buffer("values_EKC", F.one_hot(label_EK, len(text_CD)).float(), persistent=False)
        self.register_buffer("text_CD", text_CD, persistent=False)
        self.scale, self.alpha, self.beta = scale, alpha, beta

    def logits(self, frames_EBTD: torch.Tensor, step: int | None = None) -> torch.Tensor:
        video_EBD = F.normalize(frames_EBTD.mean(dim=2), dim=-1)
        nearness = torch.exp(-self.beta * (1 - cosine(video_EBD, self.keys)))
        return self.scale * cosine(video_EBD, self.text_CD) + self.alpha * nearness @ self.values_EKC
