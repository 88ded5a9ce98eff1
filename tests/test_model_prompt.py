"""The prompt: [SOS] [V]_1 .. [V]_M [class] . [EOT], each word where it belongs (eq. 1)."""

import pytest
import torch

from plfeat.backbone.text import TextTower
from plfeat.errors import UsageError
from plfeat.model.prompt import PromptLearner, starting_contexts

CLASSES = ["ring", "sliding star left", "glowing heart"]


def _prompts(tower: TextTower, contexts: torch.Tensor) -> PromptLearner:
    ids, eot = tower.tokenize([f"{name}." for name in CLASSES])
    return PromptLearner(contexts, tower.token_embedding(ids), eot)


@pytest.mark.parametrize("own", [1, 3])
def test_every_token_stands_in_its_place(toy_tower: TextTower, own: int) -> None:
    contexts = torch.arange(2 * own * 4 * 128.0).view(2, own, 4, 128)
    embeddings, eot = _prompts(toy_tower, contexts)(torch.tensor([1, 2]))
    ids, _ = toy_tower.tokenize([f"{name}." for name in CLASSES])
    table = toy_tower.token_embedding
    assert embeddings.shape == (2, 2, 4 + 6, 128)  # SOS, 4 contexts, 3 words, ".", EOT
    for member in range(2):
        for row, index in enumerate([1, 2]):
            sentence = embeddings[member, row]
            assert torch.equal(sentence[0], table(torch.tensor(49406)))
            assert torch.equal(sentence[1:5], contexts[member, index if own == 3 else 0])
            assert torch.equal(sentence[5 : int(eot[row]) + 1], table(ids[index, 1 : int(eot[row]) - 3]))
            assert torch.equal(sentence[int(eot[row])], table(torch.tensor(49407)))


def test_with_a_phrase_for_contexts_the_prompt_is_the_ordinary_sentence(toy_tower: TextTower) -> None:
    ids, end = toy_tower.tokenize(["a video of action"])
    phrase = toy_tower.token_embedding(ids[0, 1 : int(end)])
    contexts = starting_contexts((0,), 3, 4, 0.02, phrase, 128)
    embeddings, eot = _prompts(toy_tower, contexts)(torch.arange(3))
    found = toy_tower(embeddings[0], eot).sentence_ND
    expected = toy_tower.encode([f"a video of action {name}." for name in CLASSES]).sentence_ND
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_a_prompt_does_not_depend_on_the_classes_asked_for_beside_it(toy_tower: TextTower) -> None:
    prompts = _prompts(toy_tower, torch.randn(1, 3, 4, 128, generator=torch.Generator().manual_seed(0)))
    together, eot = prompts(torch.arange(3))
    alone, end = prompts(torch.tensor([0]))
    sentence = toy_tower(together[0], eot).sentence_ND[0]
    torch.testing.assert_close(sentence, toy_tower(alone[0], end).sentence_ND[0])
    assert alone.shape[2] < together.shape[2]  # cut at the longest of those asked for


def test_starting_contexts_hold_the_phrase_at_the_end_and_noise_before_it() -> None:
    phrase = torch.full((4, 8), 7.0)
    contexts = starting_contexts((0, 1), 50, 16, 0.02, phrase, 8)
    assert contexts.shape == (2, 50, 16, 8)
    assert (contexts[:, :, 12:] == 7).all()
    assert float(contexts[:, :, :12].std()) == pytest.approx(0.02, rel=0.05)
    assert not torch.equal(contexts[0], contexts[1])


def test_a_member_starts_the_same_alone_as_in_a_fleet() -> None:
    none = torch.empty(0, 8)
    fleet = starting_contexts((3, 5), 4, 2, 0.02, none, 8)
    assert torch.equal(fleet[1:], starting_contexts((5,), 4, 2, 0.02, none, 8))


def test_a_phrase_longer_than_the_contexts_is_refused() -> None:
    with pytest.raises(UsageError, match=r"context\.phrase has 4 tokens but context\.tokens is 2"):
        starting_contexts((0,), 1, 2, 0.02, torch.zeros(4, 8), 8)
