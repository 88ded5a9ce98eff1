"""A desk in, runs of what needs no gradient out: zero-shot, nearest mean, linear probe, Tip-Adapter.

Numbers that have to be chosen (C, alpha, beta) are chosen on validation videos, never on those of the test.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from plfeat.config import TrainConfig
from plfeat.desk import Desk
from plfeat.errors import UsageError
from plfeat.flows.fitting import fitted_tip, material_of
from plfeat.flows.record import about_run, check_place, keep_run, method_at, recorded, run_of
from plfeat.flows.splits import Splits, no_val, read, splits
from plfeat.model.classical import choose_tip, linear_probe, nearest_mean, tip_logits
from plfeat.model.draws import Draws
from plfeat.progress import READING, stage
from plfeat.records import FrameSet, Run, Tick
from plfeat.train.build import build_source, ensemble, keys, pool
from plfeat.train.subset import hold_out

HELD = 0.2  # of the training videos, where a number has to be chosen and there are no validation videos
ALPHAS = tuple(np.linspace(0.1, 10, 20).tolist())
BETAS = tuple(np.linspace(0.5, 10, 20).tolist())

_AT_ONCE = 8192  # views

Text = tuple[torch.Tensor, float]
Scores = tuple[NDArray[np.float32], dict[str, Any]]
"""What a method says about the test videos, and what it says about itself."""


def classical(config: TrainConfig, desk: Desk, out: Path, tick: Tick) -> list[Run]:
    """One run; with few shots, one for each seed, since only their choice is random."""
    if config.method == "zero-shot":
        started = time.perf_counter()
        with stage(tick, READING):
            test = read(desk, desk.evaluation, config)
        with stage(tick, config.method):
            scores = zero_shot(config, desk, test)
        return [_kept(config, desk, test, (scores, {}), config.seeds[0], started, out / "zero-shot")]
    seeds = config.seeds if config.data.shots else config.seeds[:1]
    with stage(tick, READING):
        seen, test = splits(config, seeds, desk), read(desk, desk.evaluation, config)
    config = fitted_tip(config, seen)
    check_place(out, method_at(config, desk), desk, seeds, config=config)
    text = _text(config, desk, test) if config.method == "tip-adapter" else None
    runs: list[Run] = []
    for member, seed in enumerate(seeds):
        started = time.perf_counter()
        tick(config.method, member, len(seeds))
        scores_NC, more = _scores(config, desk, seen, member, test, text)
        scored = scores_NC, more | {"remarks": seen.remarks}
        runs.append(_kept(config, desk, test, scored, seed, started, out / f"seed-{seed}"))
    tick(config.method, len(seeds), len(seeds))
    return runs


def _kept(
    config: TrainConfig, desk: Desk, test: FrameSet, scored: Scores, seed: int, started: float, folder: Path
) -> Run:
    own = config.model_copy(update={"seeds": (seed,)})
    scores_NC, more = scored
    about = {
        **about_run(desk, test),
        "config": recorded(own, desk),
        **more,
        "seconds": time.perf_counter() - started,
    }
    return keep_run(run_of(method_at(config, desk), seed, scores_NC, desk, test, about), folder)


def zero_shot(config: TrainConfig, desk: Desk, test: FrameSet) -> NDArray[np.float32]:
    """The share of each class, as CLIP's own texts have it."""
    text_CD, scale = _text(config, desk, test)
    logits = scale * torch.from_numpy(_pooled(test)) @ text_CD.T
    return logits.softmax(dim=-1).numpy()


def _text(config: TrainConfig, desk: Desk, frames: FrameSet) -> Text:
    """Unit text features `[C, D]` and CLIP's scale."""
    material = material_of(desk, frames)
    return ensemble(build_source(config, Draws((0,)), material)), float(np.exp(material.start_scale))


def _scores(config: TrainConfig, desk: Desk, seen: Splits, member: int, test: FrameSet, text: Text | None) -> Scores:
    rows = seen.learned(member)
    label_N, test_MD, classes = seen.train.label_N[rows], _pooled(test), len(desk.words)
    if config.method == "nearest-mean":
        return nearest_mean(_blocks(pool, seen.train, rows), classes, test_MD), {}
    if config.method == "linear-probe":
        if config.probe.refit and seen.val is None:
            raise UsageError(
                f"probe.refit=true: {no_val(desk)}; the training videos that are chosen on "
                "instead are learned from in the end anyway; leave it out"
            )
        train_ND, label_N, held_ND, held_label, where = _held(_pooled(seen.train, rows), label_N, seen)
        refit = seen.val is None or config.probe.refit
        probe = linear_probe(train_ND, label_N, classes, held_ND, held_label, refit=refit)
        how = f"the best on {where}" if len(held_label) else "as nothing could be held out"
        how += ", which the final fit learned from too" if refit and len(held_label) else ""
        return probe.scores(test_MD), {"protocol": f"C = {probe.strength:.3g}, {how}"}
    assert text is not None
    key_ND, (text_CD, scale) = _in_blocks(keys, seen.train, rows), text
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
        return train_ND, label_N, _pooled(seen.val), seen.val.label_N, seen.where_val
    kept, held = hold_out(label_N, HELD, seed=0)
    return train_ND[kept], label_N[kept], train_ND[held], label_N[held], f"{len(held)} held-out training videos"


def _pooled(frames: FrameSet, rows: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
    return _in_blocks(pool, frames, rows)


def _in_blocks(
    make: Callable[[torch.Tensor], torch.Tensor], frames: FrameSet, rows: NDArray[np.int64] | None = None
) -> NDArray[np.float32]:
    """A vector of every video, or of those rows. Beside what comes of it, never more than a block is in memory."""
    rows = np.arange(len(frames.label_N)) if rows is None else rows
    out, done = np.empty((len(rows), frames.features_NVTD.shape[-1]), np.float32), 0
    for block_KD, _ in _blocks(make, frames, rows):
        out[done : done + len(block_KD)] = block_KD
        done += len(block_KD)
    return out


def _blocks(
    make: Callable[[torch.Tensor], torch.Tensor], frames: FrameSet, rows: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """The same, so many videos at a time, with their labels."""
    most = max(1, _AT_ONCE // frames.features_NVTD.shape[1])
    for start in range(0, len(rows), most):
        some = rows[start : start + most]
        features = frames.features_NVTD[some]
        assert isinstance(features, np.ndarray)  # a frame's mean always fits
        yield make(torch.from_numpy(features)).numpy(), frames.label_N[some]
