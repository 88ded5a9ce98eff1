"""Videos and a trained run in, its opinion of them out: video → frames → features → model, no cache and no list."""

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from plfeat.backbone.tower import tower_of
from plfeat.config import TrainConfig
from plfeat.errors import CacheError, DataError, UsageError
from plfeat.extract.encode import ShardMaker
from plfeat.extract.make import jobs
from plfeat.extract.plan import Chunk, frames_of
from plfeat.flows.backbones import open_backbone
from plfeat.flows.evaluate import open_member
from plfeat.flows.trained import able_member
from plfeat.frames.kit import Kit, config_of, gather
from plfeat.means import Means
from plfeat.progress import MODEL, stage
from plfeat.recipe import Recipe, Take, differences
from plfeat.records import Tick
from plfeat.shards.catalogue import Seen
from plfeat.shards.growth import MISSING
from plfeat.shards.hdf5 import unpack
from plfeat.shards.schema import FAILED, Shard
from plfeat.train.build import Bare, Material
from plfeat.train.explain import Explanation, explain, words_of
from plfeat.train.matcher import Matcher
from plfeat.video.digest import digests


@dataclass(frozen=True)
class Prediction:
    """A video's best classes with their probabilities; or why there are none."""

    video: str
    best: list[tuple[str, float]]
    error: str = ""
    frame_index: tuple[int, ...] = ()
    why: Explanation | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def predict(
    folder: Path,
    videos: list[Path],
    top: int,
    tick: Tick,
    means: Means,
    *,
    explained: bool = False,
    pretrained: str | None = None,
    device: str | None = None,
) -> list[Prediction]:
    """One for each video, in order. Frames are chosen, decoded and encoded as they were for the run's own features."""
    config, classes, about = able_member(folder, top, explained)
    if not videos:
        return []
    with stage(tick, MODEL):
        kit = _kit(folder, about, pretrained, device)
    features_NVTD, indices, errors = _features(kit, _takes(folder, about), videos, tick, means)
    if all(errors):
        return [Prediction(str(video), [], error) for video, error in zip(videos, errors, strict=True)]
    material = Material(
        text=Bare(tower_of(kit.backbone)),
        classes=classes,
        templates=tuple(about["templates"]),
        frames=features_NVTD.shape[2],
        width=features_NVTD.shape[3],
    )
    learner = open_member(folder, material, kit.encoder.device)
    features = torch.from_numpy(features_NVTD).to(kit.encoder.device)
    scores_NC = learner.score(features)[0].cpu().numpy()
    bad = ~np.isfinite(scores_NC).all(axis=1)
    if bad.any():
        raise DataError(
            f"run {folder}: its scores of {int(bad.sum())} of {len(features)} videos are not numbers; train it again"
        )
    found, place = [], 0
    for video, index, error in zip(videos, indices, errors, strict=True):
        if error:
            found.append(Prediction(str(video), [], error))
            continue
        order = np.argsort(-scores_NC[place], kind="stable")[:top]
        best = [(classes[c], float(scores_NC[place, c])) for c in order]
        why = _why(learner, config, material, int(order[0]), features[place, 0]) if explained else None
        found.append(Prediction(str(video), best, "", index, why))
        place += 1
    return found


def _why(learner: Any, config: TrainConfig, material: Material, label: int, frames_TD: torch.Tensor) -> Explanation:
    assert isinstance(learner, Matcher)
    context, template = config.context, None
    if config.text.source == "templates":
        template = config.text.template or material.templates[0]
    words = words_of(material.tower, material.classes[label], template, context.tokens, context.position)
    return explain(learner, words, label * learner.per_class, frames_TD)


def _takes(folder: Path, about: dict[str, Any]) -> tuple[Take, ...]:
    """What the run was tested on."""
    takes = tuple(Take.named(name) for name in about["takes"]["test"])
    if takes[0].kind == "dense":
        raise UsageError(f"run {folder}: trained on densely sampled frames; predict samples segments only")
    return takes


def _kit(folder: Path, about: dict[str, Any], pretrained: str | None, device: str | None) -> Kit:
    """What made the features that the run was trained on."""
    try:
        _takes(folder, about)
        recipe = Recipe.of(about["recipe"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"run {folder}: its header says nothing about {error}; train it again") from error
    named = Path(pretrained) if pretrained is not None and Path(pretrained).is_file() else None
    if pretrained is not None:
        source = {"pretrained": "file" if named else pretrained, "weights": named and str(named)}
        recipe = replace(recipe, source=source)
    elif recipe.source.get("pretrained") == "file" and not Path(recipe.source.get("weights") or "").is_file():
        raise UsageError(f"run {folder}: its backbone's weights came from a file; name it with --pretrained FILE")
    kit = gather(config_of(recipe, named, device=device), open_backbone)
    for fact in ("image_sha256", "activation"):
        expected, found = recipe.encoder[fact], kit.recipe.encoder[fact]
        if found != expected:
            raise CacheError(f"run {folder}: its backbone had {fact} {expected[:16]}, this one has {found[:16]}")
    same = {"preprocess": kit.recipe.preprocess}
    for key, expected, found in differences({"preprocess": recipe.preprocess}, same):
        raise CacheError(f"run {folder}: its features were made with {key} {expected}, here it would be {found}")
    return kit


def _features(
    kit: Kit, takes: tuple[Take, ...], videos: list[Path], tick: Tick, means: Means
) -> tuple[NDArray[np.float32], list[tuple[int, ...]], list[str]]:
    """Features `[n, V, T, D]` of the n good videos; for every video its frames, and what went wrong."""
    digest_N = list(digests(videos))
    files = {key: _seen(key, path) for key, path in zip(digest_N, videos, strict=True) if key}
    chunk, shards = Chunk(dict.fromkeys(files, takes)), list[Shard]()
    if files:
        with kit.crew(means, frames_of(takes)) as crew:
            maker = ShardMaker(kit)
            for number, clip in enumerate(crew.run(jobs(chunk, files)), 1):
                maker.add(clip)
                tick("looking", number, len(files))
            shards = maker.finish(chunk)
    rows, indices, errors = [], list[tuple[int, ...]](), list[str]()
    for key in digest_N:
        error, looks = _looks(shards, list(files).index(key)) if key else (MISSING, [])
        errors.append(error)
        indices.append(tuple(looks[0][1].tolist()) if looks else ())
        rows += [np.stack([unpack(features).astype(np.float32) for features, _ in looks])] if looks else []
    return np.stack(rows) if rows else np.zeros((0, 0, 0, 0), np.float32), indices, errors


def _looks(shards: list[Shard], place: int) -> tuple[str, list[tuple[NDArray[Any], NDArray[np.int32]]]]:
    """Why a video has no features; or its features and frame numbers, view by view."""
    looks = []
    for shard in shards:
        start, end = shard.video_ptr[place : place + 2].tolist()
        if shard.status_N[place] == FAILED:
            return shard.error_N[place], []
        looks.append((shard.features_RX[start:end], shard.frame_index_R[start:end]))
    return "", looks


def _seen(key: str, path: Path) -> Seen:
    about = path.stat()
    return Seen(key, "", os.path.abspath(path), about.st_size, about.st_mtime_ns)
