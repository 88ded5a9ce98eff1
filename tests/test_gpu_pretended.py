"""The GPU path without a GPU: on tensors that only say they are on `cuda`, no stream overtakes another, nothing waits
that need not, and nothing is left behind on the CPU."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from pretended import GPU, Watch, pretended_gpu

from plfeat.backbone.load import Backbone
from plfeat.backbone.text import TextTower
from plfeat.backbone.vision import Batches, FrameEncoder, deviation
from plfeat.config import ExtractConfig
from plfeat.extract.encode import ShardMaker
from plfeat.extract.plan import Chunk
from plfeat.frames import kit as kits
from plfeat.frames.kit import Kit
from plfeat.presets import train_config
from plfeat.recipe import Recipe, Take
from plfeat.settings import build
from plfeat.train.build import Bare, Material, build_learner
from plfeat.train.explain import explain
from plfeat.train.matcher import Matcher
from plfeat.video.crew import Decoded
from plfeat.video.job import Answer, Job

PICTURE = np.zeros((40, 50, 3), np.uint8)


def _clip(key: str, looks: tuple[Take, ...]) -> Decoded:
    """Eight decoded frames, of which every look shows four."""
    picks = tuple(np.array([0, 2, 4, 6]) + look.view % 2 for look in looks)
    return Decoded(Job(key, key, looks), Answer((8, 40, 50, 3), picks, picks, "pyav"), np.stack([PICTURE] * 8))


def _shards(watch: Watch, backbone: Backbone, count: int, **settings: Any) -> None:
    """The shards of some chunks of 20 videos, 8 passes of 16 frames each, as an extraction makes them."""
    encoder = FrameEncoder(backbone.model, backbone.preprocess, "cuda", **settings)
    recipe = Recipe({}, {}, "pyav", "float16", "float32")
    kit = Kit(build(ExtractConfig, dataset="toy"), backbone, encoder, "pyav", recipe, 16)
    maker = ShardMaker(kit)
    watch.waits.clear()  # whatever was done once
    views = tuple(Take("random", 4, view=view, augment="flip") for view in range(2))
    for number in range(count):
        chunk = Chunk({f"{number}/{n}": views if n < 12 else (Take(frames=4),) for n in range(20)})
        for key, takes in chunk.takes.items():
            maker.add(_clip(key, takes))
        assert [made.features_RX.shape for made in maker.finish(chunk)] == [(12 * 4, 96), (12 * 4, 96), (8 * 4, 96)]


def test_an_extraction_overtakes_nothing_and_waits_for_single_passes_only(
    toy_backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never more than three passes are queued, in the fourth shard as in the first; there is no other wait, and float32
    is not rounded to TF32."""
    monkeypatch.setattr(kits, "accelerator", lambda device: {"name": "none"})
    with pretended_gpu() as watch:
        _shards(watch, toy_backbone, 4, also=("pre",))
        assert watch.races == []
        assert watch.waits == []
        assert watch.deepest == 3
        assert watch.flags == {False}
    assert torch.backends.cudnn.allow_tf32


def test_a_pass_leaves_the_gpu_before_the_shard_ends(toy_backbone: Backbone) -> None:
    """All patches of a shard would not fit it."""
    with pretended_gpu():
        encoder = FrameEncoder(toy_backbone.model, toy_backbone.preprocess, "cuda", also=("patch",))
        batches = Batches(encoder, 16)
        for _ in range(6):
            batches.add(encoder.blank(16))
        there = [done.result()["patch"].device.type for done in batches._passes]
        assert there == ["cpu"] * 6
        assert batches.finish()["patch"].shape[0] == 96


def test_the_deviation_reads_pictures_that_are_there(toy_backbone: Backbone) -> None:
    with pretended_gpu() as watch:
        encoder = FrameEncoder(toy_backbone.model, toy_backbone.preprocess, "cuda")
        assert deviation(encoder, toy_backbone.preprocess, [PICTURE] * 3)["pictures"] == 3
        assert watch.races == []


def test_frames_from_the_default_stream_are_waited_for(toy_backbone: Backbone) -> None:
    with pretended_gpu() as watch:
        encoder = FrameEncoder(toy_backbone.model, toy_backbone.preprocess, "cuda")
        frames = torch.zeros(20, 3, *encoder.pixels.size, dtype=torch.uint8, device=GPU)
        assert encoder.encode(frames, batch=16).shape == (20, 96)
        del frames
        torch.zeros(1, device=GPU)
        assert watch.races == []


def test_the_compiled_tower_meets_one_shape(toy_backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few pictures that are looked at first, or in a continued run not at all, must not decide what is compiled."""
    shapes, asked = [], []

    def compiled(tower: torch.nn.Module, **how: object) -> object:
        asked.append(how)
        return lambda pictures: shapes.append(tuple(pictures.shape)) or tower(pictures)

    monkeypatch.setattr(torch, "compile", compiled)
    encoder = FrameEncoder(toy_backbone.model, toy_backbone.preprocess, compiled=True)
    deviation(encoder, toy_backbone.preprocess, [PICTURE] * 3)
    encoder.encode(encoder.fit(np.stack([PICTURE] * 20)), batch=16)
    assert asked == [{"dynamic": False}]
    assert set(shapes) == {(16, 3, *encoder.pixels.size)}


@pytest.mark.parametrize("preset", ["text-tuned", "prompts", "plfeat"])
def test_a_run_is_explained_where_its_contexts_are(preset: str, toy_backbone: Backbone) -> None:
    """A tuned tower is the learner's own; the backbone's stays where it was."""
    tower = TextTower(copy.deepcopy(toy_backbone.model), toy_backbone.tokenizer)
    more = [] if preset == "prompts" else ["interaction.hidden=16", "interaction.text=mean"]
    config = train_config(preset, overrides=["seeds=[0]", *more])
    material = Material(Bare(tower), ("juggling apples", "folding boxes"), (), 4, 96, 2.0)
    with pretended_gpu():
        learner = build_learner([config], material, GPU)
        assert isinstance(learner, Matcher)
        why = explain(learner, ["a"], 1, torch.zeros(4, 96, device=GPU))
        assert len(why.contexts) == config.context.tokens
        assert len(why.frames) == 4
