"""The matching loss between videos and the texts of their classes (eq. 23).

Shapes: E members, B samples; `logits_EBB[e, i, j]` is the scaled cosine of sample i's video and sample j's text.
"""

import torch


def label_matrix(label_EB: torch.Tensor) -> torch.Tensor:
    """`[E, B, B]`: 1 where two samples share a class, each row divided by its sum."""
    same = (label_EB[..., :, None] == label_EB[..., None, :]).float()
    return same / same.sum(dim=-1, keepdim=True)


def matching_loss(
    logits_EBB: torch.Tensor, label_EB: torch.Tensor, video_to_text: float, text_to_video: float
) -> torch.Tensor:
    """`[E]`: the two directions' KL(labels || softmax), averaged over samples, weighted, halved."""
    target = label_matrix(label_EB)
    forward = _kl(target, logits_EBB)
    backward = _kl(target, logits_EBB.transpose(-1, -2))
    return (video_to_text * forward + text_to_video * backward) / 2


def _kl(target: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    log_target = torch.where(target > 0, target, 1).log()
    return (target * (log_target - logits.log_softmax(dim=-1))).sum(dim=-1).mean(dim=-1)
