"""Token embeddings in, word and sentence features out: CLIP's text tower, without the work that changes nothing.

CLIP's text attention is causal, so nothing after a prompt's EOT can reach it, and a beginning that many texts share is
the same in all of them. The tower therefore computes the real tokens only, and a shared prefix once. Gradients flow to
the embeddings, and to the weights where these are trained.

Shapes: E members, U texts of each, N texts (along one axis, or along two: E U), L tokens, P tokens of a prefix, S
tokens after it, R rows (the real tokens of all texts, one after the other), H heads, K width of a head, W text width,
D embedding width.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from open_clip.transformer import ResidualAttentionBlock, Transformer
from torch import nn

from plfeat.device import sent
from plfeat.errors import UsageError

Attend = Callable[[torch.Tensor, int], torch.Tensor]
"""Queries, keys and values `[R, 3W]` and the number of heads in, what each row saw `[R, W]` out."""

MOSTLY_REAL = 0.9
"""Texts with less padding than this are faster left as they are than packed."""


@dataclass(frozen=True)
class TextFeatures:
    sentence_ND: torch.Tensor  # the EOT word, projected
    kept_NLW: torch.Tensor | None = None  # the words, where they are wanted

    @property
    def words_NLW(self) -> torch.Tensor:
        """After ln_final, before the projection; positions after a text's EOT are meaningless."""
        assert self.kept_NLW is not None
        return self.kept_NLW


class TextTower(nn.Module):
    """The text half of an open_clip model (`CLIP` or `CustomTextCLIP`). `log_scale` is the logarithm of what its
    cosines were multiplied by in training; `sha256` the hash of the text side that it was loaded with."""

    def __init__(self, model: nn.Module, tokenizer: Any, sha256: str | None = None) -> None:
        super().__init__()
        inner: Any = model.text if hasattr(model, "text") else model
        pooling = getattr(inner, "text_pool_type", None) or getattr(inner, "pool_type", None)
        # CoCa reads a class token that it appends after the EOT
        if pooling != "argmax" or inner.attn_mask is None or getattr(inner, "cls_emb", None) is not None:
            raise UsageError(
                "this model's text tower is not CLIP's (causal, read at the EOT token); "
                "prompts cannot be learned over it"
            )
        self.token_embedding = inner.token_embedding
        self.positional_embedding = inner.positional_embedding
        self.transformer = inner.transformer
        self.ln_final = inner.ln_final
        self.projection = inner.text_projection
        self.tokenizer = tokenizer
        self.log_scale = model.get_parameter("logit_scale").item()
        self._sha256 = sha256
        self._cast: tuple[Any, Any, Any] | None = None

    @property
    def sha256(self) -> str:
        assert self._sha256 is not None, "made by tower_of or open_tower"
        return self._sha256

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

    @property
    def shares(self) -> bool:
        """Whether the blocks are of the kind that is walked here; others run as open_clip runs them, on all tokens."""
        plain = type(self.transformer) is Transformer and not self.transformer.grad_checkpointing
        return plain and all(is_plain(block) for block in self.transformer.resblocks)

    def forward(
        self,
        embeddings_NLW: torch.Tensor,
        eot_N: torch.Tensor,
        prefix_EPW: torch.Tensor | None = None,
        words: bool = True,
        early: bool = False,
    ) -> TextFeatures:
        """Texts, whose EOTs stand at `eot_N`. With a prefix the texts are `[E, U]`, each its member's prefix and a rest
        (the embeddings); EOTs are counted from the start of the whole. Where no words are wanted, the last block
        computes the EOT rows alone. With `early` the sentence is read before ln_final."""
        shares, device = self.shares, embeddings_NLW.device
        if prefix_EPW is not None and not shares:
            embeddings_NLW, prefix_EPW = _join(prefix_EPW, embeddings_NLW), None
        length = embeddings_NLW.shape[-2]
        texts: _Texts | _Shared
        if prefix_EPW is None:
            texts = _Texts(eot_N, length, device, packed=shares)
            rows_RW = texts.pack(self._place(embeddings_NLW))
        else:
            prefix = prefix_EPW.shape[-2]
            texts = _Shared(eot_N, prefix, length, device)
            rows_RW = texts.pack(self._place(prefix_EPW), self._place(embeddings_NLW, prefix))
        keep_N = None if words else texts.last_N
        hidden_RW = self._walk(rows_RW, texts.attend, keep_N) if shares else self._whole(rows_RW, length, keep_N)
        if not words:
            last_NW = hidden_RW if early else self.ln_final(hidden_RW)
            return TextFeatures(self._project(last_NW).unflatten(0, eot_N.shape))
        words_RW = self.ln_final(hidden_RW)
        last_NW = (hidden_RW if early else words_RW)[texts.last_N]
        return TextFeatures(self._project(last_NW).unflatten(0, eot_N.shape), texts.words(words_RW))

    def _walk(self, rows_RW: torch.Tensor, attend: Attend, keep_N: torch.Tensor | None = None) -> torch.Tensor:
        """All blocks. Only attention looks at other rows, so the last block needs no more rows than are kept."""
        blocks, _ = self._matrices()
        for block in blocks:
            attention = block.attn
            seen_RW = attend(
                F.linear(block.ln_1(rows_RW), attention.in_proj_weight, attention.in_proj_bias), attention.num_heads
            )
            if keep_N is not None and block is blocks[-1]:
                rows_RW, seen_RW = rows_RW[keep_N], seen_RW[keep_N]
            rows_RW = rows_RW + block.ls_1(attention.out_proj(seen_RW))
            rows_RW = rows_RW + block.ls_2(block.mlp(block.ln_2(rows_RW)))
        return rows_RW

    def _whole(self, rows_RW: torch.Tensor, length: int, keep_N: torch.Tensor | None) -> torch.Tensor:
        """The same by open_clip's own transformer: slower, for every kind of block."""
        placed_NLW = rows_RW.unflatten(0, (-1, length))
        hidden_RW = self.transformer(placed_NLW, attn_mask=_future(placed_NLW)).flatten(0, 1)
        return hidden_RW if keep_N is None else hidden_RW[keep_N]

    def _place(self, embeddings: torch.Tensor, start: int = 0) -> torch.Tensor:
        return embeddings + self.positional_embedding[start : start + embeddings.shape[-2]]

    def _project(self, last_NW: torch.Tensor) -> torch.Tensor:
        _, projection = self._matrices()
        if isinstance(projection, nn.Linear):
            return projection(last_NW)
        return last_NW if projection is None else last_NW @ projection

    def _matrices(self) -> tuple[Any, Any]:
        """Blocks and projection; within autocast, while they are frozen, as it would cast them. Itself it casts what
        learns nothing anew whenever it is met: 173 times in a step of ViT-B/16."""
        own, first = (self.transformer.resblocks, self.projection), self.positional_embedding
        kind = first.device.type
        if not (torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind) and self.shares):
            return own
        if any(p.requires_grad for p in self.transformer.parameters()):
            return own
        changes = sum(p._version for p in self.parameters())
        key = id(first), changes, first.device, first.dtype, torch.get_autocast_dtype(kind)
        if self._cast is None or self._cast[0] != key:
            self._cast = key, *(_cast(part, key[-1]) for part in own)
        return self._cast[1:]

    @torch.no_grad()
    def encode(self, texts: list[str]) -> TextFeatures:
        ids, eot = self.tokenize(texts)
        features: TextFeatures = self(self.embed(ids), eot)
        return features

    def embed(self, ids_NL: torch.Tensor) -> torch.Tensor:
        embedded: torch.Tensor = self.token_embedding(sent(ids_NL, self.token_embedding.weight.device))
        return embedded


