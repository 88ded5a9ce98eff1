"""Classes in, sentences out: prompts that learn, templates over a tower that learns, or texts that never change.

A class has K texts (one prompt, or one for each template); text `c * K + k` is the k-th of class c.
Which texts are asked for, and where texts end, is known on the CPU: it decides the shapes.
Shapes: E members, C classes, P = C K texts, U the texts asked for, L words, W text width, D embedding width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from plfeat.backbone.text import TextTower
from plfeat.device import sent
from plfeat.model.prompt import PromptLearner


@dataclass(frozen=True)
class Read:
    """Texts that were read. `words_EULW` are the states after ln_final, where words are wanted; `real_EUL` says which
    of them stand between [SOS] and [EOT]."""

    sentence_EUD: torch.Tensor
    words_EULW: torch.Tensor | None = None
    real_EUL: torch.Tensor | None = None

    @property
    def words(self) -> tuple[torch.Tensor, torch.Tensor]:
        assert self.words_EULW is not None
        assert self.real_EUL is not None
        return self.words_EULW, self.real_EUL


def tokenize_names(tower: TextTower, names: Sequence[str], position: str) -> tuple[torch.Tensor, torch.Tensor]:
    """ "[SOS] class name . [EOT]", and where each ends. Before the full stop that ends a whole sentence a name is read
    as CLIP reads the sentence, in which ")." is one token; with contexts between the two, each is read by itself."""
    if position == "end":
        return tower.tokenize([f"{name}." for name in names])
    ids_CL, eot_C = tower.tokenize([*names, "."])
    stop, ids_CL, eot_C = ids_CL[-1, 1], ids_CL[:-1], eot_C[:-1]
    place_L = torch.arange(ids_CL.shape[1] + 1)
    longer_CL = torch.cat([ids_CL, ids_CL[:, -1:]], dim=1)
    longer_CL = torch.where(place_L > eot_C[:, None], longer_CL.roll(1, dims=1), longer_CL)
    return torch.where(place_L == eot_C[:, None], stop, longer_CL), eot_C + 1


class Source(nn.Module):
    """`forward(texts_EU)` gives a `Read`."""

    def __init__(self, texts: int, per_class: int) -> None:
        super().__init__()
        self.texts = texts
        self.per_class = per_class

    @property
    def classes(self) -> int:
        return self.texts // self.per_class


class Prompts(Source):
    """Learned contexts through the tower. Contexts that all classes share go through it once, and without `words` the
    tower's last block computes nothing but the sentences."""

    def __init__(self, tower: TextTower, prompts: PromptLearner, words: bool = True, early: bool = False) -> None:
        super().__init__(len(prompts.eot_C), 1)
        self.tower, self.prompts, self.words, self.early = tower, prompts, words, early

    def forward(self, texts_EU: torch.Tensor) -> Read:
        prompts, eot_EU = self.prompts, self.prompts.eot(texts_EU)
        if not prompts.shared:
            embeddings_EULW, _ = prompts(texts_EU)
            return _run(self.tower, embeddings_EULW, eot_EU, texts_EU, self.words, self.early)
        found = self.tower(prompts.rest(texts_EU), eot_EU, prompts.prefix(), self.words, self.early)
        return _read(found.sentence_ND, found.kept_NLW, eot_EU)


class Templates(Source):
    """Fixed words through a tower that is being tuned."""

    ids_PL: torch.Tensor

    def __init__(
        self, tower: TextTower, ids_PL: torch.Tensor, eot_P: torch.Tensor, per_class: int, words: bool = True
    ) -> None:
        super().__init__(len(ids_PL), per_class)
        self.tower, self.words, self.eot_P = tower, words, eot_P
        self.register_buffer("ids_PL", ids_PL, persistent=False)

    def forward(self, texts_EU: torch.Tensor) -> Read:
        eot_EU = self.eot_P[texts_EU]
        ids_EUL = self.ids_PL[sent(texts_EU, self.ids_PL.device)][..., : int(eot_EU.max()) + 1]
        return _run(self.tower, self.tower.embed(ids_EUL), eot_EU, texts_EU, self.words)


