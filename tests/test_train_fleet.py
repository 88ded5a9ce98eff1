"""The fleet: many members are trained exactly as each would be alone, and nothing trainable is forgotten."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from plfeat.backbone.load import Backbone
from plfeat.backbone.text import TextTower
from plfeat.config import TrainConfig, build
from plfeat.errors import DataError, PlfeatError, UsageError
from plfeat.flows.train import train_frozen
from plfeat.loss.match import matching_loss
from plfeat.records import silent
from plfeat.shards.reader import Cache
from plfeat.train.checkpoint import save_member, trained_tensors
from plfeat.train.fleet import Fleet, build_fleet, parameter_groups, pool, train_fleet
from plfeat.train.schedule import rate_factor

FEW = ["optim.epochs=7", "optim.batch=16", "optim.warmup_epochs=1"]  # 21 steps on the toy cache's 48 videos


def _fleet(tower: TextTower, cache: Cache, config: TrainConfig) -> Fleet:
    return build_fleet(tower, cache.classes, config.context, config.seeds, start_scale=2.0)


@pytest.mark.parametrize("sharing", ["class", "shared"])
def test_a_fleet_trains_each_member_as_if_it_were_alone(toy_tower: TextTower, toy_cache: Cache, sharing: str) -> None:
    frames = toy_cache.read("train")
    config = build(TrainConfig, overrides=[*FEW, f"context.sharing={sharing}", "seeds=[0,1,2]"])
    fleet = _fleet(toy_tower, toy_cache, config)
    start = fleet.prompts.contexts.detach().clone()
    train_fleet(fleet, frames, None, config, silent)
    assert float((fleet.prompts.contexts - start).detach().abs().max()) > 1e-3
    for member, seed in enumerate(config.seeds):
        own = config.model_copy(update={"seeds": (seed,)})
        alone = _fleet(toy_tower, toy_cache, own)
        train_fleet(alone, frames, None, own, silent)
        for name, value in trained_tensors(alone, 0).items():
            together = trained_tensors(fleet, member)[name]
            assert float((together - value).abs().max() / value.abs().max()) <= 1e-4, (name, seed)


def test_every_trainable_parameter_is_in_exactly_one_group_and_in_the_checkpoint(
    toy_tower: TextTower, toy_cache: Cache, tmp_path: Path
) -> None:
    fleet = _fleet(toy_tower, toy_cache, TrainConfig())
    trainable = {name: p for name, p in fleet.named_parameters() if p.requires_grad}
    assert set(trainable) == {"prompts.contexts", "log_scale_E"}
    grouped = [id(p) for group in parameter_groups(fleet, 0.2) for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in trainable.values())
    save_member(fleet, 1, {"seed": 1}, toy_cache.classes, tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    assert saved.keys() == trainable.keys()
    for name, value in trainable.items():
        assert torch.equal(saved[name], value[1])


def test_a_step_moves_every_trainable_parameter_and_nothing_else(toy_tower: TextTower, toy_cache: Cache) -> None:
    config = build(TrainConfig, overrides=["optim.epochs=1", "seeds=[0]"])
    fleet = _fleet(toy_tower, toy_cache, config)
    before = {name: p.detach().clone() for name, p in fleet.named_parameters()}
    train_fleet(fleet, toy_cache.read("train"), None, config, silent)
    moved = {name for name, p in fleet.named_parameters() if not torch.equal(before[name], p)}
    assert moved == {"prompts.contexts", "log_scale_E"}


def test_encoding_only_the_batchs_classes_is_the_loss_over_all_texts(toy_tower: TextTower, toy_cache: Cache) -> None:
    frames = toy_cache.read("train")
    fleet = _fleet(toy_tower, toy_cache, build(TrainConfig, overrides=["seeds=[0,1]"]))
    video, label = pool(frames), torch.from_numpy(frames.label_N)
    which = torch.tensor([[0, 1, 2, 9, 10, 30], [5, 7, 7, 20, 31, 40]])
    found = fleet.loss(video[which], label[which], 1.0, 0.5)
    everything = fleet.text(torch.arange(24))
    for member in range(2):
        own = everything[member, label[which[member]]]
        logits = fleet.log_scale_E.exp()[member] * video[which[member]] @ own.T
        expected = matching_loss(logits[None], label[which[member]][None], 1.0, 0.5)
        torch.testing.assert_close(found[member], expected[0], rtol=1e-5, atol=1e-6)


def test_the_score_is_the_softmax_of_scaled_cosines(toy_tower: TextTower, toy_cache: Cache) -> None:
    fleet = _fleet(toy_tower, toy_cache, build(TrainConfig, overrides=["seeds=[4]"]))
    frames = toy_cache.read("test")
    score = fleet.score(pool(frames))[0]
    mean = frames.features_NVTD[:, 0].astype(np.float64).mean(axis=1)
    mean /= np.linalg.norm(mean, axis=1, keepdims=True)
    logits = np.exp(2.0) * mean @ fleet.text(torch.arange(24))[0].detach().numpy().T
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(score.numpy(), expected, rtol=1e-4, atol=1e-6)


def test_training_twice_gives_the_same_numbers(toy_tower: TextTower, toy_cache: Cache) -> None:
    config = build(TrainConfig, overrides=FEW)
    results = []
    for _ in range(2):
        fleet = _fleet(toy_tower, toy_cache, config)
        curve = train_fleet(fleet, toy_cache.read("train"), toy_cache.read("test"), config, silent)
        results.append((fleet.prompts.contexts.detach(), [epoch.loss_E for epoch in curve], curve[-1].val_top1_E))
    assert torch.equal(results[0][0], results[1][0])
    assert results[0][1:] == results[1][1:]
    assert results[0][1][-1][0] < results[0][1][0][0]  # the loss falls


def test_contexts_that_do_not_fit_the_tower_are_refused_with_the_numbers(
    toy_tower: TextTower, toy_cache: Cache
) -> None:
    with pytest.raises(UsageError, match=r"context\.tokens=75 makes the longest prompt 81 tokens; .* reads 77"):
        _fleet(toy_tower, toy_cache, build(TrainConfig, overrides=["context.tokens=75"]))


def test_one_training_video_is_refused(toy_tower: TextTower, toy_cache: Cache) -> None:
    frames = toy_cache.read("train")
    one = replace(frames, features_NVTD=frames.features_NVTD[:1], label_N=frames.label_N[:1], id_N=frames.id_N[:1])
    with pytest.raises(DataError, match="at least 2 are needed"):
        train_fleet(_fleet(toy_tower, toy_cache, TrainConfig()), one, None, TrainConfig(), silent)


def test_a_run_that_diverges_is_an_error_and_not_a_result(toy_cache: Cache, tmp_path: Path) -> None:
    config = build(TrainConfig, overrides=["optim.rate=1000", "optim.epochs=20"])
    with pytest.raises(PlfeatError, match="training diverged"):
        train_frozen(config, toy_cache, tmp_path, silent)
    assert list(tmp_path.iterdir()) == []


def test_warm_up_then_half_a_cosine() -> None:
    factors = [rate_factor(step, 100, 10) for step in range(100)]
    assert factors[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    assert factors[10] == pytest.approx(1.0)
    assert factors[55] == pytest.approx(0.5)
    assert 0 < factors[99] < 0.001
    assert rate_factor(0, 10, 0) == 1.0


def test_pooled_videos_are_unit_means(toy_cache: Cache, toy_backbone: Backbone) -> None:
    frames = toy_cache.read("test")
    video = pool(frames)
    expected = F.normalize(torch.from_numpy(frames.features_NVTD[:, 0].astype(np.float32)).mean(dim=1), dim=-1)
    assert torch.equal(video, expected)
