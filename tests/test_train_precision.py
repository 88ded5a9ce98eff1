"""What a step keeps in single precision, what it adds up in one order, and what it does once instead of every time."""

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import learner_of, quick
from torch.utils._python_dispatch import TorchDispatchMode

from plfeat import device as devices
from plfeat.backbone.load import Backbone
from plfeat.backbone.text import TextTower
from plfeat.desk import Desk
from plfeat.loss.match import cosine
from plfeat.model.temporal import Mean
from plfeat.train.batches import Batch, distinct
from plfeat.train.fleet import Fleet
from plfeat.train.matcher import Coefficients, Matcher
from plfeat.train.sources import Fixed

FEW = ("optim.epochs=1", "optim.batch=16", "interaction.hidden=16", "seeds=[0,1]")


@pytest.fixture
def own_tower(toy_backbone: Backbone) -> TextTower:
    """To move and to change."""
    return TextTower(copy.deepcopy(toy_backbone.model), toy_backbone.tokenizer)


class Seen(TorchDispatchMode):
    """Every operation, with what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls.append((str(func), args, kwargs or {}))
        return func(*args, **(kwargs or {}))


def _like_clip(draw: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """40 texts `[40, 512]` and a video of each `[1, 40, 1, 512]`, with CLIP's cosines: texts among each other 0.8,
    videos and texts 0.2, those that belong together 0.06 more."""
    common, apart = F.normalize(torch.randn(2, 512, generator=draw), dim=1)
    own, noise = F.normalize(torch.randn(2, 40, 512, generator=draw), dim=2)
    texts = F.normalize(2 * common + own, dim=1)
    videos = F.normalize(2 * apart + noise + 0.6 * common + 0.3 * own, dim=1)
    return videos[None, :, None], texts


def test_cosines_of_a_step_in_bfloat16_lead_to_the_gradient_of_single_precision() -> None:
    """At a scale of 100 every rounding counts a hundred times."""
    videos, texts = _like_clip(torch.Generator().manual_seed(0))
    every, one = torch.arange(40)[None], torch.ones(1)
    coefficients = Coefficients(one, one, one, one, one, "rows", "sentence", False, False)
    matcher = Matcher(1, Mean(), Fixed(texts, None, None, 1), None, coefficients, 4.6052)
    gradients = []
    for halved in (False, True):
        frames = videos.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=halved):
            loss_E = matcher.loss(frames, Batch(every, every, every, every, every))
        loss_E.sum().backward()
        gradients.append(frames.grad)
    assert float((gradients[1] - gradients[0]).norm() / gradients[0].norm()) < 1e-6


def test_a_cosine_is_not_rounded_whatever_is_around_it() -> None:
    left, right = (
        F.normalize(torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(s)), dim=-1) for s in (0, 1)
    )
    with torch.autocast("cpu", torch.bfloat16):
        found = cosine(left, right)
    assert torch.equal(found, left @ right.mT)


@pytest.mark.parametrize("kind", ["prompts", "plfeat", "paper", "release"])
def test_where_samples_share_a_text_nothing_is_added_up_in_any_order(
    kind: str, own_tower: TextTower, toy_desk: Desk
) -> None:
    """A GPU scatters into one place with atomics, in whatever order; three numbers then have different sums."""
    learner, train, chosen, members = learner_of(quick(kind, FEW), toy_desk, own_tower, {})
    fleet = Fleet(learner, members, train, chosen)
    label_EB = torch.arange(18).expand(2, -1) // 6
    texts_EU, own_EB, _ = distinct(label_EB)
    rows = torch.arange(18).expand(2, -1)
    frames = train.features_NVTD[rows, torch.zeros_like(rows)]
    with Seen() as seen:
        fleet.step(frames, Batch(rows, torch.zeros_like(rows), label_EB, texts_EU[:, :3], own_EB), 1.0)
    scattered = [args for name, args, _ in seen.calls if "scatter_add" in name]
    for _, dim, index, *_ in scattered:
        ordered = index.sort(dim=dim).values
        assert not bool(
            (ordered.narrow(dim, 1, ordered.shape[dim] - 1) == ordered.narrow(dim, 0, ordered.shape[dim] - 1)).any()
        )


def test_a_frozen_tower_is_cast_once_and_says_the_same(own_tower: TextTower) -> None:
    """Autocast would cast its weights in every step; what comes out has the same bits."""
    ids, eot = own_tower.tokenize(["juggling apples.", "a man who juggles apples and balls."])
    weights = {tuple(p.shape) for p in own_tower.transformer.parameters() if p.dim() > 1}
    said, casts = {}, {}
    for frozen in (False, True):
        own_tower.requires_grad_(not frozen)
        with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
            own_tower(own_tower.embed(ids), eot)
        with torch.autocast("cpu", torch.bfloat16), torch.no_grad(), Seen() as seen:
            said[frozen] = own_tower(own_tower.embed(ids), eot)
        casts[frozen] = sum(
            name == "aten._to_copy.default" and tuple(args[0].shape) in weights for name, args, _ in seen.calls
        )
    assert casts[False] >= 4
    assert casts[True] == 0
    assert torch.equal(said[True].sentence_ND, said[False].sentence_ND)
    assert torch.equal(said[True].words_NLW, said[False].words_NLW)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        own_tower.transformer.resblocks[0].attn.in_proj_weight.mul_(2)
        assert not torch.equal(own_tower(own_tower.embed(ids), eot).sentence_ND, said[True].sentence_ND)


KINDS = {
    "prompts": ("prompts",),
    "a name among its contexts": ("prompts", "context.position=middle"),
    "shared": ("plfeat", "context.sharing=shared"),
    "paper": ("paper",),
    "coop": ("coop",),
    "actionclip": ("actionclip-transf", "head.layers=2"),
    "tip": ("tip-adapter-f",),
    "tuned": ("text-tuned", "seeds=[0]"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_no_copy_in_a_step_holds_up_whoever_makes_it(kind: str, own_tower: TextTower, toy_desk: Desk) -> None:
    """On `meta`: whatever comes from the CPU comes without waiting, indices too, and Python's numbers."""
    preset, *own = KINDS[kind]
    few = [f for f in FEW if not (f.startswith("seeds") and "seeds=[0]" in own)]
    config = quick(preset, few, *own)
    learner, train, chosen, members = learner_of(config, toy_desk, own_tower, {}, "meta")
    fleet = Fleet(learner, members, train, chosen)
    with Seen() as seen:
        for frames, batch in fleet.batches():
            fleet.step(frames, batch, 1.0)
        learner.score(train.features_NVTD)
    waits = []
    for name, args, kwargs in seen.calls:
        tensors = [
            value for value in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)
        ]
        kinds = {value.device.type for value in tensors if value.dim()}
        moved = "_to_copy" in name and kinds == {"cpu"} and str(kwargs.get("device", "cpu")) != "cpu"
        if (moved and not kwargs.get("non_blocking")) or len(kinds) > 1:
            waits.append(name)
    assert waits == []


