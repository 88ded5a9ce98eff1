"""How sure a number is. Everything is paired by video and deterministic.

Shapes: S seeds (runs of one method), N videos; `hits_SN` is 0/1.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

Array = NDArray[np.float64]
RESAMPLES = 10_000
LEVEL = 0.95


def accuracy_interval(hits_SN: Array) -> tuple[float, float]:
    """95 % percentile bootstrap of the mean, resampling seeds and videos together."""
    return _bootstrap(hits_SN)


def difference_interval(a_SN: Array, b_SN: Array) -> tuple[float, float]:
    """The same for the mean of a - b, every draw taking the same videos, and the same seeds, from both."""
    return _bootstrap(a_SN, b_SN)


def paired_p(a_SN: Array, b_SN: Array) -> float:
    """Two-sided sign-flip permutation test over videos of the difference of seed-averaged hits."""
    delta_N = a_SN.mean(axis=0) - b_SN.mean(axis=0)
    moved = delta_N[delta_N != 0]
    if len(moved) == 0:
        return 1.0
    rng = np.random.default_rng(0)
    signs = rng.integers(0, 2, (RESAMPLES, len(moved)), dtype=np.int8) * 2 - 1
    extreme = np.abs(signs @ moved) >= abs(moved.sum()) - 1e-9
    return float((extreme.sum() + 1) / (RESAMPLES + 1))


def mcnemar_p(a_N: Array, b_N: Array) -> float:
    """Exact two-sided McNemar test of two runs on the same videos."""
    only_a, only_b = int(((a_N == 1) & (b_N == 0)).sum()), int(((a_N == 0) & (b_N == 1)).sum())
    return 1.0 if only_a + only_b == 0 else float(binomtest(only_a, only_a + only_b).pvalue)


def holm(p: list[float]) -> list[float]:
    """Holm's step-down correction for a family of tests."""
    order = np.argsort(p, kind="stable")
    corrected, running = np.empty(len(p)), 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p) - rank) * p[index]))
        corrected[index] = running
    return [float(value) for value in corrected]


def _bootstrap(a_SN: Array, b_SN: Array | None = None) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    videos = a_SN.shape[1]
    weight_RN = rng.multinomial(videos, np.full(videos, 1 / videos), RESAMPLES) / videos
    seeds_RS = _seed_weights(len(a_SN), rng)
    mean_R = _resampled_mean(a_SN, weight_RN, seeds_RS)
    if b_SN is not None:
        if len(b_SN) != len(a_SN):  # as many seeds are the same seeds, and drawn together
            seeds_RS = _seed_weights(len(b_SN), rng)
        mean_R = mean_R - _resampled_mean(b_SN, weight_RN, seeds_RS)
    low, high = np.quantile(mean_R, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _seed_weights(seeds: int, rng: np.random.Generator) -> Array:
    return rng.multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES) / seeds


def _resampled_mean(hits_SN: Array, weight_RN: Array, seeds_RS: Array) -> Array:
    return np.asarray((seeds_RS * (weight_RN @ hits_SN.T)).sum(axis=1))
