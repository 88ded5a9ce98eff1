"""Why a member gave one video its score: the words and frames that it attended to, and the words that its contexts are
near to.

Shapes: E = 1 member, V views, T frames, L words, S steps of parsing, M contexts, W text width.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from plfeat.backbone.text import TextTower
from plfeat.model.prompt import tokens_before
from plfeat.train.matcher import Matcher
from plfeat.train.sources import Prompts, tokenize_names

CONTEXT = "[V{}]"


@dataclass(frozen=True)
class Explanation:
    """`words` are the prompt's, with the attention of every parsing step; `frames` the attention over the frames of the
    first view, or without an interaction module each frame's cosine with the class's sentence."""

    words: list[str]
    word_attention: list[list[float]]
    frames: list[float]
    frames_are: str
    contexts: list[list[tuple[str, float]]]  # of each learned context the nearest words of the vocabulary, and how far


@torch.no_grad()
def explain(matcher: Matcher, words: list[str], text: int, frames_TD: torch.Tensor) -> Explanation:
    """Explains the score of one video and one text. `words` are those of the text."""
    texts_EU = torch.tensor([[text]])
    read, interaction = matcher.source(texts_EU), matcher.interaction
    sentence = F.normalize(read.sentence_EUD, dim=-1)
    frames_EBTD, word_attention = frames_TD[None, None].float(), []
    if interaction is None:
        frames, frames_are = (F.normalize(frames_EBTD, dim=-1) @ sentence[:, 0, :, None])[0, 0, :, 0], "cosine"
    else:
        text_EUD, attention_EUSL = interaction.read(read)
        over_EBUT = interaction.meet(frames_EBTD, text_EUD[:, None], read.sentence_EUD[:, None])[1]
        frames = over_EBUT[0, 0, 0]
        frames_are = "attention" + ("; the score does not use it" if interaction.score == "video" else "")
        if attention_EUSL is not None:
            word_attention = attention_EUSL[0, 0][:, read.words[1][0, 0]].tolist()
    source, contexts = matcher.source, []
    if isinstance(source, Prompts):  # the source's tower: if it was tuned it is not the backbone's
        prompts = source.prompts
        contexts = nearest_words(source.tower, prompts.contexts[0, 0 if prompts.shared else text])
    return Explanation(
        words=words,
        word_attention=word_attention,
        frames=frames.tolist(),
        frames_are=frames_are,
        contexts=contexts,
    )


def nearest_words(tower: TextTower, contexts_MW: torch.Tensor, count: int = 3) -> list[list[tuple[str, float]]]:
    """The vocabulary's nearest by Euclidean distance, as CoOp measures it."""
    table = tower.token_embedding.weight
    distance, token = torch.cdist(contexts_MW[None].float(), table[None].float())[0].topk(count, largest=False)
    return [
        [(_word(tower.tokenizer, t), d) for t, d in zip(tokens, distances, strict=True)]
        for tokens, distances in zip(token.tolist(), distance.tolist(), strict=True)
    ]


def words_of(tower: TextTower, name: str, template: str | None, contexts: int, position: str) -> list[str]:
    """What stands between a text's [SOS] and [EOT]: a template with the name, or contexts around it, the name at such a
    position."""
    if template is not None:
        ids, eot = tower.tokenize([template.replace("{}", name)])
    else:
        ids, eot = tokenize_names(tower, [name], position)
    said = [_word(tower.tokenizer, int(token)) for token in ids[0, 1 : int(eot)]]
    if template is not None:
        return said
    learned, before = [CONTEXT.format(m + 1) for m in range(contexts)], tokens_before(contexts, position)
    return [*learned, *said] if before == contexts else [*learned[:before], *said[:-1], *learned[before:], said[-1]]


def _word(tokenizer: Any, token: int) -> str:
    return str(tokenizer.decode([token])).strip() or f"#{token}"
