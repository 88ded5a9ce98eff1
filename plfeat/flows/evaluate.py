"""A trained run and a cache in, what the run says about the cache's videos out. And chance, the lowest rung."""

import time
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
import torch

from plfeat.backbone.vision import choose_device
from plfeat.config import LEARNED, TrainConfig
from plfeat.errors import CacheError, DataError, UsageError
from plfeat.flows.splits import read
from plfeat.flows.train import about_run, keep_run, material_of, method_of, run_of
from plfeat.records import FrameSet, Run
from plfeat.report.runs import find_runs
from plfeat.shards.reader import Cache
from plfeat.train.build import Material, build_learner, build_tip, resident
from plfeat.train.checkpoint import MODEL, load_member, read_member
from plfeat.train.fleet import Learner


def evaluate(
    folder: Path,
    cache: Cache,
    out: Path,
    split: str | None = None,
    pretrained: str | None = None,
    device: str | None = None,
    views: int | None = None,
) -> Run:
    """Tests a trained run again, on any split, or on another dataset's cache, whose classes it has never seen. Of the
    cached views only the first so many are looked at."""
    started, split = time.perf_counter(), split or cache.evaluation
    config, about = fitting_member(folder, cache)
    frames = read(cache, split)
    on = torch.device(choose_device(device))
    learner = open_member(folder, material_of(cache, frames, pretrained), on)
    cached = frames.features_NVTD.shape[1]
    if views is not None and views > cached:
        raise UsageError(f"eval --views {views}: cache {cache.path} has {cached} of a video in split {split!r}")
    scores_NC = learner.score(resident(frames, config, on).features_NVTD[:, :views])[0].cpu().numpy()
    own = about["fingerprint"] == cache.fingerprint
    origin = f"{about['dataset']} @{about['fingerprint'][:6]}"  # the same dataset may be split or sampled otherwise
    method = method_of(config) + ("" if own else f", from {origin}") + ("" if views is None else f", views={views}")
    record = {
        **about_run(cache, frames),
        "split": split,
        "views": views or cached,
        "config": config.model_dump(mode="json"),
        "run": folder.name,
        "trained_on": about["fingerprint"],
        "protocol": "tested again" if own else f"trained on {origin}, tested here without training",
        "seconds": time.perf_counter() - started,
    }
    return keep_run(run_of(method, config.seeds[0], scores_NC, cache, frames, record), out)


def evaluate_all(
    folders: list[Path],
    cache: Cache,
    out: Path,
    split: str | None = None,
    pretrained: str | None = None,
    device: str | None = None,
    views: int | None = None,
) -> list[Run]:
    """Every run at or below the folders, each into a folder of its own under `out`."""
    found = [folder for folder in find_runs(folders) if (folder / MODEL).is_file()]
    if not found:
        raise DataError(f"eval: no trained model under {', '.join(map(str, folders))}; `plfeat train` makes some")
    for folder in found:  # if one of them does not fit, nothing is written
        fitting_member(folder, cache)
    return [
        evaluate(folder, cache, out / name, split, pretrained, device, views)
        for folder, name in zip(found, _names(found), strict=True)
    ]


def _names(folders: list[Path]) -> list[str]:
    """A name for each, from its last two parts, and a number where others have these too."""
    names: list[str] = []
    for folder in folders:
        whole = folder.absolute()
        name = f"{whole.parent.name}-{whole.name}"
        names.append(next(free for free in chain([name], (f"{name}-{n}" for n in count(2))) if free not in names))
    return names


def fitting_member(folder: Path, cache: Cache) -> tuple[TrainConfig, dict[str, Any]]:
    """A member's settings and what its header says, or an error if it cannot be tested on this cache."""
    config, classes, about = read_member(folder)
    check_backbone(folder, about, cache)
    check_classes(folder, config, classes, cache)
    return config, about


def open_member(folder: Path, material: Material, device: torch.device) -> Learner:
    """A trained run as a fleet of one."""
    config, _, about = read_member(folder)
    if config.method not in LEARNED:
        raise DataError(f"run {folder}: a {config.method} run keeps no model of its own; train it again on this cache")
    learner: Learner
    if config.method == "tip-adapter-f":
        label_EK = _key_label(folder, about, len(material.classes))
        learner = build_tip([config], material, torch.zeros(*label_EK.shape, material.width, device=device), label_EK)
    else:
        learner = build_learner([config], material, device)
    load_member(learner, folder)
    return learner


def _key_label(folder: Path, about: dict[str, Any], classes: int) -> torch.Tensor:
    """The classes of the videos that a Tip-Adapter-F holds, `[1, K]`."""
    label = about.get("key_label")
    if not isinstance(label, list) or not all(isinstance(c, int) and 0 <= c < classes for c in label):
        raise DataError(f"run {folder}: its header does not say which classes its cached videos have")
    return torch.tensor([label])


def check_backbone(folder: Path, about: dict[str, Any], cache: Cache) -> None:
    """Features of another backbone are numbers of another kind, even where the widths agree."""
    for fact in ("model", "weights_sha256", "activation"):
        expected, found = about["spec"]["model"][fact], cache.spec["model"][fact]
        if found != expected:
            raise CacheError(
                f"run {folder}: trained over features with {fact} {expected[:16]}, "
                f"but cache {cache.path} has {found[:16]}"
            )


def check_classes(folder: Path, config: TrainConfig, classes: tuple[str, ...], cache: Cache) -> None:
    """What belongs to a class by its place cannot meet other classes, or the same in another order."""
    learned = config.text.source == "contexts" and config.context.learn and config.context.sharing == "class"
    if classes == cache.classes or (config.method == "match" and not learned):
        return
    what = "its contexts are" if config.method == "match" else "its weights are"
    if sorted(classes) == sorted(cache.classes):
        place = next(i for i, pair in enumerate(zip(classes, cache.classes, strict=True)) if pair[0] != pair[1])
        raise DataError(
            f"run {folder}: class {place} was {classes[place]!r}, in cache {cache.path} it is "
            f"{cache.classes[place]!r}: the same classes in another order"
        )
    raise DataError(
        f"run {folder}: {what} of its own {len(classes)} classes; cache {cache.path} has {len(cache.classes)} others. "
        "What is to be tested on other classes has to share its contexts: --set context.sharing=shared"
    )


def chance(cache: Cache, seeds: tuple[int, ...], out: Path) -> list[Run]:
    """Random scores, so that the first step of a ladder can be tested like every other."""
    test = cache.read(cache.evaluation)
    return [_guess(cache, test, seed, out / f"chance-{seed}") for seed in seeds]


def _guess(cache: Cache, test: FrameSet, seed: int, folder: Path) -> Run:
    scores = np.random.default_rng(seed).random((len(test.label_N), len(cache.classes)), dtype=np.float32)
    about = {**about_run(cache, test), "config": {"seeds": [seed]}, "seconds": 0.0}
    return keep_run(run_of("chance", seed, scores, cache, test, about), folder)
