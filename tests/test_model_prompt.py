"""The prompt: [SOS] [V]_1 .. [V]_M [class] . [EOT], each word where it belongs (eq. 1)."""

import pytest
import torch

from plfeat.backbone.text import TextTower
from plfeat.errors import UsageError
from plfeat.model.draws import Draws
from plfeat.model.prompt import PromptLearner, starting_contexts
from plfeat.train.explain import words_of
from plfeat.train.sources import tokenize_names

CLASSES = ["ring", "sliding star left", "shooting goal (soccer)"]


def _prompts(tower: TextTower, contexts: torch.Tensor, position: str = "end") -> PromptLearner:
    ids, eot = tokenize_names(tower, CLASSES, position)
    return PromptLearner(contexts, tower.token_embedding(ids), eot, position)


def _tokens(tower: TextTower, text: str) -> list[int]:
    """Without [SOS] and [EOT]."""
    ids, eot = tower.tokenize([text])
    return ids[0, 1 : int(eot)].tolist()


@pytest.mark.parametrize("own", [1, 3])
@pytest.mark.parametrize("position", ["end", "middle", "front"])
@pytest.mark.parametrize("tokens", [1, 4, 5])
def test_every_token_stands_in_its_place(toy_tower: TextTower, own: int, position: str, tokens: int) -> None:
    contexts = torch.arange(2 * own * tokens * 128.0).view(2, own, tokens, 128)
    asked = torch.tensor([[1, 2], [2, 0]])
    prompts = _prompts(toy_tower, contexts, position)
    embeddings, eot = prompts(asked)
    table = toy_tower.token_embedding
    sos, end = table(torch.tensor(49406)), table(torch.tensor(49407))
    for member in range(2):
        for row, index in enumerate(asked[member].tolist()):
            name = CLASSES[index]
            said = _tokens(toy_tower, f"{name}.") if position == "end" else _tokens(toy_tower, name)
            stop = [] if position == "end" else _tokens(toy_tower, ".")
            V = contexts[member, index if own == 3 else 0]
            before = {"end": tokens, "middle": tokens // 2, "front": 0}[position]
            expected = [
                sos,
                *V[:before],
                *table(torch.tensor(said)),
                *V[before:],
                *table(torch.tensor(stop).long()),
                end,
            ]
            assert int(eot[member, row]) == len(expected) - 1
            assert torch.equal(embeddings[member, row, : len(expected)], torch.stack(expected))
    if own == 1:
        whole = torch.cat([prompts.prefix()[:, None].expand(-1, 2, -1, -1), prompts.rest(asked)], dim=2)
        assert torch.equal(whole, embeddings)


def test_with_a_phrase_for_contexts_the_prompt_is_the_ordinary_sentence(toy_tower: TextTower) -> None:
    ids, end = toy_tower.tokenize(["a video of action"])
    phrase = toy_tower.token_embedding(ids[0, 1 : int(end)])
    contexts = starting_contexts(Draws((0,)), 3, 4, 0.02, phrase)
    embeddings, eot = _prompts(toy_tower, contexts)(torch.arange(3)[None])
    found = toy_tower(embeddings[0], eot[0]).sentence_ND
    expected = toy_tower.encode([f"a video of action {name}." for name in CLASSES]).sentence_ND
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_a_prompt_does_not_depend_on_the_classes_asked_for_beside_it(toy_tower: TextTower) -> None:
    prompts = _prompts(toy_tower, torch.randn(1, 3, 4, 128, generator=torch.Generator().manual_seed(0)))
    together, eot = prompts(torch.arange(3)[None])
    alone, end = prompts(torch.tensor([[0]]))
    sentence = toy_tower(together[0], eot[0]).sentence_ND[0]
    torch.testing.assert_close(sentence, toy_tower(alone[0], end[0]).sentence_ND[0])
    assert alone.shape[2] < together.shape[2]  # cut at the longest of those asked for


def test_a_name_that_ends_in_punctuation_stays_whole(toy_tower: TextTower) -> None:
    """CLIP reads ")." as one token, and a whole sentence has to be read as CLIP reads it. With contexts between the
    name and the full stop, the bracket stays with the name."""
    name, V = "shooting goal (soccer)", ["[V1]", "[V2]"]
    assert words_of(toy_tower, name, None, 2, "end") == [*V, "shooting", "goal", "(", "soccer", ")."]
    assert words_of(toy_tower, name, None, 2, "front") == ["shooting", "goal", "(", "soccer", ")", *V, "."]
    assert words_of(toy_tower, name, None, 2, "middle") == ["[V1]", "shooting", "goal", "(", "soccer", ")", "[V2]", "."]
    for position in ("middle", "front"):
        ids, eot = tokenize_names(toy_tower, [name, "a b c d e f g"], position)
        assert ids[0, 1 : int(eot[0]) + 1].tolist() == [*_tokens(toy_tower, name), *_tokens(toy_tower, "."), 49407]


@pytest.mark.parametrize(
    ("position", "tokens", "first"),
    [("end", 16, 12), ("middle", 16, 4), ("front", 16, 0), ("middle", 4, 0), ("middle", 6, 0), ("end", 4, 0)],
)
def test_starting_contexts_hold_the_phrase_next_to_the_name_and_noise_elsewhere(
    position: str, tokens: int, first: int
) -> None:
    """In front of the name, as far as there is room: "a video of action NAME"; "a video NAME of action" in the middle
    of four; behind it where the name comes first."""
    phrase = torch.arange(4.0)[:, None].expand(4, 8) + 7
    contexts = starting_contexts(Draws((0, 1)), 50, tokens, 0.02, phrase, position)
    assert contexts.shape == (2, 50, tokens, 8)
    assert torch.equal(contexts[:, :, first : first + 4], phrase.expand(2, 50, -1, -1))
    noise = torch.cat([contexts[:, :, :first], contexts[:, :, first + 4 :]], dim=2)
    assert noise.shape[2] == tokens - 4
    if tokens > 4:
        assert float(noise.std()) == pytest.approx(0.02, rel=0.05)
        assert not torch.equal(contexts[0], contexts[1])


def test_a_member_starts_the_same_alone_as_in_a_fleet() -> None:
    none = torch.empty(0, 8)
    fleet = starting_contexts(Draws((3, 5)), 4, 2, 0.02, none)
    assert torch.equal(fleet[1:], starting_contexts(Draws((5,)), 4, 2, 0.02, none))


def test_a_phrase_longer_than_the_contexts_is_refused() -> None:
    with pytest.raises(UsageError, match=r"context\.phrase has 4 tokens but context\.tokens is 2"):
        starting_contexts(Draws((0,)), 1, 2, 0.02, torch.zeros(4, 8))
