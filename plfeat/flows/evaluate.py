"""A trained run and a desk in, what the run says about the desk's videos out. And chance, the lowest rung."""

import csv
import io
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
import torch

from plfeat.backbone.vision import choose_device
from plfeat.config import LEARNED, DataConfig, TrainConfig
from plfeat.desk import Desk
from plfeat.errors import CacheError, DataError, UsageError
from plfeat.files import claimed, write_text
from plfeat.flows.classical import zero_shot
from plfeat.flows.fitting import material_of
from plfeat.flows.record import about_run, keep_run, method_of, place_of, recorded, run_of
from plfeat.flows.splits import read
from plfeat.flows.trained import fitting_member, fitting_runs
from plfeat.model.templates import TEMPLATES
from plfeat.progress import READING, stage
from plfeat.recipe import Take
from plfeat.records import FrameSet, Run, Tick, silent
from plfeat.report.runs import UNSAID, load_run
from plfeat.train.build import Material, build_learner, build_tip, resident
from plfeat.train.checkpoint import load_member
from plfeat.train.fleet import Learner
from plfeat.train.member import read_member

_BEST = 5  # names for each video


def evaluate(
    folder: Path,
    desk: Desk,
    out: Path,
    split: str | None = None,
    device: str | None = None,
    views: int | None = None,
    tick: Tick = silent,
) -> Run:
    """Tests a trained run again, on any split, or on another list, whose classes it has never seen; with its own
    templates and, over its own classes, its own words for them."""
    started, split = time.perf_counter(), split or desk.evaluation
    config, about = fitting_member(folder, desk)
    anyway, here = (_as_trained(folder, desk, split, wanted) for wanted in (None, views))
    chosen = choose_device(device)
    with stage(tick, READING):
        frames = read(here, split, config, chosen)
    on = torch.device(chosen)
    learner = open_member(folder, material_of(here, frames), on)
    scores_NC = learner.score(resident(frames, config, on).features_NVTD)[0].cpu().numpy()
    own, origin = _origin(about, desk)
    looked, usual = (len(at.takes["train" if split == "train" else "test"]) for at in (here, anyway))
    names = None if here.words == desk.videos.words else here.words
    method = method_of(config, tuple(about["templates"]) or TEMPLATES, names)
    method += ("" if own else f", from {origin}") + ("" if looked == usual else f", views={looked}")
    settings = recorded(config, here)
    settings["data"]["views"] = len(about["takes"]["train"])  # of the training
    record = {
        **about_run(here, frames, on),
        "numerics": about.get("numerics", UNSAID),  # of the training: what is scored is scored in float32
        "split": split,
        "views": looked,
        "config": settings,
        "run": folder.name,
        "training": about["training"],
        "trained_on": about["list"],
        "protocol": "tested again" if own else f"trained on {origin}, tested here without training",
        "seconds": time.perf_counter() - started,
    }
    return keep_run(run_of(method, config.seeds[0], scores_NC, here, frames, record), out)


def evaluate_all(
    folders: list[Path],
    desk: Desk,
    out: Path,
    split: str | None = None,
    device: str | None = None,
    views: int | None = None,
    tick: Tick = silent,
    fold: int | None = None,
) -> list[Run]:
    """Every run at or below the folders, each into a folder of its own under `out`: over its own list on its own fold,
    over another one on every fold; or on one that is named."""
    wanted: list[tuple[Path, Desk, Path]] = []
    taken: list[Path] = []
    for folder, about in fitting_runs(folders, desk).items():
        for one in _folds(about, desk, fold):
            at = split or one.evaluation
            here = _as_trained(folder, one, at, views)
            seen = len(here.takes["train" if at == "train" else "test"])
            told = {"training": about["training"], "split": at, "views": seen}
            told |= {key: one.facts[key] for key in ("fingerprint", "list", "fold")}
            taken.append(_place(place_of(out, one), folder, told, taken))
            wanted.append((folder, one, taken[-1]))
    done: list[Run] = []
    for folder, one, place in wanted:
        tick("testing", len(done), len(wanted))
        done.append(evaluate(folder, one, place, split, device, views, tick))
    tick("testing", len(done), len(wanted))
    return done


