"""The prompt: [SOS] [V]_1 .. [V]_M [class] . [EOT], each word where it belongs (eq. 1)."""

import pytest
import torch

from plfeat.backbone.text import TextTower
from plfeat.errors import UsageError
from plfeat.model.draws import Draws
from plfeat.model.prompt import PromptLearner, starting_contexts

CLASSES = ["ring", "sliding star left", "glowing heart"]


def _prompts(tower: TextTower, contexts: torch.Tensor, position: str = "end") -> PromptLearner:
    ids, eot = tower.tokenize([f"{name}." for name in CLASSES])
    return PromptLearner(contexts, tower.token_embedding(ids), eot, position)


@pytest.mark.parametrize("own", [1, 3])
@pytest.mark.parametrize("position", ["end", "middle", "front"])
@pytest.mark.parametrize("tokens", [1, 4, 5])
def test_every_token_stands_in_its_place(toy_tower: TextTower, own: int, position: str, tokens: int) -> None:
    contexts = torch.arange(2 * own * tokens * 128.0).view(2, own, tokens, 128)
    asked = torch.tensor([[1, 2], [2, 0]])
    prompts = _prompts(toy_tower, contexts, position)
    embeddings, eot = prompts(asked)
    ids, _ = toy_tower.tokenize([f"{name}." for name in CLASSES])
    table = toy_tower.token_embedding
    sos, end = table(torch.tensor(49406)), table(torch.tensor(49407))
    for member in range(2):
        for row, index in enumerate(asked[member].tolist()):
            length = len(CLASSES[index].split())
            name, dot = table(ids[index, 1 : 1 + length]), table(ids[index, 1 + length])
            V = contexts[member, index if own == 3 else 0]
            before = {"end": tokens, "middle": tokens // 2, "front": 0}[position]
            expected = [sos, *V[:before], *name, *V[before:], dot, end]
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


def test_starting_contexts_hold_the_phrase_at_the_end_and_noise_before_it() -> None:
    phrase = torch.full((4, 8), 7.0)
    contexts = starting_contexts(Draws((0, 1)), 50, 16, 0.02, phrase)
    assert contexts.shape == (2, 50, 16, 8)
    assert (contexts[:, :, 12:] == 7).all()
    assert float(contexts[:, :, :12].std()) == pytest.approx(0.02, rel=0.05)
    assert not torch.equal(contexts[0], contexts[1])


def test_a_member_starts_the_same_alone_as_in_a_fleet() -> None:
    none = torch.empty(0, 8)
    fleet = starting_contexts(Draws((3, 5)), 4, 2, 0.02, none)
    assert torch.equal(fleet[1:], starting_contexts(Draws((5,)), 4, 2, 0.02, none))


def test_a_phrase_longer_than_the_contexts_is_refused() -> None:
    with pytest.raises(UsageError, match=r"context\.phrase has 4 tokens but context\.tokens is 2"):
        starting_contexts(Draws((0,)), 1, 2, 0.02, torch.zeros(4, 8))