class Fixed(Source):
    """Texts that were read before: `[P, D]` and `[P, L, W]`. All members share them."""

    sentence_PD: torch.Tensor
    words_PLW: torch.Tensor | None
    real_PL: torch.Tensor | None

    def __init__(
        self, sentence_PD: torch.Tensor, words_PLW: torch.Tensor | None, real_PL: torch.Tensor | None, per_class: int
    ) -> None:
        super().__init__(len(sentence_PD), per_class)
        self.register_buffer("sentence_PD", sentence_PD, persistent=False)
        self.register_buffer("words_PLW", words_PLW, persistent=False)
        self.register_buffer("real_PL", real_PL, persistent=False)

    def forward(self, texts_EU: torch.Tensor) -> Read:
        texts_EU = sent(texts_EU, self.sentence_PD.device)
        sentence_EUD = self.sentence_PD[texts_EU]
        if self.words_PLW is None or self.real_PL is None:
            return Read(sentence_EUD)
        return Read(sentence_EUD, self.words_PLW[texts_EU], self.real_PL[texts_EU])


@torch.no_grad()
def fixed(source: Source, at_once: int = 256) -> Fixed:
    """What a source of one member says about all its texts, read once."""
    parts = [source(texts[None]) for texts in torch.arange(source.texts).split(at_once)]
    sentence_PD = torch.cat([part.sentence_EUD[0] for part in parts])
    words = [tuple(x[0] for x in part.words) for part in parts if part.words_EULW is not None]
    if not words:
        return Fixed(sentence_PD, None, None, source.per_class)
    longest = max(part.shape[1] for part, _ in words)
    return Fixed(
        sentence_PD,
        torch.cat([_pad(part, longest) for part, _ in words]),
        torch.cat([_pad(part, longest) for _, part in words]),
        source.per_class,
    )


def _pad(values_ULx: torch.Tensor, length: int) -> torch.Tensor:
    padded = values_ULx.new_zeros(len(values_ULx), length, *values_ULx.shape[2:])
    padded[:, : values_ULx.shape[1]] = values_ULx
    return padded


def _run(
    tower: TextTower,
    embeddings_EULW: torch.Tensor,
    eot_EU: torch.Tensor,
    texts_EU: torch.Tensor,
    words: bool,
    early: bool = False,
) -> Read:
    """Reads texts with the tower. Those that only fill up a member's row, because another member has more texts, are
    not read."""
    embeddings, eot = embeddings_EULW.flatten(0, 1), eot_EU.flatten()
    filler_EU = (texts_EU == texts_EU[:, :1]) & (torch.arange(texts_EU.shape[1]) > 0)
    if len(texts_EU) == 1 or not bool(filler_EU.any()):
        place_EU = None
    else:
        needed = (~filler_EU).flatten().nonzero()[:, 0]
        embeddings, eot = embeddings[sent(needed, embeddings.device)], eot[needed]
        place_EU = (~filler_EU).flatten().cumsum(0).view_as(texts_EU) - 1
        place_EU = sent(torch.where(filler_EU, place_EU[:, :1], place_EU), embeddings.device)

    def back(rows: torch.Tensor) -> torch.Tensor:
        return rows.unflatten(0, texts_EU.shape) if place_EU is None else rows[place_EU]

    found = tower(embeddings, eot, words=words, early=early)
    return _read(back(found.sentence_ND), None if found.kept_NLW is None else back(found.kept_NLW), eot_EU)


def _read(sentence_EUD: torch.Tensor, words_EULW: torch.Tensor | None, eot_EU: torch.Tensor) -> Read:
    if words_EULW is None:
        return Read(sentence_EUD)
    place = torch.arange(words_EULW.shape[-2])
    return Read(sentence_EUD, words_EULW, sent((place > 0) & (place < eot_EU[..., None]), words_EULW.device))
