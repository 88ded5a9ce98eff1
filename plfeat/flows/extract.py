"""Videos in, a cache out: datasets → video → backbone → shards."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch

from plfeat.backbone.vision import FrameEncoder
from plfeat.config import ExtractConfig
from plfeat.datasets import READERS
from plfeat.errors import CacheError, PlfeatError
from plfeat.files import sha256_of, sha256_of_json, write_json, write_text
from plfeat.flows.backbones import open_backbone
from plfeat.records import Dataset, Tick, VideoRef
from plfeat.shards.reader import open_cache, read_shard
from plfeat.shards.schema import FAILED, FORMAT, OK, Shard, fingerprint, shard_name
from plfeat.shards.writer import write_shard
from plfeat.video.decode import DecodeError, decoder_version, default_decoder, read_frames
from plfeat.video.sampling import segment_centres

STAGE = "encoding videos"


@dataclass(frozen=True)
class Extraction:
    """What an extraction left behind."""

    path: Path
    videos: int
    failed: int
    shards: int
    reused: int  # shards that were already there


def extract(config: ExtractConfig, root: Path, cache_root: Path, tick: Tick) -> Extraction:
    """Every video of a dataset, once. Running it again continues; a video that cannot be decoded never stops it."""
    dataset = READERS[config.dataset](root, config.dataset)
    decoder = config.decoder or default_decoder()
    version = decoder_version(decoder)
    backbone = open_backbone(config.model, config.pretrained)
    encoder = FrameEncoder(backbone.model, backbone.preprocess)
    spec = {
        "format": FORMAT,
        "dataset": _about(dataset),
        "model": backbone.about,
        "preprocess": encoder.about,
        "sampler": {"kind": "segment centres", "frames": config.sample.frames},
        "views": 1,
        "decoder": {"name": decoder, "version": version},
        "features": {"projection": "post", "dtype": config.dtype, "compute": "float32", "batch": config.batch},
        "shard": config.shard,
    }
    folder = cache_root / dataset.name / fingerprint(spec)
    _claim(folder, spec)
    maker = ShardMaker(encoder, decoder, config.sample.frames, config.batch, config.dtype)
    return _fill(folder, spec, dataset, config.shard, maker, tick)


@dataclass(frozen=True)
class ShardMaker:
    """Decodes and encodes the videos of one shard."""

    encoder: FrameEncoder
    decoder: str
    frames: int
    batch: int
    dtype: str

    def make(self, videos: list[VideoRef], decoded: Callable[[int], None]) -> Shard:
        """Batches run across videos and never beyond the shard. A video that fails is blank in its batch, so that every
        other video keeps its place there and its exact bits."""
        choose = partial(segment_centres, count=self.frames)
        blank = torch.zeros(self.frames, 3, *self.encoder.size, dtype=torch.uint8)
        waiting, features, indices, errors = blank[:0], [], [], []
        for done, video in enumerate(videos, 1):
            try:
                frames, chosen = read_frames(video.path, choose, self.decoder)
                fitted, error = self.encoder.fit(frames), ""
                indices.append(chosen)
            except DecodeError as reason:
                fitted, error = blank, str(reason)[:200]
            errors.append(error)
            waiting = torch.cat([waiting, fitted])
            while len(waiting) >= self.batch or (done == len(videos) and len(waiting)):
                features.append(self.encoder.encode(waiting[: self.batch], self.batch))
                waiting = waiting[self.batch :]
            decoded(done)
        good_N = np.array([not error for error in errors])
        with np.errstate(over="ignore"):
            rows = torch.cat(features).numpy()[good_N.repeat(self.frames)].astype(self.dtype)
        if not np.isfinite(rows).all():
            raise PlfeatError(f"features of {videos[0].id} or a later video overflow {self.dtype}; set dtype=float32")
        return Shard(
            features_RD=rows,
            frame_index_R=np.concatenate([*indices, np.empty(0)]).astype(np.int32),
            view_R=np.zeros(len(rows), np.int32),
            video_ptr=np.concatenate([[0], np.cumsum(self.frames * good_N)]).astype(np.int64),
            label_N=np.array([video.label for video in videos], np.int64),
            status_N=np.where(good_N, OK, FAILED).astype(np.uint8),
            id_N=tuple(video.id for video in videos),
            error_N=tuple(errors),
        )


def _about(dataset: Dataset) -> dict[str, Any]:
    """The list of videos is hashed with the files' sizes: the same names with other sizes are another dataset."""
    listing = [
        [video.id, video.label, video.split, video.path.stat().st_size if video.path.is_file() else -1]
        for video in dataset.videos
    ]
    return {
        "name": dataset.name,
        "classes": list(dataset.classes),
        "group": list(dataset.group),
        "mirror": list(dataset.mirror),
        "videos": len(listing),
        "list_sha256": sha256_of_json(listing),
    }


