"""A cache in, runs of what needs no gradient out: zero-shot, nearest mean, linear probe, Tip-Adapter.

Numbers that have to be chosen (C, alpha, beta) are chosen on validation videos, never on those of the test.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from plfeat.config import TrainConfig
from plfeat.errors import UsageError
from plfeat.flows.fitting import fitted_tip
from plfeat.flows.material import material_of
from plfeat.progress import READING, stage
from plfeat.flows.runs import about_run, check_place, keep_run, method_of, run_of
from plfeat.flows.splits import Splits, read, splits
from plfeat.flows.texts import texts_of
from plfeat.model.classical import choose_tip, linear_probe, nearest_mean, tip_logits
from plfeat.model.draws import Draws
from plfeat.records import FrameSet, Run, Tick
from plfeat.shards.reader import Cache
from plfeat.train.build import build_source, ensemble, keys, pool
from plfeat.train.subset import hold_out

HELD = 0.2  # of the training videos, where a number has to be chosen and there are no validation videos
ALPHAS = tuple(np.linspace(0.1, 10, 20).tolist())
BETAS = tuple(np.linspace(0.5, 10, 20).tolist())

Scores = tuple[NDArray[np.float32], dict[str, Any]]
"""What a method says about the test videos, and what it says about itself."""


def classical(config: TrainConfig, cache: Cache, out: Path, tick: Tick, pretrained: str | None = None) -> list[Run]:
    """One run; with few shots, one for each seed, since only their choice is random."""
    texts = texts_of(cache) if config.reads_templates else None

    def name(config: TrainConfig) -> str:
        return method_of(config, texts.templates) if texts else method_of(config)

    if config.method == "zero-shot":
        started = time.perf_counter()
        with stage(tick, READING):
            test = read(cache, cache.evaluation)
        with stage(tick, config.method):
            scores = _zero_shot(config, cache, test, pretrained)
        return [_kept(name(config), config, cache, test, (scores, {}), config.seeds[0], started, out / "zero-shot")]
    seeds = config.seeds if config.data.shots else config.seeds[:1]
    with stage(tick, READING):
        seen, test = splits(config, seeds, cache), read(cache, cache.evaluation)
    config = fitted_tip(config, seen)
    method = name(config)
    check_place(out, method, cache, seeds, config=config)
    runs: list[Run] = []
    for member, seed in enumerate(seeds):
        started = time.perf_counter()
        tick(config.method, member, len(seeds))
        scores_NC, more = _scores(config, cache, seen, member, test, pretrained)
        scored = scores_NC, more | {"remarks": seen.remarks}
        runs.append(_kept(method, config, cache, test, scored, seed, started, out / f"seed-{seed}"))
    tick(config.method, len(seeds), len(seeds))
    return runs


def _kept(
    method: str,
    config: TrainConfig,
    cache: Cache,
    test: FrameSet,
    scored: Scores,
    seed: int,
    started: float,
    folder: Path,
) -> Run:
    own = config.model_copy(update={"seeds": (seed,)})
    scores_NC, more = scored
    about = {
        **about_run(cache, test),
        "config": own.model_dump(mode="json"),
        **more,
        "seconds": time.perf_counter() - started,
    }
    return keep_run(run_of(method, seed, scores_NC, cache, test, about), folder)


def _zero_shot(config: TrainConfig, cache: Cache, test: FrameSet, pretrained: str | None = None) -> NDArray[np.float32]:
    text_CD, scale = _text(config, cache, test, pretrained)
    logits = scale * pool(torch.from_numpy(test.features_NVTD)) @ text_CD.T
    return logits.softmax(dim=-1).numpy()


def _text(config: TrainConfig, cache: Cache, frames: FrameSet, pretrained: str | None) -> tuple[torch.Tensor, float]:
    """Unit text features `[C, D]` and CLIP's scale."""
    material = material_of(cache, frames, pretrained)
    return ensemble(build_source(config, Draws((0,)), material)), float(np.exp(material.start_scale))


def _scores(
    config: TrainConfig, cache: Cache, seen: Splits, member: int, test: FrameSet, pretrained: str | None
) -> Scores:
    features, label_N = seen.learned(member)
    train_ND, test_MD, classes = _pooled(features), _pooled(test.features_NVTD), len(cache.classes)
    if config.method == "nearest-mean":
        return nearest_mean(train_ND, label_N, classes, test_MD), {}
    if config.method == "linear-probe":
        if config.probe.refit and seen.val is None:
            raise UsageError(
                f"probe.refit=true: cache {cache.path} has no split val; the training videos that are chosen on "
                "instead are learned from in the end anyway; leave it out"
            )
        train_ND, label_N, held_ND, held_label, where = _held(train_ND, label_N, seen)
        refit = seen.val is None or config.probe.refit
        probe = linear_probe(train_ND, label_N, classes, held_ND, held_label, refit=refit)
        how = f"the best on {where}" if len(held_label) else "as nothing could be held out"
        how += ", which the final fit learned from too" if refit and len(held_label) else ""
        return probe.scores(test_MD), {"protocol": f"C = {probe.strength:.3g}, {how}"}
    key_ND = keys(torch.from_numpy(features)).numpy()
    text_CD, scale = _text(config, cache, test, pretrained)
    alpha, beta, where = _tip(config, key_ND, label_N, seen, text_CD.numpy(), scale)
    logits = tip_logits(test_MD, key_ND, label_N, text_CD.numpy(), scale, alpha, beta)
    shares = torch.from_numpy(logits).softmax(dim=-1).numpy()
    return shares, {"protocol": f"alpha = {alpha:.3g}, beta = {beta:.3g}, {where}"}


def _tip(
    config: TrainConfig,
    key_ND: NDArray[np.float32],
    label_N: NDArray[np.int64],
    seen: Splits,
    text_CD: NDArray[np.float32],
    scale: float,
) -> tuple[float, float, str]:
    """Alpha and beta, and where they come from."""
    alpha, beta = config.tip.alpha, config.tip.beta
    if alpha is not None and beta is not None:
        return alpha, beta, "as set"
    kept_ND, kept_label, held_ND, held_label, where = _held(key_ND, label_N, seen)
    if not len(held_label):
        return *config.tip.unchosen, "as nothing could be held out"
    alphas, betas = ALPHAS if alpha is None else (alpha,), BETAS if beta is None else (beta,)
    alpha, beta, _ = choose_tip(held_ND, held_label, kept_ND, kept_label, text_CD, scale, alphas, betas)
    return alpha, beta, f"the best on {where}"


def _held(
    train_ND: NDArray[np.float32], label_N: NDArray[np.int64], seen: Splits
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32], NDArray[np.int64], str]:
    """What to learn from and what to choose on: the validation videos, or a share of the training videos."""
    if seen.val is not None:
        return train_ND, label_N, _pooled(seen.val.features_NVTD), seen.val.label_N, seen.where_val
    kept, held = hold_out(label_N, HELD, seed=0)
    return train_ND[kept], label_N[kept], train_ND[held], label_N[held], f"{len(held)} held-out training videos"


def _pooled(features_NVTD: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    return pool(torch.from_numpy(features_NVTD)).numpy()