def _as_trained(folder: Path, desk: Desk, split: str, views: int | None) -> Desk:
    """The desk with what a run was trained with: its templates, its words where the classes are the same, and as many
    frames of a view."""
    config, classes, about = read_member(folder)
    given = desk.words != desk.videos.words
    words = classes if not given and tuple(about["raw_classes"]) == desk.videos.classes else desk.words
    taken = Take.named(about["takes"]["test"][0])
    frames = taken.frames if taken.kind != "dense" and Take("centre", taken.frames) in desk.store.takes else None
    looks: dict[str, int | None] = {"frames": frames, "test_views": config.data.test_views}
    if views is not None:
        looks["views" if split == "train" else "test_views"] = views
    data = DataConfig.model_validate(looks)
    return replace(desk, words=words, templates=tuple(about["templates"]) or desk.templates, data=data)


def _folds(about: dict[str, Any], desk: Desk, fold: int | None) -> Iterator[Desk]:
    own = (about["dataset"], about["folds"]) == (desk.videos.name, desk.videos.folds)
    if fold is not None or own:
        yield desk.at(fold or about["fold"])
    else:
        yield from desk.folds()


def _origin(about: dict[str, Any], desk: Desk) -> tuple[bool, str]:
    """Whether a run was trained on the same fold of the same list with the same features; and on what."""
    facts = [about["list"]]
    if about["folds"] > 1:
        facts.append(f"fold {about['fold']}")
    if about["fingerprint"] != desk.store.fingerprint:
        facts.append(f"with features {about['fingerprint'][:6]}")
    return all(about[key] == desk.facts[key] for key in ("list", "fold", "fingerprint")), " ".join(facts)


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
    material = replace(material, scale=about["start_scale"])
    if (said := about.get("text_sha256")) and material.tower.sha256 != said:
        raise CacheError(
            f"run {folder}: trained with a text tower of text_sha256 {said[:16]}, this one has "
            f"{material.tower.sha256[:16]}; name the weights it was trained with by --pretrained"
        )
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


def chance(desk: Desk, seeds: tuple[int, ...], out: Path) -> list[Run]:
    """Random scores, so that the first step of a ladder can be tested like every other."""
    test = desk.split(desk.evaluation, pooled=True)
    return [_guess(desk, test, seed, out / f"chance-{seed}") for seed in seeds]


def _guess(desk: Desk, test: FrameSet, seed: int, folder: Path) -> Run:
    scores = np.random.default_rng(seed).random((len(test.label_N), len(desk.words)), dtype=np.float32)
    about = {**about_run(desk, test), "config": {"seeds": [seed]}, "seconds": 0.0}
    return keep_run(run_of("chance", seed, scores, desk, test, about), folder)


@dataclass(frozen=True)
class Named:
    """What zero-shot says about videos of which nobody knows the class."""

    path: Path  # the file that names each video's best
    videos: int
    missing: int
    counts: dict[str, int]  # how many videos each name is the best of, most first


def name_videos(config: TrainConfig, desk: Desk, out: Path, tick: Tick = silent) -> Named:
    """Zero-shot over videos without labels, or with names that are not the list's classes: no accuracy, but for every
    video its best names and their shares, in `predictions.csv`."""
    if not desk.words:
        raise UsageError(f"{desk.where}: its videos have no classes; name some with --names FILE")
    open_to_all = replace(desk, labelled=False, data=config.data)
    with stage(tick, READING):
        frames = read(open_to_all, desk.evaluation, config)
    with stage(tick, config.method):
        shares_NC = zero_shot(config, open_to_all, frames)
    bad = ~np.isfinite(shares_NC).all(axis=1)
    if bad.any():
        raise DataError(f"{desk.where}: the scores of {int(bad.sum())} videos are no numbers")
    order_NK = np.argsort(-shares_NC, axis=1, kind="stable")[:, :_BEST]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    places = range(1, order_NK.shape[1] + 1)
    writer.writerow(["video", *chain.from_iterable((f"name{n}", f"share{n}") for n in places)])
    for video, best_K, shares_C in zip(frames.id_N, order_NK.tolist(), shares_NC, strict=True):
        writer.writerow([video, *chain.from_iterable((desk.words[c], f"{shares_C[c]:.6f}") for c in best_K)])
    with claimed(out):
        write_text(out / "predictions.csv", text.getvalue())
    counts = Counter(desk.words[c] for c in order_NK[:, 0].tolist())
    return Named(out / "predictions.csv", len(frames.id_N), frames.missing, dict(counts.most_common()))
