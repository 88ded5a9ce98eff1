"""The fleet: many members are trained exactly as each would be alone, and nothing trainable is forgotten."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import learner_of, quick
from safetensors.torch import load_file

from plfeat.backbone.text import TextTower
from plfeat.config import TrainConfig
from plfeat.desk import Desk
from plfeat.errors import DataError, UsageError
from plfeat.loss.match import matching_loss
from plfeat.metrics.classify import top_k_hits
from plfeat.records import silent
from plfeat.train.batches import epoch_plan
from plfeat.train.build import pool, resident
from plfeat.train.checkpoint import load_member, load_state, member_tensors, save_member, save_state
from plfeat.train.fleet import Fleet, Samples, parameter_groups, trainable
from plfeat.train.matcher import Matcher
from plfeat.train.schedule import rate_factor
from plfeat.train.sources import Fixed

CPU = torch.device("cpu")
FEW = ("optim.epochs=7", "optim.batch=16", "optim.warmup_epochs=1", "interaction.hidden=16", "head.layers=2")
"""21 steps on the toy cache's 48 videos."""

KINDS = {
    "class contexts": ("prompts",),
    "shared contexts": ("prompts", "context.sharing=shared"),
    "name in the middle": ("prompts", "context.sharing=shared", "context.position=middle"),
    "own": ("paper", "optim.rate=1e-3", "optim.module_rate=1e-3"),
    "pairwise": ("plfeat",),
    "released": ("release", "optim.module_rate=1e-3"),
    "coop": ("coop",),
    "actionclip": ("actionclip-transf",),
    "dropout": ("actionclip-transf-cls", "head.layers=1", "head.dropout=0.3"),
    "lstm over contexts": ("prompts", "head.kind=lstm"),
    "linear": ("vit",),
    "tip-adapter-f": ("tip-adapter-f", "data.shots=1", "optim.epochs=15"),
    "few shots": ("prompts", "data.shots=1", "optim.epochs=15"),
}


def _config(kind: str, *more: str) -> TrainConfig:
    preset, *own = KINDS[kind]
    return quick(preset, FEW, *own, *more)


def _fleet(config: TrainConfig, desk: Desk, tower: TextTower, **own: list[float]) -> Fleet:
    """A fleet over the toy cache; `own` gives each member its value of a setting: `rate=[..]`."""
    learner, train, chosen, members = learner_of(config, desk, tower, own)
    return Fleet(learner, members, train, chosen)


def _double(fleet: Fleet) -> Fleet:
    """The same, in float64."""
    learner: Any = fleet.learner
    train = Samples(fleet.train.features_NVTD.double(), fleet.train.label_N)
    return Fleet(learner.double(), fleet.members, train, fleet.chosen_EN)


def _differences(fleet: Fleet, alone: Fleet, member: int) -> dict[str, float]:
    """Of every tensor of a member: how long the difference is, as a share of the tensor."""
    together = member_tensors(dict(trainable(fleet.learner)), member)
    single = member_tensors(dict(trainable(alone.learner)), 0)
    return {name: float((together[name] - value).norm() / value.norm()) for name, value in single.items()}


