"""Videos and a trained run in, its opinion of them out: video → frames → features → model, no cache and no dataset."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from plfeat.backbone.text import TextTower
from plfeat.config import ExtractConfig, TrainConfig
from plfeat.errors import CacheError, DataError, UsageError
from plfeat.flows.backbones import unsaid
from plfeat.flows.evaluate import open_member
from plfeat.means import Means
from plfeat.progress import MODEL, stage
from plfeat.flows.trained import able_member
from plfeat.flows.work import Kit, gather
from plfeat.records import Tick, VideoRef
from plfeat.settings import build
from plfeat.shards.folder import require_same
from plfeat.shards.hdf5 import unpack
from plfeat.train.build import Material
from plfeat.train.explain import Explanation, explain, words_of
from plfeat.train.matcher import Matcher


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
    """One for each video, in order. Frames are chosen, decoded and encoded as they were for the run's own cache."""
    config, classes, about = able_member(folder, top, explained)
    if not videos:
        return []
    with stage(tick, MODEL):
        kit = _kit(folder, about, pretrained, device)
    features_NVTD, indices, errors = _features(kit, videos, tick, means)
    material = Material(
        tower=TextTower(kit.backbone.model, kit.backbone.tokenizer),
        classes=classes,
        templates=tuple(about["templates"]),
        frames=features_NVTD.shape[2],
        width=features_NVTD.shape[3],
        start_scale=about["start_scale"],
    )
    learner = open_member(folder, material, kit.encoder.device)
    features = torch.from_numpy(features_NVTD).to(kit.encoder.device)
    scores_NC = learner.score(features)[0].cpu().numpy() if len(features) else np.zeros((0, len(classes)))
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


def _kit(folder: Path, about: dict[str, Any], pretrained: str | None, device: str | None) -> Kit:
    """What made the features that the run was trained on."""
    try:
        spec = about["spec"]
        model, sampler = spec["model"], spec["sampler"]
        if sampler["kind"] != "segments":
            raise UsageError(f"run {folder}: trained on densely sampled frames; predict samples segments only")
        chosen = model["pretrained"] if pretrained is None else pretrained
        if chosen == "file":
            raise UsageError(f"run {folder}: its backbone's weights came from a file; name it with --pretrained FILE")
        kit = gather(
            build(
                ExtractConfig,
                settings={
                    "dataset": "folder",
                    "model": model["model"],
                    "pretrained": chosen,
                    **unsaid(spec, chosen),
                    "sample.frames": sampler["frames"],
                    "sample.seed": sampler["seed"],
                    "sample.test_views": sampler["test_views"],
                    "decoder": spec["decoder"]["name"],
                    "fallback": "fallback" in spec["decoder"],
                    "dtype": spec["features"]["dtype"],
                    "device": device,
                },
            )
        )
    except KeyError as error:
        raise DataError(f"run {folder}: its header says nothing about {error}; train it again") from error
    for fact in ("weights_sha256", "activation"):
        expected, found = model[fact], kit.about["model"][fact]
        if found != expected:
            raise CacheError(f"run {folder}: its backbone had {fact} {expected[:16]}, this one has {found[:16]}")
    require_same({"preprocess": kit.about["preprocess"]}, {"preprocess": spec["preprocess"]}, f"run {folder}")
    return kit


def _features(
    kit: Kit, videos: list[Path], tick: Tick, means: Means
) -> tuple[NDArray[np.float32], list[tuple[int, ...]], list[str]]:
    """Features `[n, V, T, D]` of the n good videos; for every video its frames, and what went wrong."""
    refs = [VideoRef(f"{number}/{path.name}", path, 0, "test") for number, path in enumerate(videos)]
    absent = frozenset(ref.id for ref in refs if not ref.path.is_file())
    with kit.crew(means) as crew:
        maker = kit.maker()
        clips = crew.run(maker.job(ref) for ref in refs if ref.id not in absent)
        shard = maker.make(refs, clips, absent, lambda done: tick("looking", done, len(refs)))
    views, frames = kit.config.sample.test_views, kit.config.sample.frames
    rows = unpack(shard.features_RD).astype(np.float32)
    bounds = list(zip(shard.video_ptr, shard.video_ptr[1:], strict=False))
    return (
        rows.reshape(-1, views, frames, rows.shape[-1]),
        [tuple(shard.frame_index_R[start : start + frames].tolist()) if end > start else () for start, end in bounds],
        ["" if end > start else error for (start, end), error in zip(bounds, shard.error_N, strict=True)],
    )
