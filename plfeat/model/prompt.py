"""Learned contexts in, prompt embeddings out (eq. 1): [SOS] [V]_1 .. [V]_M [class name] . [EOT].

Shapes: E members, C classes, U the classes asked for, M context tokens, L tokens, W text width.
"""

import torch
from torch import nn

from plfeat.errors import UsageError


class PromptLearner(nn.Module):
    """Contexts of E members: `[E, C, M, W]`, or `[E, 1, M, W]` when all classes share them.

    `fixed_CLW` are the token embeddings of "[SOS] class name . [EOT]", padded to the longest; each ends at `eot_C`.
    """

    fixed_CLW: torch.Tensor
    eot_C: torch.Tensor

    def __init__(self, contexts: torch.Tensor, fixed_CLW: torch.Tensor, eot_C: torch.Tensor) -> None:
        super().__init__()
        assert contexts.shape[1] in (1, len(fixed_CLW)), "contexts are shared or one per class"
        self.contexts = nn.Parameter(contexts)
        self.register_buffer("fixed_CLW", fixed_CLW, persistent=False)
        self.register_buffer("eot_C", eot_C, persistent=False)

    def forward(self, classes_U: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeddings `[E, U, 1 + M + L - 1, W]`, cut at the longest of these classes, and EOT positions `[U]`."""
        members, _, tokens, _ = self.contexts.shape
        eot_U = self.eot_C[classes_U]
        fixed = self.fixed_CLW[classes_U, : int(eot_U.max()) + 1].expand(members, -1, -1, -1)
        shared = self.contexts.shape[1] == 1
        contexts = self.contexts.expand(-1, len(classes_U), -1, -1) if shared else self.contexts[:, classes_U]
        return torch.cat([fixed[:, :, :1], contexts, fixed[:, :, 1:]], dim=2), eot_U + tokens


def starting_contexts(
    seeds: tuple[int, ...], classes: int, tokens: int, spread: float, phrase_PW: torch.Tensor, width: int
) -> torch.Tensor:
    """`[E, classes, tokens, width]`: N(0, spread^2), with the P words of a phrase (or none) next to the class name."""
    if len(phrase_PW) > tokens:
        raise UsageError(f"context.phrase has {len(phrase_PW)} tokens but context.tokens is {tokens}")
    members = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        context = spread * torch.randn(classes, tokens, width, generator=generator)
        context[:, tokens - len(phrase_PW) :] = phrase_PW
        members.append(context)
    return torch.stack(members)
