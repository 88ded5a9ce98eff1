"""A trained run and a cache in, what the run says about the cache's videos out. And chance, the lowest rung."""

import time
from dataclasses import replace
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
import torch

from plfeat.backbone.vision import choose_device
from plfeat.config import LEARNED
from plfeat.errors import DataError, UsageError
from plfeat.flows.material import material_of
from plfeat.progress import READING, stage
from plfeat.flows.runs import about_run, keep_run, method_of, run_of
from plfeat.flows.splits import read
from plfeat.flows.trained import fitting_member, fitting_runs
from plfeat.records import FrameSet, Run, Tick, silent
from plfeat.report.runs import UNSAID, load_run
from plfeat.shards.reader import Cache
from plfeat.train.build import Material, build_learner, build_tip, resident
from plfeat.train.checkpoint import load_member
from plfeat.train.fleet import Learner
from plfeat.train.member import read_member


def evaluate(
    folder: Path,
    cache: Cache,
    out: Path,
    split: str | None = None,
    pretrained: str | None = None,
    device: str | None = None,
    views: int | None = None,
    tick: Tick = silent,
) -> Run:
    """Tests a trained run again, on any split, or on another dataset's cache, whose classes it has never seen. Of the
    cached views only the first so many are looked at."""
    started, split = time.perf_counter(), split or cache.evaluation
    config, about = fitting_member(folder, cache)
    templates = tuple(about["templates"])
    with stage(tick, READING):
        frames = read(cache, split)
    on = torch.device(choose_device(device))
    learner = open_member(folder, material_of(cache, frames, pretrained, templates, tick), on)
    cached = frames.features_NVTD.shape[1]
    if views is not None and views > cached:
        raise UsageError(f"eval --views {views}: cache {cache.path} has {cached} of a video in split {split!r}")
    scores_NC = learner.score(resident(frames, config, on).features_NVTD[:, :views])[0].cpu().numpy()
    own = about["fingerprint"] == cache.fingerprint
    origin = f"{about['dataset']} @{about['fingerprint'][:6]}"  # the same dataset may be split or sampled otherwise
    method = method_of(config, templates) if templates else method_of(config)
    method += ("" if own else f", from {origin}") + ("" if views in (None, cached) else f", views={views}")
    record = {
        **about_run(cache, frames, on),
        "numerics": about.get("numerics", UNSAID),  # of the training: what is scored is scored in float32
        "split": split,
        "views": views or cached,
        "config": config.model_dump(mode="json"),
        "run": folder.name,
        "training": about["training"],
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
    tick: Tick = silent,
) -> list[Run]:
    """Every run at or below the folders, each into a folder of its own under `out`."""
    found, taken = fitting_runs(folders, cache), list[Path]()
    for folder, about in found.items():
        identity = _identity(about["training"], split or cache.evaluation, views, cache)
        taken.append(_place(out, folder, identity, taken))
    done: list[Run] = []
    for folder, place in zip(found, taken, strict=True):
        tick("testing", len(done), len(found))
        done.append(evaluate(folder, cache, place, split, pretrained, device, views, tick))
    tick("testing", len(done), len(found))
    return done


def _identity(training: str, split: str, views: int | None, cache: Cache) -> dict[str, Any]:
    """What makes an evaluation another one, by its record's keys."""
    cached = cache.spec["sampler"]["views" if split == "train" else "test_views"]
    return {"training": training, "split": split, "views": views or cached, "fingerprint": cache.fingerprint}


def _place(out: Path, folder: Path, wanted: dict[str, Any], taken: list[Path]) -> Path:
    """Named after the last two parts of the run's folder, with a number where that is another evaluation's."""
    whole = folder.absolute()
    name = f"{whole.parent.name}-{whole.name}"
    for place in chain([out / name], (out / f"{name}-{number}" for number in count(2))):
        if place in taken:
            continue
        try:
            about = load_run(place).about
        except DataError:
            return place
        if {key: about.get(key) for key in wanted} == wanted:
            return place
    raise AssertionError


def open_member(folder: Path, material: Material, device: torch.device) -> Learner:
    """A trained run as a fleet of one."""
    config, _, about = read_member(folder)
    if config.method not in LEARNED:
        raise DataError(f"run {folder}: a {config.method} run keeps no model of its own; train it again on this cache")
    # a scale that did not learn is not among the tensors
    material = replace(material, start_scale=about["start_scale"])
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


def chance(cache: Cache, seeds: tuple[int, ...], out: Path) -> list[Run]:
    """Random scores, so that the first step of a ladder can be tested like every other."""
    test = read(cache, cache.evaluation)
    return [_guess(cache, test, seed, out / f"chance-{seed}") for seed in seeds]


def _guess(cache: Cache, test: FrameSet, seed: int, folder: Path) -> Run:
    scores = np.random.default_rng(seed).random((len(test.label_N), len(cache.classes)), dtype=np.float32)
    about = {**about_run(cache, test), "config": {"seeds": [seed]}, "seconds": 0.0}
    return keep_run(run_of("chance", seed, scores, cache, test, about), folder)
