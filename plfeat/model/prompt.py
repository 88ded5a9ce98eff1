"""Learned contexts in, prompt embeddings out (eq. 1): [SOS] [V]_1 .. [V]_M [class name] . [EOT].

Shapes: E members, C classes, U the classes asked for, M context tokens, L tokens, W text width.
"""

import torch
from torch import nn

from plfeat.device import sent
from plfeat.errors import UsageError
from plfeat.model.draws import Draws


class PromptLearner(nn.Module):
    """Contexts of E members: `[E, C, M, W]`, or `[E, 1, M, W]` when all classes share them.

    `fixed_CLW` are the token embeddings of "[SOS] class name . [EOT]", padded to the longest; each ends at `eot_C`.
    Where contexts stand behind the name, the full stop has to be a token of its own.
    `eot_C`, and the classes that are asked for, stay on the CPU.
    The name stands behind the contexts (`end`), among them (`middle`) or before them (`front`).
    """

    fixed_CLW: torch.Tensor

    def __init__(
        self, contexts: torch.Tensor, fixed_CLW: torch.Tensor, eot_C: torch.Tensor, position: str = "end"
    ) -> None:
        super().__init__()
        assert contexts.shape[1] in (1, len(fixed_CLW)), "contexts are shared or one per class"
        self.contexts = nn.Parameter(contexts)
        self.before = tokens_before(contexts.shape[2], position)
        self.register_buffer("fixed_CLW", fixed_CLW, persistent=False)
        self.eot_C = eot_C

    @property
    def shared(self) -> bool:
        return self.contexts.shape[1] == 1

    def prefix(self) -> torch.Tensor:
        """What all of a member's prompts begin with when it shares its contexts: `[E, P, W]`."""
        sos = self.fixed_CLW[0, :1].expand(len(self.contexts), -1, -1)
        return torch.cat([sos, self.contexts[:, 0, : self.before]], dim=1)

    def rest(self, classes_EU: torch.Tensor) -> torch.Tensor:
        """What follows `1 + before` tokens, `[E, U, S, W]`, cut at the longest of these classes."""
        eot_EU, device = self.eot_C[classes_EU], self.fixed_CLW.device
        fixed = self.fixed_CLW[sent(classes_EU, device)][:, :, 1 : int(eot_EU.max()) + 1]
        if self.before == self.contexts.shape[2]:
            return fixed
        name_EU = eot_EU - 2  # between [SOS] and "." [EOT]
        after = self._contexts(classes_EU)[:, :, self.before :]
        length = fixed.shape[2] + after.shape[2]
        place = torch.arange(length)
        from_context = place - name_EU[..., None]
        is_context = (from_context >= 0) & (from_context < after.shape[2])
        from_fixed = torch.where(from_context < 0, place, (place - after.shape[2]).clamp_min(0))
        pick = sent(torch.where(is_context, fixed.shape[2] + from_context, from_fixed), device)
        both = torch.cat([fixed, after], dim=2)
        return both.gather(2, pick[..., None].expand(-1, -1, -1, both.shape[-1]))

    def eot(self, classes_EU: torch.Tensor) -> torch.Tensor:
        return self.eot_C[classes_EU] + self.contexts.shape[2]

    def forward(self, classes_EU: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeddings `[E, U, 1 + M + L - 1, W]`, cut at the longest of these classes, and EOT positions `[E, U]`."""
        sos = self.fixed_CLW[:1, :1].expand(*classes_EU.shape, -1, -1)
        contexts = self._contexts(classes_EU)[:, :, : self.before]
        return torch.cat([sos, contexts, self.rest(classes_EU)], dim=2), self.eot(classes_EU)

    def _contexts(self, classes_EU: torch.Tensor) -> torch.Tensor:
        if self.shared:
            return self.contexts.expand(-1, classes_EU.shape[1], -1, -1)
        members = torch.arange(len(self.contexts), device=self.contexts.device)
        return self.contexts[members[:, None], sent(classes_EU, self.contexts.device)]


def tokens_before(tokens: int, position: str) -> int:
    """How many contexts stand before the class name."""
    return {"end": tokens, "middle": tokens // 2, "front": 0}[position]


def starting_contexts(
    draws: Draws, classes: int, tokens: int, spread: float, phrase_PW: torch.Tensor, position: str = "end"
) -> torch.Tensor:
    """`[E, classes, tokens, W]`: N(0, spread^2), with the P words of a phrase (or none) next to the class name: before
    it, as far as there is room, and the rest behind it."""
    if len(phrase_PW) > tokens:
        raise UsageError(f"context.phrase has {len(phrase_PW)} tokens but context.tokens is {tokens}")
    contexts = draws.normal("contexts", classes, tokens, phrase_PW.shape[1], std=spread)
    first = max(0, tokens_before(tokens, position) - len(phrase_PW))
    contexts[:, :, first : first + len(phrase_PW)] = phrase_PW
    return contexts
