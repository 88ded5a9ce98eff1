"""The matching loss between videos and the texts of their classes (eq. 23).

Shapes: E members, B samples; `logits_EBB[e, i, j]` is the scaled cosine of sample i's video and sample j's text.
"""

import torch

from plfeat.device import without_autocast


def cosine(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """`[..., A, D]` and `[..., B, D]` of unit length to `[..., A, B]`, always computed in single precision, also within
    an autocast. At a scale of 100 a cosine that was rounded to bfloat16 is wrong by 0.06 in a logit, and its gradient
    by 1 to 4 %."""
    dtype = torch.promote_types(torch.promote_types(left.dtype, right.dtype), torch.float32)
    with without_autocast(left.device):
        return left.to(dtype) @ right.to(dtype).mT


def per_member(value: float | torch.Tensor, axes: int) -> torch.Tensor | float:
    """A coefficient, or one for each member, in the shape in which it multiplies a tensor `[E, ...]` of so many
    axes."""
    return value.view(-1, *[1] * (axes - 1)) if isinstance(value, torch.Tensor) else value


def label_matrix(label_EB: torch.Tensor, labels: str = "rows") -> torch.Tensor:
    """`[E, B, B]`: 1 where two samples share a class; `rows` are divided by their sum, as the paper's equation needs;
    `softmax` is what ActionCLIP's code does instead, a softmax of ten times the 1s."""
    same = (label_EB[..., :, None] == label_EB[..., None, :]).float()
    return (10 * same).softmax(dim=-1) if labels == "softmax" else same / same.sum(dim=-1, keepdim=True)


def matching_loss(
    logits_EBB: torch.Tensor,
    label_EB: torch.Tensor,
    video_to_text: float | torch.Tensor,
    text_to_video: float | torch.Tensor,
    labels: str = "rows",
) -> torch.Tensor:
    """`[E]`: the two directions' KL(labels || softmax), averaged over samples, weighted, halved."""
    target = label_matrix(label_EB, labels)
    forward = _kl(target, logits_EBB)
    backward = _kl(target, logits_EBB.transpose(-1, -2))
    return (video_to_text * forward + text_to_video * backward) / 2


def _kl(target: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    log_target = torch.where(target > 0, target, 1).log()
    return (target * (log_target - logits.log_softmax(dim=-1))).sum(dim=-1).mean(dim=-1)