@pytest.mark.parametrize("epochs", ["optim.epochs=3", pytest.param(None, marks=pytest.mark.slow)], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_a_fleet_trains_each_member_as_if_it_were_alone(
    kind: str, epochs: str | None, toy_tower: TextTower, toy_desk: Desk
) -> None:
    """In float64 to 1e-9, whatever is trained: the arithmetic is the same."""
    config = _config(kind, "seeds=[0,2]", *([epochs] if epochs else ()))
    tower = copy.deepcopy(toy_tower)
    fleet = _double(_fleet(config, toy_desk, tower))
    start = {name: value.detach().clone() for name, value in trainable(fleet.learner).items()}
    fleet.run(None, silent)
    assert fleet.adamw.count >= (6 if epochs else 20)
    assert any(
        float((start[name] - value).detach().abs().max()) > 1e-3 for name, value in trainable(fleet.learner).items()
    )
    for member, seed in enumerate(config.seeds):
        alone = _double(_fleet(config.model_copy(update={"seeds": (seed,)}), toy_desk, tower))
        alone.run(None, silent)
        differences = _differences(fleet, alone, member)
        assert max(differences.values()) <= 1e-9, (seed, differences)


@pytest.mark.parametrize("kind", [*KINDS, "tuned"])
def test_a_step_asks_the_device_for_nothing(kind: str, toy_tower: TextTower, toy_desk: Desk) -> None:
    """On `meta`, a device that knows shapes and no values: a question would raise, and so would a tensor left behind on
    the CPU. A GPU would answer, after all the work that is queued on it."""
    config = (
        quick("actionclip-transf", FEW, "text.tune=true", "text.template=a {}", "seeds=[0]")
        if kind == "tuned"
        else _config(kind, "seeds=[0,1,2]")
    )
    learner, train, chosen, members = learner_of(config, toy_desk, copy.deepcopy(toy_tower), {}, "meta")
    fleet = Fleet(learner, members, train, chosen)
    for frames, batch in fleet.batches():
        assert fleet.step(frames, batch, 1.0).is_meta
    assert {p.grad.device.type for p in fleet.adamw.parameters if p.grad is not None} == {"meta"}
    assert learner.score(train.features_NVTD).shape == (len(members), len(train.label_N), len(toy_desk.words))


@pytest.mark.parametrize(
    "kind",
    [kind if kind in ("class contexts", "own") else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS],
)
def test_in_single_precision_as_well(kind: str, toy_tower: TextTower, toy_desk: Desk) -> None:
    """To 1e-4 after 20 steps: every loss on the way, every score. Every tensor too, but for `own` and `released`: where
    a video meets only its own label's text, some tensors learn next to nothing, and AdamW turns gradients of the size
    of rounding into steps of full size."""
    config = _config(kind, "seeds=[0,1,2]")
    fleet = _fleet(config, toy_desk, toy_tower)
    fleet.run(None, silent)
    scores_ENC = fleet.learner.score(fleet.train.features_NVTD)
    for member, seed in enumerate(config.seeds):
        alone = _fleet(config.model_copy(update={"seeds": (seed,)}), toy_desk, toy_tower)
        alone.run(None, silent)
        for epoch, single in zip(fleet.state.curve, alone.state.curve, strict=True):
            assert epoch.loss_E[member] == pytest.approx(single.loss_E[0], rel=1e-4)
        scores_NC = alone.learner.score(alone.train.features_NVTD)[0]
        torch.testing.assert_close(scores_ENC[member], scores_NC, rtol=1e-4, atol=1e-4)
        differences = _differences(fleet, alone, member)
        assert kind in ("own", "released") or max(differences.values()) <= 1e-4, (seed, differences)


def test_members_with_their_own_rates_and_coefficients_train_as_if_alone(toy_tower: TextTower, toy_desk: Desk) -> None:
    config = _config("pairwise", "seeds=[0,1,2]", "loss.contrastive=0.5", "optim.epochs=3")
    own: dict[str, list[Any]] = {
        "optim.rate": [1e-3, 5e-3, 2e-3],
        "optim.module_rate": [1e-3, 1e-4, 3e-3],
        "optim.scale_rate": [None, 1e-4, 3e-2],
        "optim.weight_decay": [0.0, 0.2, 5.0],
        "loss.text_to_video": [1.0, 0.0, 0.3],
        "loss.joint": [1.0, 0.5, 2.0],
        "loss.contrastive": [0.0, 1.0, 0.3],
        "loss.temperature": [0.07, 0.2, 0.5],
    }
    tower = copy.deepcopy(toy_tower)
    fleet = _double(_fleet(config, toy_desk, tower, **own))
    fleet.run(None, silent)
    losses = np.array([epoch.loss_E for epoch in fleet.state.curve])
    assert np.abs(np.diff(losses, axis=1)).min() > 1e-3  # the settings matter
    for member, seed in enumerate(config.seeds):
        single = config.model_copy(update={"seeds": (seed,)})
        alone = _double(_fleet(single, toy_desk, tower, **{key: [values[member]] for key, values in own.items()}))
        alone.run(None, silent)
        differences = _differences(fleet, alone, member)
        assert max(differences.values()) <= 1e-9, (seed, differences)


def test_members_that_differ_in_architecture_are_no_fleet(toy_tower: TextTower, toy_desk: Desk) -> None:
    with pytest.raises(UsageError, match="members of one fleet may differ in seeds, rates"):
        _fleet(_config("class contexts", "seeds=[0,1]"), toy_desk, toy_tower, **{"context.tokens": [4, 5]})


@pytest.mark.parametrize("kind", [*KINDS, "text tuned"])
def test_every_trainable_parameter_is_in_exactly_one_group_and_in_the_checkpoint(
    kind: str, toy_tower: TextTower, toy_desk: Desk, tmp_path: Path
) -> None:
    config = quick("text-tuned", FEW, "seeds=[1]") if kind == "text tuned" else _config(kind, "seeds=[0,1]")
    fleet = _fleet(config, toy_desk, toy_tower)
    wanted = trainable(fleet.learner)
    groups = parameter_groups(fleet.learner, [member.optim for member in fleet.members])
    grouped = [id(p) for group in groups for p in group.parameters]
    assert sorted(grouped) == sorted(id(p) for p in wanted.values())
    save_member(member_tensors(dict(wanted), len(config.seeds) - 1), None, config, toy_desk.words, {}, tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    assert saved.keys() == wanted.keys()
    for name, value in wanted.items():
        assert torch.equal(saved[name], value if kind == "text tuned" and "tower" in name else value[-1])


@pytest.mark.parametrize("kind", [*KINDS, "text tuned"])
def test_training_moves_every_trainable_parameter_and_nothing_else(
    kind: str, toy_tower: TextTower, toy_desk: Desk
) -> None:
    config = (
        quick("text-tuned", FEW, "seeds=[0]", "optim.encoder_rate=1e-3", "optim.epochs=2")
        if kind == "text tuned"
        else _config(kind, "seeds=[0]", "optim.epochs=2")
    )
    fleet = _fleet(config, toy_desk, toy_tower)
    everything = dict(fleet.learner.named_parameters())
    before = {name: p.detach().clone() for name, p in everything.items()}
    frozen = {name: p.detach().clone() for name, p in toy_tower.named_parameters()}
    fleet.run(None, silent)
    moved = {name for name, p in everything.items() if not torch.equal(before[name], p)}
    beyond = {name for name in trainable(fleet.learner) if "positional_embedding" in name}
    assert moved | beyond == set(trainable(fleet.learner))
    assert moved
    for name, p in toy_tower.named_parameters():
        assert torch.equal(frozen[name], p), name  # the tower that others share


def test_encoding_only_the_batchs_classes_is_the_loss_over_all_texts(toy_tower: TextTower, toy_desk: Desk) -> None:
    """Restricted to the batch, the similarities to all classes give the same loss."""
    fleet = _fleet(_config("class contexts", "seeds=[0,1]", "loss.text_to_video=0.5"), toy_desk, toy_tower)
    matcher = fleet.learner
    assert isinstance(matcher, Matcher)
    batch = next(_batches(fleet))
    frames = fleet.train.features_NVTD[batch.video_EB, batch.view_EB].float()
    found = matcher.loss(frames, batch)
    every = F.normalize(matcher.source(torch.arange(24).expand(2, -1)).sentence_EUD, dim=-1)
    for member in range(2):
        own = every[member, batch.label_EB[member]]
        logits = matcher.scale[member] * matcher.video(frames)[member] @ own.T
        expected = matching_loss(logits[None], batch.label_EB[member][None], 1.0, 0.5)
        torch.testing.assert_close(found[member], expected[0], rtol=1e-5, atol=1e-6)


def _batches(fleet: Fleet) -> Any:
    return epoch_plan(
        fleet.seeds, 0, fleet.chosen_EN, fleet.train.label_N, fleet.batch, 1, fleet.learner.per_class, CPU
    )


def test_matching_against_every_class_is_cross_entropy(toy_tower: TextTower, toy_desk: Desk) -> None:
    fleet = _fleet(_config("coop", "seeds=[0,1]"), toy_desk, toy_tower)
    matcher = fleet.learner
    assert isinstance(matcher, Matcher)
    batch = next(_batches(fleet))
    frames = fleet.train.features_NVTD[batch.video_EB, batch.view_EB].float()
    text = F.normalize(matcher.source(torch.arange(24).expand(2, -1)).sentence_EUD, dim=-1)
    logits = matcher.scale * matcher.video(frames) @ text.mT
    for member, loss in enumerate(matcher.loss(frames, batch)):
        torch.testing.assert_close(loss, F.cross_entropy(logits[member], batch.label_EB[member]))


def test_the_score_is_the_softmax_of_scaled_cosines(toy_tower: TextTower, toy_desk: Desk) -> None:
    fleet = _fleet(_config("class contexts", "seeds=[4]"), toy_desk, toy_tower)
    matcher, frames = fleet.learner, toy_desk.split("test")
    assert isinstance(matcher, Matcher)
    score = matcher.score(resident(frames, fleet.members[0], CPU).features_NVTD)[0]
    mean = frames.features_NVTD[:, 0].astype(np.float64).mean(axis=1)
    mean /= np.linalg.norm(mean, axis=1, keepdims=True)
    text = F.normalize(matcher.source(torch.arange(24)[None]).sentence_EUD[0], dim=-1).detach().double().numpy()
    logits = float(matcher.scale.detach()) * mean @ text.T
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(score.numpy(), expected, rtol=1e-4, atol=1e-6)


def test_several_texts_a_class_average_their_probabilities(toy_tower: TextTower, toy_desk: Desk) -> None:
    fleet = _fleet(_config("actionclip", "seeds=[0]", "head.kind=mean"), toy_desk, toy_tower)
    matcher, frames = fleet.learner, toy_desk.split("test")
    assert isinstance(matcher, Matcher)
    assert isinstance(matcher.source, Fixed)
    video = pool(torch.from_numpy(frames.features_NVTD))
    shares = torch.zeros(len(video), 24)
    for template in range(matcher.per_class):
        text = F.normalize(matcher.source.sentence_PD[template :: matcher.per_class], dim=-1)
        shares += (100 * video @ text.T).softmax(dim=-1).detach() / matcher.per_class
    assert matcher.per_class == 16
    found = matcher.score(resident(frames, fleet.members[0], CPU).features_NVTD)[0]
    torch.testing.assert_close(found, shares, rtol=1e-4, atol=1e-6)


def test_the_scale_learns_and_is_tested_as_each_source_has_it(
    toy_tower: TextTower, toy_desk: Desk, tmp_path: Path
) -> None:
    """CoOp leaves it alone; ActionCLIP, and the released PromptLearner after it, trains it with the text tower and
    tests with 100. A member that did not learn one keeps none, and is read with the one it was trained with."""
    features = torch.from_numpy(toy_desk.split("test").features_NVTD)
    rates = {"class contexts": 2e-3, "actionclip": 5e-6, "released": 5e-6, "coop": None}
    for kind, rate in rates.items():
        fleet = _fleet(_config(kind, "seeds=[0,1]", "optim.epochs=2"), toy_desk, toy_tower)
        matcher = fleet.learner
        assert isinstance(matcher, Matcher)
        assert [float(g.rate_E[0]) for g in fleet.adamw.groups if g.name == "scale"] == pytest.approx(
            [] if rate is None else [rate]
        )
        fleet.run(None, silent)
        moved = float((matcher.log_scale_E.detach() - 2.0).abs().min())
        assert moved == 0 if rate is None else 0 < moved < 25 * rate
        assert ("log_scale_E" in trainable(matcher)) == (rate is not None)
        tested = 100.0 if rate == 5e-6 else matcher.log_scale_E.detach().exp()[:, None]
        if matcher.per_class == 1:
            cosine = (matcher.video(features[:, 0].expand(2, -1, -1, -1).float()) @ _sentences(matcher, 2).mT).detach()
            expected = (torch.as_tensor(tested)[..., None] * cosine).softmax(dim=-1)
            torch.testing.assert_close(matcher.score(features), expected, rtol=1e-3, atol=1e-5)
    save_member(member_tensors(trainable(fleet.learner), 1), None, fleet.members[1], toy_desk.words, {}, tmp_path)
    alone = _fleet(fleet.members[1], toy_desk, toy_tower)
    load_member(alone.learner, tmp_path)
    torch.testing.assert_close(alone.learner.score(features)[0], fleet.learner.score(features)[1])


def _sentences(matcher: Matcher, members: int) -> torch.Tensor:
    texts = torch.arange(matcher.source.texts).expand(members, -1)
    return F.normalize(matcher.source(texts).sentence_EUD, dim=-1)


@pytest.mark.parametrize("kind", ["own", "pairwise", "released"])
@pytest.mark.parametrize("score", ["video", "joint", "mean"])
def test_scores_in_chunks_are_the_scores_as_a_whole(
    kind: str, score: str, toy_tower: TextTower, toy_desk: Desk
) -> None:
    config = _config(kind, "seeds=[0,1]", f"interaction.score={score}", "scale.test=null")  # 100 would widen rounding
    fleet = _fleet(config, toy_desk, toy_tower)
    matcher, features = fleet.learner, torch.from_numpy(toy_desk.split("test").features_NVTD[::9])
    assert isinstance(matcher, Matcher)
    whole = matcher.score(features)
    for budget in (1, 100_000):  # one video and one text at a time; a few
        torch.testing.assert_close(matcher.score(features, budget), whole, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("kind", "as_they_come"), [("own", False), ("released", True)])
def test_the_released_module_takes_frames_as_they_come_and_its_weights_through_a_relu(
    kind: str, as_they_come: bool, toy_tower: TextTower, toy_desk: Desk
) -> None:
    matcher = _fleet(_config(kind, "seeds=[0]"), toy_desk, toy_tower).learner
    assert isinstance(matcher, Matcher)
    assert matcher.interaction is not None
    assert (matcher.interaction.fuse.score.bias is not None) == as_they_come
    frames = torch.from_numpy(toy_desk.split("test").features_NVTD)[None, :6, 0].float()
    text = torch.randn(1, 1, 3, frames.shape[-1], generator=torch.Generator().manual_seed(0))
    once, thrice = (matcher.interaction.meet(scale * frames, text, text)[0] for scale in (1, 3))
    assert torch.allclose(once, thrice, atol=1e-5) != as_they_come


def test_the_mean_score_is_that_of_the_mean_of_both_cosines(toy_tower: TextTower, toy_desk: Desk) -> None:
    features, scores = torch.from_numpy(toy_desk.split("test").features_NVTD), {}
    for kind in ("video", "joint", "mean"):
        fleet = _fleet(_config("pairwise", "seeds=[0,1]", f"interaction.score={kind}"), toy_desk, toy_tower)
        scores[kind] = fleet.learner.score(features)
    assert not torch.allclose(scores["video"], scores["joint"], atol=1e-3)
    expected = ((scores["video"].log() + scores["joint"].log()) / 2).softmax(dim=-1)
    torch.testing.assert_close(scores["mean"], expected, rtol=1e-4, atol=1e-6)


def test_joint_features_made_again_in_the_backward_pass_are_the_same(
    toy_tower: TextTower, toy_desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    gradients = []
    for rows in (16, 3, 1):
        fleet = _fleet(_config("pairwise", "seeds=[0,1]"), toy_desk, toy_tower)
        matcher, batch = fleet.learner, next(_batches(fleet))
        assert isinstance(matcher, Matcher)
        frames = fleet.train.features_NVTD[batch.video_EB, batch.view_EB].float()
        budget = rows * matcher._one_pair(frames) * batch.texts_EU.shape[1]
        monkeypatch.setattr(Matcher._meet_all, "__defaults__", (budget,))
        matcher.loss(frames, batch).sum().backward()
        gradients.append({name: p.grad for name, p in trainable(matcher).items()})
    for other in gradients[1:]:
        for name, gradient in gradients[0].items():
            torch.testing.assert_close(other[name], gradient, rtol=1e-4, atol=1e-7)


def test_what_is_dropped_is_drawn_by_seed_and_step_and_nothing_at_test(toy_tower: TextTower, toy_desk: Desk) -> None:
    learned = _fleet(_config("dropout", "seeds=[0,1]"), toy_desk, toy_tower)
    matcher, features = learned.learner, torch.from_numpy(toy_desk.split("test").features_NVTD)
    assert isinstance(matcher, Matcher)
    assert torch.equal(matcher.score(features), matcher.score(features))
    steps = [batch.step for _ in range(2) for batch in _an_epoch(learned)]
    assert steps == list(range(2 * learned.per_epoch))
    frames = learned.train.features_NVTD[:16, 0].float().expand(2, -1, -1, -1)
    one, other, test = matcher.video(frames, 0), matcher.video(frames, 1), matcher.video(frames)
    assert torch.equal(one, matcher.video(frames, 0))
    assert not any(torch.allclose(x, y, atol=1e-3) for x, y in ((one, other), (one, test), (other, test)))
    for more in ((), ("method=linear",)):
        learner = _fleet(_config("dropout", "seeds=[0,1]", *more), toy_desk, toy_tower).learner
        batch = replace(next(_batches(learned)), step=3)
        losses = [learner.loss(frames, replace(batch, step=step)) for step in (3, 3, 4)]
        assert torch.equal(losses[0], losses[1])
        assert not torch.allclose(losses[0], losses[2], rtol=1e-4)


def _an_epoch(fleet: Fleet) -> list[Any]:
    batches = list(fleet.plan())
    fleet.state.epoch += 1
    return batches


def test_the_cosines_of_several_views_are_averaged(toy_tower: TextTower, toy_desk: Desk) -> None:
    fleet = _fleet(_config("lstm over contexts", "seeds=[0]"), toy_desk, toy_tower)
    matcher, features = fleet.learner, torch.from_numpy(toy_desk.split("test").features_NVTD)
    assert isinstance(matcher, Matcher)
    views = torch.cat([features, features.flip(2), features[:, :, [0, 0, 1, 1, 2, 2, 3, 3]]], dim=1)
    logs = [matcher.score(views[:, v : v + 1]).log() for v in range(3)]
    expected = torch.stack(logs).mean(dim=0).softmax(dim=-1)  # a mean of logits, up to what softmax ignores
    torch.testing.assert_close(matcher.score(views), expected, rtol=1e-4, atol=1e-6)


def test_a_training_with_views_draws_another_one_in_every_epoch(toy_tower: TextTower, toy_desk: Desk) -> None:
    labels = torch.zeros(1000, dtype=torch.long)
    drawn = []
    for epoch in range(2):
        plan = epoch_plan((0, 1), epoch, torch.arange(1000).expand(2, -1), labels, 100, 4, 1, CPU)
        views = torch.zeros(2, 1000, dtype=torch.long)
        for batch in plan:
            views.scatter_(1, batch.video_EB, batch.view_EB)
        drawn.append(views)
    counts = torch.bincount(drawn[0].flatten(), minlength=4)
    assert counts.min() > 400
    for other in (drawn[1][0], drawn[0][1]):  # another epoch, another member
        assert 150 < int((drawn[0][0] == other).sum()) < 350


@pytest.mark.parametrize("kind", ["pairwise", "dropout", "tip-adapter-f", "text tuned"])
def test_killed_in_any_epoch_and_resumed_it_ends_as_if_nothing_had_happened(
    kind: str, toy_tower: TextTower, toy_desk: Desk, tmp_path: Path
) -> None:
    config = (
        quick("text-tuned", FEW, "seeds=[0]", "optim.encoder_rate=1e-3", "select=best", "optim.epochs=4")
        if kind == "text tuned"
        else _config(kind, "seeds=[0,1]", "select=best", "optim.epochs=4")
    )
    val = resident(toy_desk.split("test"), config, CPU)
    whole = _fleet(config, toy_desk, toy_tower)
    whole.run(val, silent, lambda fleet: save_state(fleet, "run", tmp_path / str(fleet.state.epoch)))
    last = whole.choose()
    for epoch in (1, config.optim.epochs - 1):
        again = _fleet(config, toy_desk, toy_tower)
        load_state(again, "run", tmp_path / str(epoch))
        again.run(val, silent)
        assert again.state.curve == whole.state.curve
        assert again.state.best_epoch == whole.state.best_epoch
        for name, value in again.choose().items():
            assert torch.equal(value, last[name]), name
        for name, value in trainable(again.learner).items():
            assert torch.equal(value, trainable(whole.learner)[name]), name


def test_the_earliest_best_epoch_on_validation_is_kept_for_each_member(toy_tower: TextTower, toy_desk: Desk) -> None:
    config = _config("class contexts", "seeds=[0,1,2]", "select=best", "optim.rate=0.02")
    val = resident(toy_desk.split("test"), config, CPU)
    val = Samples(val.features_NVTD[::4], val.label_N[::4])  # so few that epochs are equally good
    fleet = _fleet(config, toy_desk, toy_tower)
    seen, ties = [], 0
    fleet.run(val, silent, lambda fleet: seen.append(fleet.learner.score(val.features_NVTD).clone()))
    fleet.choose()
    chosen = fleet.learner.score(val.features_NVTD)
    for member in range(3):
        tops = [float(top_k_hits(scores[member].numpy(), val.label_N.numpy(), 1).mean()) for scores in seen]
        assert fleet.tested_epoch(member) == int(np.argmax(tops)) + 1
        assert torch.equal(chosen[member], seen[int(np.argmax(tops))][member])
        ties += tops.count(max(tops)) - 1
    assert ties
    assert len(set(fleet.state.best_epoch.values())) > 1 or min(fleet.state.best_epoch.values()) < 7


def test_a_member_that_diverges_stops_alone(toy_tower: TextTower, toy_desk: Desk) -> None:
    config = _config("pairwise", "seeds=[0,1,2]")
    fleet = _fleet(
        config, toy_desk, toy_tower, **{"optim.rate": [2e-3, 1e3, 2e-3], "optim.module_rate": [5e-4, 1e3, 5e-4]}
    )
    fleet.run(resident(toy_desk.split("test"), config, CPU), silent)
    assert list(fleet.state.stopped) == [1]
    assert 1 <= fleet.state.stopped[1] <= 7
    alone = _fleet(config.model_copy(update={"seeds": (2,)}), toy_desk, toy_tower)
    alone.run(None, silent)
    assert max(_differences(fleet, alone, 2).values()) <= 1e-4


@pytest.mark.parametrize(
    "kind", ["shared contexts", "pairwise", "released", "lstm over contexts", "actionclip", "linear"]
)
def test_in_bfloat16_it_learns_the_same_to_the_precision_of_bfloat16(
    kind: str, toy_tower: TextTower, toy_desk: Desk
) -> None:
    losses = []
    for compute in ("float32", "bfloat16"):
        fleet = _fleet(_config(kind, f"optim.compute={compute}", "seeds=[0,1]", "optim.epochs=3"), toy_desk, toy_tower)
        fleet.run(None, silent)
        assert all(p.dtype == torch.float32 for p in trainable(fleet.learner).values())
        losses.append(np.array([epoch.loss_E for epoch in fleet.state.curve]))
    assert not np.array_equal(losses[0], losses[1])
    np.testing.assert_allclose(losses[1], losses[0], rtol=0.05)


def test_training_twice_gives_the_same_numbers(toy_tower: TextTower, toy_desk: Desk) -> None:
    results = []
    for _ in range(2):
        fleet = _fleet(_config("pairwise", "optim.epochs=3"), toy_desk, toy_tower)
        fleet.run(resident(toy_desk.split("test"), fleet.members[0], CPU), silent)
        results.append((fleet.state.curve, [p.detach() for p in trainable(fleet.learner).values()]))
    assert results[0][0] == results[1][0]
    assert all(torch.equal(one, two) for one, two in zip(results[0][1], results[1][1], strict=True))
    assert results[0][0][-1].loss_E[0] < results[0][0][0].loss_E[0]  # the loss falls


def test_contexts_that_do_not_fit_the_tower_are_refused_with_the_numbers(toy_tower: TextTower, toy_desk: Desk) -> None:
    with pytest.raises(UsageError, match=r"context\.tokens=75 makes the longest prompt 81 tokens; .* reads 77"):
        _fleet(_config("class contexts", "context.tokens=75"), toy_desk, toy_tower)


def test_one_training_video_is_refused(toy_tower: TextTower, toy_desk: Desk) -> None:
    config = _config("class contexts")
    learner, train, chosen, members = learner_of(config, toy_desk, toy_tower, {})
    with pytest.raises(DataError, match="at least 2 are needed"):
        Fleet(learner, members, train, chosen[:, :1])


def test_warm_up_then_half_a_cosine() -> None:
    factors = [rate_factor(step, 100, 10) for step in range(100)]
    assert factors[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    assert factors[10] == pytest.approx(1.0)
    assert factors[55] == pytest.approx(0.5)
    assert 0 < factors[99] < 0.001
    assert rate_factor(0, 10, 0) == 1.0


def test_pooled_videos_are_unit_means(toy_desk: Desk) -> None:
    frames = toy_desk.split("test")
    video = pool(torch.from_numpy(frames.features_NVTD))
    expected = F.normalize(torch.from_numpy(frames.features_NVTD[:, 0].astype(np.float32)).mean(dim=1), dim=-1)
    assert torch.equal(video, expected)