def _cast(part: Any, dtype: torch.dtype) -> Any:
    """A copy with its matrices and their offsets in another precision; norms stay as they are."""
    if part is None or isinstance(part, torch.Tensor):
        return part if part is None else part.detach().to(dtype)
    part = copy.deepcopy(part)
    for inner in part.modules():
        if isinstance(inner, nn.Linear):
            inner.to(dtype)
        elif isinstance(inner, nn.MultiheadAttention):
            for name in ("in_proj_weight", "in_proj_bias"):
                setattr(inner, name, nn.Parameter(getattr(inner, name).to(dtype), requires_grad=False))
    return part


def is_plain(block: nn.Module) -> bool:
    """Whether `TextTower._walk` does all that this block's own forward does."""
    attention = getattr(block, "attn", None)
    if type(block) is not ResidualAttentionBlock or type(attention) is not nn.MultiheadAttention:
        return False
    extras = attention.bias_k is not None or attention.add_zero_attn or attention.dropout > 0
    hooked = any(part._forward_hooks or part._forward_pre_hooks for part in (block, attention))
    return attention.in_proj_weight is not None and not extras and not hooked


class _Texts:
    """N padded texts as rows, one text after the other; where much of them is padding, the real tokens alone."""

    def __init__(self, eot_N: torch.Tensor, length: int, device: torch.device, packed: bool = True) -> None:
        self.axes, self.length = eot_N.shape, length
        eot_N = eot_N.flatten()
        first, last = (int(end) for end in eot_N.aminmax())
        assert 0 <= first <= last < length, "every EOT stands in its text"
        self.real_R: torch.Tensor | None = None
        real_NL = torch.arange(length, device=eot_N.device) <= eot_N[:, None]
        if not packed or int(real_NL.sum()) > MOSTLY_REAL * real_NL.numel():
            self.last_N = sent(torch.arange(len(eot_N), device=eot_N.device) * length + eot_N, device)
        else:
            self.real_R = sent(real_NL.flatten().nonzero()[:, 0], device)
            self.last_N = sent((eot_N + 1).cumsum(0) - 1, device)

    def pack(self, padded_NLx: torch.Tensor) -> torch.Tensor:
        flat = padded_NLx.flatten(0, -2)
        return flat if self.real_R is None else flat.index_select(0, self.real_R)

    def unpack(self, rows_Rx: torch.Tensor) -> torch.Tensor:
        """All texts along one axis."""
        if self.real_R is not None:
            empty = rows_Rx.new_zeros(len(self.last_N) * self.length, rows_Rx.shape[1])
            rows_Rx = empty.index_copy(0, self.real_R, rows_Rx)
        return rows_Rx.unflatten(0, (-1, self.length))

    def words(self, rows_Rx: torch.Tensor) -> torch.Tensor:
        return self.unpack(rows_Rx).unflatten(0, self.axes)

    def attend(self, qkv_RX: torch.Tensor, heads: int) -> torch.Tensor:
        q, k, v = _split(self.unpack(qkv_RX), heads)
        return self.pack(_merge(F.scaled_dot_product_attention(q, k, v, is_causal=True)))