def _claim(folder: Path, spec: dict[str, Any]) -> None:
    path = folder / "spec.json"
    if not path.exists():
        write_json(path, spec)
        return
    try:
        same = json.loads(path.read_text()) == spec
    except (OSError, ValueError):
        same = False
    if not same:
        raise CacheError(f"cache {folder}: spec.json was edited; remove the folder or restore the file")


def _fill(folder: Path, spec: dict[str, Any], dataset: Dataset, size: int, maker: ShardMaker, tick: Tick) -> Extraction:
    entries, ledger, reused = [], [], 0
    hashes = _known_hashes(folder)
    for split, number, videos, done in _portions(dataset, size):
        path = folder / "shards" / shard_name(split, number)
        digest = hashes.get(path.name)
        shard = _kept(path, videos, digest)
        if shard is not None:
            reused += 1
            tick(STAGE, done + len(videos), len(dataset.videos))
        else:
            shard = maker.make(videos, _from(tick, done, len(dataset.videos)))
            write_shard(path, shard)
            digest = None
        for video, status, error in zip(videos, shard.status_N, shard.error_N, strict=True):
            if status != OK:
                ledger.append({"id": video.id, "path": str(video.path), "stage": "decode", "error": error})
        failed = int((shard.status_N != OK).sum())
        entries.append(
            {
                "name": path.name,
                "sha256": digest or sha256_of(path),
                "split": split,
                "videos": len(videos),
                "failed": failed,
            }
        )
    write_text(folder / "ledger.jsonl", "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in ledger))
    manifest = {
        "fingerprint": fingerprint(spec),
        "shards": entries,
        "videos": len(dataset.videos),
        "failed": len(ledger),
        "list_sha256": spec["dataset"]["list_sha256"],
    }
    write_json(folder / "manifest.json", manifest)
    return Extraction(folder, len(dataset.videos), len(ledger), len(entries), reused)


def _known_hashes(folder: Path) -> dict[str, str]:
    """What an earlier, finished run said about its shards; nothing if there was none or its manifest is damaged."""
    try:
        return {entry["name"]: entry["sha256"] for entry in open_cache(folder).manifest["shards"]}
    except CacheError:
        return {}


def _kept(path: Path, videos: list[VideoRef], known_hash: str | None) -> Shard | None:
    """The shard that is already there, if it is whole and holds just these videos."""
    if path.is_symlink() or not path.is_file() or (known_hash and sha256_of(path) != known_hash):
        return None
    try:
        shard = read_shard(path, verify=True)
    except CacheError:
        return None
    same = shard.id_N == tuple(video.id for video in videos) and shard.label_N.tolist() == [v.label for v in videos]
    return shard if same else None


def _from(tick: Tick, start: int, total: int) -> Callable[[int], None]:
    """Progress within a shard, counted over the whole dataset."""
    return lambda done: tick(STAGE, start + done, total)


def _portions(dataset: Dataset, size: int) -> Iterator[tuple[str, int, list[VideoRef], int]]:
    """Split, number within it, videos, and how many videos come before: fixed by the sorted list alone."""
    done = 0
    for split, members in groupby(dataset.videos, key=lambda video: video.split):
        videos = list(members)
        for number, start in enumerate(range(0, len(videos), size)):
            yield split, number, videos[start : start + size], done
            done += len(videos[start : start + size])
