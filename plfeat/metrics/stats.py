"""How sure a number is. Everything is paired by video and deterministic.

Shapes: S seeds (runs of one method), N videos; `hits_SN` is 0/1.
"""

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
RESAMPLES = 10_000
CHUNK = 500  # resamples at a time, so that memory stays small for 20,000 videos
LEVEL = 0.95


def accuracy_interval(hits_SN: Array) -> tuple[float, float]:
    """95 % Wilson interval of the mean, with the number of independent trials that videos and seeds amount to.

    A video that is hit by some seeds and missed by others counts as more than one trial; seeds that differ from each
    other by more than chance make it fewer. Unlike a bootstrap it keeps its word near 0 and 1.
    """
    seeds, videos = hits_SN.shape
    mean = float(hits_SN.mean())
    variance = hits_SN.mean(axis=0).var(ddof=1) / videos if videos > 1 else 0.0
    if seeds > 1:
        variance += hits_SN.mean(axis=1).var(ddof=1) / seeds
    trials = min(seeds * videos, mean * (1 - mean) / variance) if variance > 0 else videos
    low, high = wilson(mean, float(trials))
    return low, high


def wilson(mean: float, trials: float) -> tuple[float, float]:
    """Wilson's score interval for a share of a possibly fractional number of trials."""
    from scipy.stats import norm  # takes longer to load than a table to make

    z = float(norm.ppf((1 + LEVEL) / 2))
    centre = (mean + z * z / (2 * trials)) / (1 + z * z / trials)
    reach = z / (1 + z * z / trials) * math.sqrt(mean * (1 - mean) / trials + z * z / (4 * trials * trials))
    return max(0.0, centre - reach), min(1.0, centre + reach)


def difference_interval(a_SN: Array, b_SN: Array) -> tuple[float, float]:
    """95 % percentile bootstrap of the mean of a - b: every draw takes the same videos from both.

    As many seeds on both sides are the same seeds, and drawn together.
    """
    rng = np.random.default_rng(0)
    means = []
    for _ in range(RESAMPLES // CHUNK):
        videos_RN = rng.multinomial(a_SN.shape[1], np.full(a_SN.shape[1], 1 / a_SN.shape[1]), CHUNK) / a_SN.shape[1]
        seeds_RS = _seed_weights(len(a_SN), rng)
        mean_R = (seeds_RS * (videos_RN @ a_SN.T)).sum(axis=1)
        if len(b_SN) != len(a_SN):
            seeds_RS = _seed_weights(len(b_SN), rng)
        means.append(mean_R - (seeds_RS * (videos_RN @ b_SN.T)).sum(axis=1))
    low, high = np.quantile(np.concatenate(means), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _seed_weights(seeds: int, rng: np.random.Generator) -> Array:
    return rng.multinomial(seeds, np.full(seeds, 1 / seeds), CHUNK) / seeds


def paired_p(a_SN: Array, b_SN: Array) -> float:
    """Two-sided sign-flip permutation test over videos of the difference of seed-averaged hits.

    It asks whether these runs would differ on other videos, not whether other seeds would.
    """
    delta_N = a_SN.mean(axis=0) - b_SN.mean(axis=0)
    moved = delta_N[delta_N != 0]
    if len(moved) == 0:
        return 1.0
    rng = np.random.default_rng(0)
    extreme = 0
    for _ in range(RESAMPLES // CHUNK):
        signs = rng.integers(0, 2, (CHUNK, len(moved)), dtype=np.int8) * 2 - 1
        extreme += int((np.abs(signs @ moved) >= abs(moved.sum()) - 1e-9).sum())
    return (extreme + 1) / (RESAMPLES + 1)


def mcnemar_p(a_N: Array, b_N: Array) -> float:
    """Exact two-sided McNemar test of two runs on the same videos."""
    from scipy.stats import binomtest

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
