"""Training over the cache is training with both towers frozen, every frame decoded and encoded again in every step."""

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from conftest import ONE, learner_of, quick

from plfeat.backbone.text import TextTower
from plfeat.config import ExtractConfig
from plfeat.extract.encode import ShardMaker
from plfeat.extract.make import jobs
from plfeat.extract.plan import Chunk
from plfeat.flows.desks import open_desk
from plfeat.flows.extract import extract, prepare
from plfeat.records import silent
from plfeat.settings import build
from plfeat.shards.hdf5 import unpack
from plfeat.train.batches import epoch_plan
from plfeat.train.checkpoint import member_tensors
from plfeat.train.fleet import Fleet, Samples, trainable
from plfeat.video.crew import Decoded
from plfeat.video.job import CENTRE


class Live:
    """In the place of cached features: videos are decoded and encoded when they are asked for, never before."""

    def __init__(self, clips: Iterator[Decoded], maker: ShardMaker, keys: list[str]) -> None:
        self.clips, self.maker, self.keys = clips, maker, keys
        self.device, self.shape, self.encoded = torch.device("cpu"), (len(keys), 1), 0

    def __getitem__(self, which: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        rows, _ = which
        asked = [self.keys[row] for row in rows.flatten().tolist()]
        for _ in asked:
            self.maker.add(next(self.clips))
        (shard,) = self.maker.finish(Chunk(dict.fromkeys(asked, CENTRE)))
        self.encoded += len(asked)
        features = torch.tensor(unpack(shard.features_RX))
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
    desk = open_desk(extract(config, small_folder, tmp_path / "cache", silent, ONE).path)
    few = [f"optim.epochs={epochs}", "optim.batch=16", "interaction.hidden=16", "seeds=[0]"]
    settings = quick(preset, few, "head.kind=lstm")
    learner, train, chosen, members = learner_of(settings, desk, toy_tower, {})
    untrained = copy.deepcopy(learner)
    cached = Fleet(learner, members, train, chosen)
    cached.run(None, silent)
    work = prepare(config, small_folder, tmp_path / "cache", silent)
    by_name = {row.name: row.video for row in desk.videos.rows}
    keys = [by_name[name] for name in desk.split("train").id_N]
    plans = [epoch_plan((0,), epoch, chosen, train.label_N, 16, 1, 1, torch.device("cpu")) for epoch in range(epochs)]
    order = [row for plan in plans for batch in plan for row in batch.video_EB.flatten().tolist()]
    with work.kit.crew(ONE, 8) as crew:
        wanted = (job for row in order for job in jobs(Chunk({keys[row]: CENTRE}), work.found.files))
        features = Live(crew.run(wanted), ShardMaker(work.kit), keys)
        live = Fleet(untrained, members, Samples(features, train.label_N), chosen)  # type: ignore[arg-type]
        live.run(None, silent)
    assert features.encoded == epochs * 24
    assert live.adamw.count == cached.adamw.count == epochs * 2
    over_cache = member_tensors(dict(trainable(cached.learner)), 0)
    for name, value in member_tensors(dict(trainable(live.learner)), 0).items():
        assert float((over_cache[name] - value).norm() / value.norm()) <= 1e-4, name
