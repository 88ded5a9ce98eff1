"""The toy CLIP: its loss is what it says, and the shipped weights are as good as the committed figures."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from open_clip import SimpleTokenizer

from plfeat.backbone.load import Backbone
from plfeat.toy.captions import stray_vocabulary
from plfeat.toy.pretrain import contrastive_loss, encode_text, held_out_figures, sample

RESULT = Path(__file__).resolve().parents[1] / "reports" / "toy-clip" / "result.json"


def test_the_loss_shares_a_captions_mass_over_its_pictures(toy_backbone: Backbone) -> None:
    tokens = toy_backbone.tokenizer(["a red star", "a blue ring", "a red star"])[:, :6]
    images = torch.randn(3, 96, generator=torch.Generator().manual_seed(0))
    text = F.normalize(toy_backbone.model.encode_text(toy_backbone.tokenizer(["a red star", "a blue ring"])), dim=-1)
    logits = (toy_backbone.model.logit_scale.exp() * F.normalize(images, dim=-1) @ text.T).numpy().astype(np.float64)
    by_image = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    by_text = logits - np.log(np.exp(logits).sum(axis=0, keepdims=True))
    expected = -(by_image[0, 0] + by_image[1, 1] + by_image[2, 0]) / 3
    expected -= ((by_text[0, 0] + by_text[2, 0]) / 2 + by_text[1, 1]) / 2
    assert float(contrastive_loss(images, tokens, toy_backbone.model)) == pytest.approx(expected / 2, rel=1e-4)


def test_its_text_pass_is_the_models_own(toy_backbone: Backbone) -> None:
    tokens = toy_backbone.tokenizer(["a red star at the top left", "a"])
    torch.testing.assert_close(encode_text(toy_backbone.model, tokens[:, :9]), toy_backbone.model.encode_text(tokens))


def test_pictures_of_a_step_are_that_steps_alone() -> None:
    tokenizer = SimpleTokenizer()
    stray = stray_vocabulary(tokenizer.encoder)
    first, again, other = (sample([2, 0, step], 8, tokenizer, stray) for step in (5, 5, 6))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_the_shipped_weights_are_as_good_as_the_committed_figures(toy_backbone: Backbone) -> None:
    committed = json.loads(RESULT.read_text())
    found = held_out_figures(toy_backbone.model, toy_backbone.tokenizer, ["anything"], 1024)
    for attribute in ("noun", "colour", "position", "size", "state"):
        error = 4 * np.sqrt(committed[attribute] * (1 - committed[attribute]) / 1024) + 0.005
        assert found[attribute] == pytest.approx(committed[attribute], abs=error), attribute
    assert committed["noun"] > 0.85
    assert committed["position"] > 0.8
