"""The toy CLIP: its loss is what it says, and the shipped weights are as good as the committed figures."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from plfeat.backbone.load import Backbone
from plfeat.backbone.text import TextTower
from plfeat.toy.captions import stray_vocabulary
from plfeat.toy.pretrain import contrastive_loss, held_out_figures, sample

RESULT = Path(__file__).resolve().parents[1] / "reports" / "toy-clip" / "result.json"


def test_the_loss_shares_a_captions_mass_over_its_pictures(toy_backbone: Backbone) -> None:
    tower = TextTower(toy_backbone.model, toy_backbone.tokenizer)
    tokens, _ = tower.tokenize(["a red star", "a blue ring", "a red star"])
    images = torch.randn(3, 96, generator=torch.Generator().manual_seed(0))
    text = F.normalize(toy_backbone.model.encode_text(toy_backbone.tokenizer(["a red star", "a blue ring"])), dim=-1)
    logits = (toy_backbone.model.logit_scale.exp() * F.normalize(images, dim=-1) @ text.T).numpy().astype(np.float64)
    by_image = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    by_text = logits - np.log(np.exp(logits).sum(axis=0, keepdims=True))
    expected = -(by_image[0, 0] + by_image[1, 1] + by_image[2, 0]) / 3
    expected -= ((by_text[0, 0] + by_text[2, 0]) / 2 + by_text[1, 1]) / 2
    assert float(contrastive_loss(images, tokens, tower, toy_backbone.model.logit_scale.exp())) == pytest.approx(
        expected / 2, rel=1e-4
    )


def test_pictures_of_a_step_are_that_steps_alone(toy_tower: TextTower) -> None:
    stray = stray_vocabulary(toy_tower.tokenizer.encoder)
    first, again, other = (sample([2, 0, step], 8, toy_tower, stray) for step in (5, 5, 6))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_the_shipped_weights_are_as_good_as_the_committed_figures(toy_backbone: Backbone) -> None:
    committed = json.loads(RESULT.read_text())
    tower = TextTower(toy_backbone.model, toy_backbone.tokenizer)
    found = held_out_figures(toy_backbone.model, tower, ["anything"], 1024)
    for attribute in ("noun", "colour", "position", "size", "state"):
        error = 4 * np.sqrt(committed[attribute] * (1 - committed[attribute]) / 1024) + 0.005
        assert found[attribute] == pytest.approx(committed[attribute], abs=error), attribute
    assert committed["noun"] > 0.85
    assert committed["position"] > 0.8
