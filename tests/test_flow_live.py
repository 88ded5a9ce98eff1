"""Training over the cache is training with both towers frozen, every frame decoded and encoded again in every step."""

import copy
from pathlib import Path

import pytest
import torch
from conftest import ONE, learner_of, quick
from plfeat.flows.work import prepare

from plfeat.backbone.text import TextTower
from plfeat.config import ExtractConfig
from plfeat.flows.extract import extract
from plfeat.records import VideoRef, silent
from plfeat.settings import build
from plfeat.shards.hdf5 import unpack
from plfeat.shards.reader import open_cache
from plfeat.train.batches import epoch_plan
from plfeat.train.checkpoint import member_tensors
from plfeat.train.fleet import Fleet, Samples, trainable


class Live:
    """In the place of cached features: videos are decoded and encoded when they are asked for, never before."""

    def __init__(self, clips, maker, videos: list[VideoRef]) -> None:
        self.clips, self.maker, self.videos = clips, maker, videos
        self.device, self.shape, self.encoded = torch.device("cpu"), (len(videos), 1), 0

    def __getitem__(self, which: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        rows, _ = which
        asked = [self.videos[row] for row in rows.flatten().tolist()]
        shard = self.maker.make(asked, self.clips, frozenset(), lambda done: None)
        self.encoded += len(asked)
        features = torch.tensor(unpack(shard.features_RD))
        return features.view(*rows.shape, -1, features.shape[1])


@pytest.mark.parametrize(
    ("preset", "epochs"),
    [
        ("plfeat", 3),
        pytest.param("plfeat", 10, marks=pytest.mark.slow),
        pytest.param("prompts", 10, marks=pytest.mark.slow),
    ],
)
def test_steps_over_the_cache_are_live_steps(
    preset: str, epochs: int, small_folder: Path, toy_tower: TextTower, tmp_path: Path
) -> None:
    config = build(ExtractConfig, dataset="toy", model="toy", dtype="float32", batch=8)
    cache = open_cache(extract(config, small_folder, tmp_path / "cache", silent, ONE).path)
    few = [f"optim.epochs={epochs}", "optim.batch=16", "interaction.hidden=16", "seeds=[0]"]
    settings = quick(preset, few, "head.kind=lstm")
    learner, train, chosen, members = learner_of(settings, cache, toy_tower, {})
    untrained = copy.deepcopy(learner)
    cached = Fleet(learner, members, train, chosen)
    cached.run(None, silent)
    work = prepare(config, small_folder)
    by_id = {video.id: video for video in work.dataset.videos}
    videos = [by_id[name] for name in cache.read("train").id_N]
    plans = [epoch_plan((0,), epoch, chosen, train.label_N, 16, 1, 1, torch.device("cpu")) for epoch in range(epochs)]
    order = [row for plan in plans for batch in plan for row in batch.video_EB.flatten().tolist()]
    with work.kit.crew(ONE) as crew:
        maker = work.kit.maker()
        features = Live(crew.run(maker.job(videos[row]) for row in order), maker, videos)
        live = Fleet(untrained, members, Samples(features, train.label_N), chosen)  # type: ignore[arg-type]
        live.run(None, silent)
    assert features.encoded == epochs * 24
    assert live.adamw.count == cached.adamw.count == epochs * 2
    over_cache = member_tensors(dict(trainable(cached.learner)), 0)
    for name, value in member_tensors(dict(trainable(live.learner)), 0).items():
        assert float((over_cache[name] - value).norm() / value.norm()) <= 1e-4, name
