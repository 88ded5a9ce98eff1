"""What an extraction is, decided before the first video is opened: the list, the encoder, the spec, the shards."""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from plfeat.backbone.load import Backbone
from plfeat.backbone.vision import Batches, FrameEncoder, choose_device
from plfeat.config import ExtractConfig
from plfeat.errors import UsageError
from plfeat.files import sha256_of_json
from plfeat.flows.backbones import open_backbone
from plfeat.flows.encode import ShardMaker
from plfeat.flows.given import Listed, check_model, list_videos, weights_of
from plfeat.means import Means, number
from plfeat.progress import MODEL, stage
from plfeat.records import Dataset, Tick, VideoRef, silent
from plfeat.shards.schema import FORMAT, fingerprint, shard_name
from plfeat.video.augment import about as about_augment
from plfeat.video.crew import Crew
from plfeat.video.decode import DEFAULT, decoder_version
from plfeat.video.job import Orders
from plfeat.video.sampling import Sampler

_MOST_AHEAD = 256  # videos
_BATCH = {"cuda": 256, "cpu": 32}  # frames; a CPU gains nothing from more
OTHER = {"decord": "pyav", "pyav": "decord"}


def local_device(wanted: str | None, environment: Mapping[str, str] = os.environ) -> str:
    """The device, where there are several of a kind that of this process among those of its machine."""
    device, rank = choose_device(wanted), number(environment, "LOCAL_RANK", number(environment, "SLURM_LOCALID", 0))
    return f"cuda:{rank % torch.cuda.device_count()}" if device == "cuda" and rank else device


@dataclass(frozen=True)
class Portion:
    """The videos of one shard: fixed by the sorted list alone."""

    name: str
    videos: list[VideoRef]


@dataclass(frozen=True)
class Kit:
    """What makes features of videos, whichever videos they are. `about` is its part of the spec."""

    config: ExtractConfig
    backbone: Backbone
    encoder: FrameEncoder
    sampler: Sampler
    decoder: str
    about: dict[str, Any]

    @property
    def device(self) -> str:
        return str(self.encoder.device)

    @property
    def batch(self) -> int:
        return int(self.about["features"]["batch"])

    def maker(self) -> ShardMaker:
        sample = self.config.sample
        return ShardMaker(
            self.encoder,
            self.sampler,
            Batches(self.encoder, self.batch),
            self.config.dtype,
            sample.views,
            sample.test_views,
            self.config.augment,
        )

    def crew(self, means: Means) -> Crew:
        fallback = OTHER[self.decoder] if self.config.fallback else None
        ahead = 2 * self.encoder.ahead * self.batch // (1 if self.sampler.dense else self.sampler.frames)
        return Crew(means.workers, Orders(self.sampler, self.decoder, fallback, means.limit), min(ahead, _MOST_AHEAD))


@dataclass(frozen=True)
class Work:
    """A kit and a list of videos: all that is decided before the first one is opened."""

    kit: Kit
    dataset: Dataset
    sizes: dict[str, int | None]  # bytes; None for a video without a file
    spec: dict[str, Any]

    @cached_property
    def absent(self) -> frozenset[str]:
        return frozenset(video for video, size in self.sizes.items() if size is None)

    @cached_property
    def present(self) -> list[VideoRef]:
        return [video for video in self.dataset.videos if video.id not in self.absent]

    @cached_property
    def portions(self) -> list[Portion]:
        found = []
        for split, members in groupby(self.dataset.videos, key=lambda video: video.split):
            videos, size = list(members), self.kit.config.shard
            starts = range(0, len(videos), size)
            found += [Portion(shard_name(split, n), videos[at : at + size]) for n, at in enumerate(starts)]
        return found

    def folder(self, cache_root: Path) -> Path:
        """Where the cache lies. If a cache itself is named, that one is continued, or refused if it is another's."""
        named = (cache_root / "spec.json").exists()
        return cache_root if named else cache_root / self.dataset.name / fingerprint(self.spec)


def prepare(config: ExtractConfig, root: Path, tick: Tick = silent) -> Work:
    check_model(config)
    return equip(config, list_videos(config, root, tick), tick)


def equip(config: ExtractConfig, listed: Listed, tick: Tick) -> Work:
    """The list, and what makes features of its videos."""
    with stage(tick, MODEL):
        kit = gather(config)
    spec = {"dataset": _about_dataset(listed.dataset, listed.sizes), **kit.about}
    return Work(kit, listed.dataset, listed.sizes, spec)


def gather(config: ExtractConfig) -> Kit:
    decoder = config.decoder or DEFAULT
    decoders = _about_decoders(decoder, config.fallback)
    device = local_device(config.device)
    compute = config.compute or ("float32" if device == "cpu" else "float16")
    backbone = open_backbone(config.model, weights_of(config), config.activation, config.preprocess.said)
    encoder = FrameEncoder(backbone.model, backbone.preprocess, device, compute, config.also, config.compile)
    sample = config.sample
    sampler = Sampler(sample.frames, sample.seed, sample.every, sample.fps, sample.cap)
    about = {
        "format": FORMAT,
        "model": backbone.about,
        "preprocess": encoder.pixels.about,
        "sampler": sampler.about | {"views": sample.views, "test_views": sample.test_views},
        "augment": about_augment(config.augment),
        "decoder": decoders,
        "features": {
            "also": list(config.also),
            "dtype": config.dtype,
            "compute": compute,
            "device": encoder.device.type,
            "compiled": config.compile,
            "batch": config.batch or _BATCH[encoder.device.type],
        },
        "shard": config.shard,
    }
    return Kit(config, backbone, encoder, sampler, decoder, about)


def _about_dataset(dataset: Dataset, sizes: dict[str, int | None]) -> dict[str, Any]:
    """The list of videos is hashed with the files' sizes: the same names with other sizes are another dataset."""
    listing = [[v.id, v.label, v.split, v.start, v.end, sizes[v.id]] for v in dataset.videos]
    return {
        "name": dataset.name,
        "classes": list(dataset.classes),
        "group": list(dataset.group),
        "mirror": list(dataset.mirror),
        "splits": dict(Counter(video.split for video in dataset.videos)),
        "list_sha256": sha256_of_json(listing),
    }


def _about_decoders(decoder: str, fallback: bool) -> dict[str, str]:
    about = {"name": decoder, "version": decoder_version(decoder)}
    if fallback:
        about |= {"fallback": OTHER[decoder], "fallback_version": decoder_version(OTHER[decoder])}
    return about


def require_videos_for_views(work: Work) -> None:
    """Views that no video of the list is taken in would only make another cache of the same features."""
    sample, there = work.kit.config.sample, work.spec["dataset"]["splits"].keys()
    for key, views, none in (
        ("sample.views", sample.views, "train" not in there),
        ("sample.test_views", sample.test_views, there <= {"train"}),
    ):
        if views > 1 and none:
            raise UsageError(
                f"{key}={views}: no video of {work.dataset.name} has them, all are {', '.join(there)} videos"
            )
