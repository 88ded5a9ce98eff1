"""The truncated text tower equals open_clip's own `encode_text` over all 77 tokens, outputs and gradients."""

import pytest
import torch

from plfeat.backbone.load import Backbone
from plfeat.backbone.text import TextTower
from plfeat.errors import UsageError
from plfeat.flows.backbones import open_backbone

TEXTS = ["spinning star", "a video of a person who is shooting a goal (soccer).", "x"]


class _Table(torch.nn.Module):
    """Stands in for a token table, so that open_clip's own `encode_text` runs on our embeddings."""

    def __init__(self, embeddings: torch.Tensor) -> None:
        super().__init__()
        self.embeddings = embeddings

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.embeddings


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float(((found - expected).abs().max() / expected.abs().max()).detach())


@pytest.mark.parametrize("name", ["toy", "ViT-B-32"])
def test_the_truncated_tower_equals_encode_text(name: str) -> None:
    backbone = open_backbone(name, None if name == "toy" else "random:0")
    tower = TextTower(backbone.model, backbone.tokenizer)
    tokens = backbone.tokenizer(TEXTS)
    assert tokens.shape == (3, 77)
    whole = backbone.model.token_embedding(tokens).detach().requires_grad_()
    own_table = backbone.model.token_embedding
    backbone.model.token_embedding = _Table(whole)
    expected = backbone.model.encode_text(tokens)
    backbone.model.token_embedding = own_table
    torch.testing.assert_close(expected, backbone.model.encode_text(tokens), rtol=0, atol=0)

    ids, eot = tower.tokenize(TEXTS)
    assert ids.shape[1] == int(eot.max()) + 1 < 25
    cut = own_table(ids).detach().requires_grad_()
    found = tower(cut, eot).sentence_ND

    direction = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    (expected * direction).sum().backward()
    (found * direction).sum().backward()
    assert whole.grad is not None
    assert cut.grad is not None
    assert float(whole.grad[:, ids.shape[1] :].abs().max()) == 0  # nothing after the EOT matters
    output_error = relative(found, expected)
    gradient_error = relative(cut.grad, whole.grad[:, : ids.shape[1]])
    print(f"{name}: output error {output_error:.1e}, gradient error {gradient_error:.1e}")
    assert output_error <= 1e-5
    assert gradient_error <= 1e-5


def test_words_are_the_states_after_ln_final_and_the_last_one_projected_is_the_sentence(toy_backbone: Backbone) -> None:
    tower = TextTower(toy_backbone.model, toy_backbone.tokenizer)
    features = tower.encode(TEXTS)
    _, eot = tower.tokenize(TEXTS)
    last = features.words_NLW[torch.arange(3), eot]
    torch.testing.assert_close(last @ toy_backbone.model.text_projection, features.sentence_ND)
    torch.testing.assert_close(features.sentence_ND, toy_backbone.model.encode_text(toy_backbone.tokenizer(TEXTS)))


def test_a_text_does_not_depend_on_the_texts_beside_it(toy_tower: TextTower) -> None:
    together = toy_tower.encode(TEXTS).sentence_ND
    alone = torch.cat([toy_tower.encode([text]).sentence_ND for text in TEXTS])
    torch.testing.assert_close(together, alone)


def test_a_tower_that_is_not_causal_is_refused() -> None:
    import open_clip

    model = open_clip.model.CLIP(
        32,
        {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
        {"width": 32, "heads": 2, "layers": 1, "no_causal_mask": True, "pool_type": "last"},
    )
    with pytest.raises(UsageError, match="not CLIP's"):
        TextTower(model, None)
