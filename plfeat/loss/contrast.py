"""The supervised contrastive loss between joint features and sentences (eq. 24).

Shapes: E members, B samples, D width; unit vectors in.
"""

import torch

from plfeat.loss.match import cosine, per_member


def contrastive_loss(
    joint_EBD: torch.Tensor,
    sentence_EBD: torch.Tensor,
    label_EB: torch.Tensor,
    temperature: float | torch.Tensor,
    pairs: str = "sentence",
) -> torch.Tensor:
    """`[E]`, the mean over the anchors that have a positive. `pairs="sentence"` is the paper's: joint features are the
    anchors, the other samples' sentences are the candidates. `"all"` is the released code's: joint features and
    sentences are anchors and candidates alike."""
    if pairs == "all":
        anchors = candidates = torch.cat([joint_EBD, sentence_EBD], dim=1)
        label_EB = torch.cat([label_EB, label_EB], dim=1)
    else:
        anchors, candidates = joint_EBD, sentence_EBD
    logits = cosine(anchors, candidates) / per_member(temperature, 3)
    others = ~torch.eye(logits.shape[-1], dtype=torch.bool, device=logits.device)
    positive = (label_EB[..., :, None] == label_EB[..., None, :]) & others
    log_share = logits - logits.masked_fill(~others, -torch.inf).logsumexp(dim=-1, keepdim=True)
    count = positive.sum(dim=-1)
    each = -torch.where(positive, log_share, 0).sum(dim=-1) / count.clamp_min(1)
    return each.sum(dim=-1) / (count > 0).sum(dim=-1).clamp_min(1)