class _Shared:
    """The rows of E prefixes, then those of the E U rests."""

    def __init__(self, eot_EU: torch.Tensor, prefix: int, rest: int, device: torch.device) -> None:
        self.prefix = prefix
        self.first = len(eot_EU) * prefix
        self.rests = _Texts(eot_EU - prefix, rest, device)
        self.last_N = self.first + self.rests.last_N

    def pack(self, prefix_EPx: torch.Tensor, rest_EUSx: torch.Tensor) -> torch.Tensor:
        return torch.cat([prefix_EPx.flatten(0, 1), self.rests.pack(rest_EUSx)])

    def unpack(self, rows_Rx: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        prefix, rest = rows_Rx.split([self.first, len(rows_Rx) - self.first])
        return prefix.unflatten(0, (-1, self.prefix)), self.rests.words(rest)

    def words(self, rows_Rx: torch.Tensor) -> torch.Tensor:
        return _join(*self.unpack(rows_Rx))

    def attend(self, qkv_RX: torch.Tensor, heads: int) -> torch.Tensor:
        prefix_EPX, rest_EUSX = self.unpack(qkv_RX)
        q, k, v = _split(prefix_EPX, heads)
        seen_EPW = _merge(F.scaled_dot_product_attention(q, k, v, is_causal=True))
        return self.pack(seen_EPW, _merge(_attend_behind(k, v, *_split(rest_EUSX, heads))))


def _attend_behind(
    before_k_EHPK: torch.Tensor,
    before_v_EHPK: torch.Tensor,
    q_EUHSK: torch.Tensor,
    k_EUHSK: torch.Tensor,
    v_EUHSK: torch.Tensor,
) -> torch.Tensor:
    """Rests see their member's prefix and their own past. All rests of a member meet the prefix in one product, where a
    fused kernel would want the prefix's keys and values copied for each of them."""
    asked, prefix = q_EUHSK.shape[1], before_k_EHPK.shape[2]
    q_EUHSK = q_EUHSK * q_EUHSK.shape[-1] ** -0.5
    before_EUHSP = _part(_gather(q_EUHSK) @ before_k_EHPK.mT, asked)
    weight = torch.cat([before_EUHSP, q_EUHSK @ k_EUHSK.mT + _future(q_EUHSK)], dim=-1).softmax(dim=-1)
    return _part(_gather(weight[..., :prefix]) @ before_v_EHPK, asked) + weight[..., prefix:] @ v_EUHSK


def _future(x_Lx: torch.Tensor) -> torch.Tensor:
    """`[L, L]`: minus infinity where a token would see a later one."""
    length = x_Lx.shape[-2]
    return torch.full((length, length), -torch.inf, dtype=x_Lx.dtype, device=x_Lx.device).triu(1)


def _gather(x_EUHSx: torch.Tensor) -> torch.Tensor:
    """`[E, H, U S, x]`: the rests of a member as one long one."""
    return x_EUHSx.transpose(1, 2).flatten(2, 3)


def _part(x_EHRx: torch.Tensor, asked: int) -> torch.Tensor:
    """`_gather` undone."""
    return x_EHRx.unflatten(2, (asked, -1)).transpose(1, 2)


def _split(qkv_X: torch.Tensor, heads: int) -> tuple[torch.Tensor, ...]:
    """`[..., L, 3W]` to three of `[..., H, L, K]`."""
    return tuple(part.unflatten(-1, (heads, -1)).transpose(-3, -2) for part in qkv_X.chunk(3, dim=-1))


def _merge(seen_HLK: torch.Tensor) -> torch.Tensor:
    """`[..., H, L, K]` to `[..., L, W]`."""
    return seen_HLK.transpose(-3, -2).flatten(-2)


def _join(prefix_EPW: torch.Tensor, rest_EUSW: torch.Tensor) -> torch.Tensor:
    return torch.cat([prefix_EPW[:, None].expand(-1, rest_EUSW.shape[1], -1, -1), rest_EUSW], dim=2)