def test_the_optimiser_takes_one_launch_an_operation_not_one_a_parameter(own_tower: TextTower, toy_desk: Desk) -> None:
    learner, train, chosen, members = learner_of(quick("plfeat", FEW), toy_desk, own_tower, {})
    fleet = Fleet(learner, members, train, chosen)
    fleet.step(*next(fleet.batches()), 1.0)
    with Seen() as seen:
        fleet.adamw.step(1.0)
    assert len(fleet.adamw.parameters) > 20
    assert sum("foreach" in name for name, *_ in seen.calls) == 10


def test_members_meet_in_one_attention_of_four_axes(own_tower: TextTower, toy_desk: Desk) -> None:
    """No fused kernel takes five."""
    config = quick("actionclip-transf", FEW, "head.layers=2")
    learner, train, *_ = learner_of(config, toy_desk, own_tower, {})
    with Seen() as seen, torch.no_grad():
        learner.video(train.features_NVTD[:4, 0].float().expand(2, -1, -1, -1))  # type: ignore[attr-defined]
    asked = [args[0].dim() for name, args, _ in seen.calls if "scaled_dot_product" in name]
    assert asked == [4, 4]


@pytest.mark.parametrize(("memory", "chunk"), [(80 << 30, 8 << 30), (24 << 30, (24 << 30) // 10), (1 << 30, 256 << 20)])
def test_a_large_gpu_gets_large_chunks(memory: int, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=memory))
    assert devices.chunk_bytes(torch.device("cuda")) == chunk
    assert devices.chunk_bytes(torch.device("cpu")) == 256 << 20
