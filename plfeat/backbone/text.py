"""Token embeddings in, word and sentence features out: CLIP's text tower, cut at the last EOT.

CLIP's text attention is causal, so nothing after a prompt's EOT can reach it: a tower that is run on the first L
positions gives exactly what the same tower gives on all 77. Gradients flow to the embeddings; the weights stay frozen.

Shapes: N texts, L tokens, W text width, D embedding width.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from plfeat.errors import UsageError


@dataclass(frozen=True)
class TextFeatures:
    words_NLW: torch.Tensor  # after ln_final, before the projection; positions after a text's EOT are meaningless
    sentence_ND: torch.Tensor  # the EOT word, projected


class TextTower(nn.Module):
    """The text half of an open_clip model (`CLIP` or `CustomTextCLIP`)."""

    def __init__(self, model: nn.Module, tokenizer: Any) -> None:
        super().__init__()
        inner: Any = model.text if hasattr(model, "text") else model
        pooling = getattr(inner, "text_pool_type", None) or getattr(inner, "pool_type", None)
        if pooling != "argmax" or inner.attn_mask is None:
            raise UsageError(
                "this model's text tower is not CLIP's (causal, read at the EOT token); "
                "prompts cannot be learned over it"
            )
        self.token_embedding = inner.token_embedding
        self.positional_embedding = inner.positional_embedding
        self.transformer = inner.transformer
        self.ln_final = inner.ln_final
        self.projection = inner.text_projection
        self.causal_mask = inner.attn_mask
        self.tokenizer = tokenizer

    @property
    def width(self) -> int:
        return int(self.positional_embedding.shape[1])

    @property
    def context_length(self) -> int:
        return int(self.positional_embedding.shape[0])

    def tokenize(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids `[N, L]`, cut at the longest text's EOT, and the EOT positions `[N]`."""
        ids = self.tokenizer(texts, context_length=self.context_length + 1)
        eot = ids.argmax(dim=1)
        if int(eot.max()) >= self.context_length:
            text = texts[int(eot.argmax())]
            raise UsageError(
                f"text {text[:40] + '…'!r} is longer than the {self.context_length} tokens this tower reads"
            )
        return ids[:, : int(eot.max()) + 1], eot

    def forward(self, embeddings_NLW: torch.Tensor, eot_N: torch.Tensor) -> TextFeatures:
        length = embeddings_NLW.shape[1]
        hidden = embeddings_NLW + self.positional_embedding[:length]
        hidden = self.transformer(hidden, attn_mask=self.causal_mask[:length, :length].to(hidden.device))
        words = self.ln_final(hidden)
        last = words[torch.arange(len(words)), eot_N]
        if isinstance(self.projection, nn.Linear):
            return TextFeatures(words, self.projection(last))
        return TextFeatures(words, last if self.projection is None else last @ self.projection)

    @torch.no_grad()
    def encode(self, texts: list[str]) -> TextFeatures:
        ids, eot = self.tokenize(texts)
        features: TextFeatures = self(self.embed(ids), eot)
        return features

    def embed(self, ids_NL: torch.Tensor) -> torch.Tensor:
        embedded: torch.Tensor = self.token_embedding(ids_NL.to(self.token_embedding.weight.device))
        return embedded
