"""How sure a number is. Everything is paired by video and deterministic.

Shapes: S seeds (runs of one method), N tests of a video (over several folds a video is tested more than once);
`hits_SN` is 0/1. `weight_N` says how much each counts and is 1 on average; `unit_N` numbers, from 0, what each belongs
to: tests of one unit (a film, the same video in another fold) know of each other, so whole units are drawn. Without
them every test counts the same and stands alone.
"""

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
RESAMPLES = 10_000
CHUNK = 500  # resamples at a time, so that memory stays small for 20,000 videos
LEVEL = 0.95


def fold_weights(fold_N: NDArray[np.int64]) -> Array:
    """What each video counts where the mean over folds is wanted, however many videos a fold tests: 1 on average."""
    _, which_N, videos_F = np.unique(fold_N, return_inverse=True, return_counts=True)
    return np.asarray(len(fold_N) / (len(videos_F) * videos_F))[which_N]


def accuracy_interval(
    hits_SN: Array, weight_N: Array | None = None, unit_N: NDArray[np.int64] | None = None
) -> tuple[float, float]:
    """95 % Wilson interval of the mean, with the number of independent trials that units and seeds amount to.

    A video that is hit by some seeds and missed by others counts as more than one trial; units whose videos are hit or
    missed together, and seeds that differ from each other by more than chance, make it fewer. Unlike a bootstrap it
    keeps its word near 0 and 1.
    """
    seeds, videos = hits_SN.shape
    weight_N, unit_N, units = _apart(videos, weight_N, unit_N)
    mean = float((hits_SN * weight_N).mean())
    hits_N = hits_SN.mean(axis=0)
    apart_U = _sum_by(unit_N, weight_N * (hits_N - (hits_N * weight_N).mean()))
    variance = (units / videos) ** 2 * ((apart_U**2).sum() / (units - 1)) / units if units > 1 else 0.0
    if seeds > 1:
        variance += (hits_SN * weight_N).mean(axis=1).var(ddof=1) / seeds
    trials = min(seeds * videos, mean * (1 - mean) / variance) if variance > 0 else units
    low, high = wilson(mean, float(trials))
    return low, high


def _apart(
    videos: int, weight_N: Array | None, unit_N: NDArray[np.int64] | None
) -> tuple[Array, NDArray[np.int64], int]:
    """Weights, units, and how many units there are."""
    units_N = np.arange(videos) if unit_N is None else unit_N
    return np.ones(videos) if weight_N is None else weight_N, units_N, int(units_N.max()) + 1


def _sum_by(unit_N: NDArray[np.int64], value_N: Array) -> Array:
    return np.asarray(np.bincount(unit_N, weights=value_N), dtype=np.float64)


def wilson(mean: float, trials: float) -> tuple[float, float]:
    """Wilson's score interval for a share of a possibly fractional number of trials."""
    from scipy.stats import norm  # takes longer to load than a table to make

    z = float(norm.ppf((1 + LEVEL) / 2))
    centre = (mean + z * z / (2 * trials)) / (1 + z * z / trials)
    reach = z / (1 + z * z / trials) * math.sqrt(mean * (1 - mean) / trials + z * z / (4 * trials * trials))
    return max(0.0, centre - reach), min(1.0, centre + reach)


def difference_interval(
    a_SN: Array, b_SN: Array, weight_N: Array | None = None, unit_N: NDArray[np.int64] | None = None
) -> tuple[float, float]:
    """95 % percentile bootstrap of the mean of a - b: every draw takes the same units, whole, from both.

    As many seeds on both sides are the same seeds, and drawn together.
    """
    weight_N, unit_N, units = _apart(a_SN.shape[1], weight_N, unit_N)
    a_SU, b_SU = (np.array([_sum_by(unit_N, weight_N * hits_N) for hits_N in hits_SN]) for hits_SN in (a_SN, b_SN))
    weight_U = _sum_by(unit_N, weight_N)
    rng = np.random.default_rng(0)
    means = []
    for _ in range(RESAMPLES // CHUNK):
        drawn_RU = rng.multinomial(units, np.full(units, 1 / units), CHUNK)
        share_RU = drawn_RU / (drawn_RU @ weight_U)[:, None]  # a draw of large units has more videos
        seeds_RS = _seed_weights(len(a_SN), rng)
        mean_R = (seeds_RS * (share_RU @ a_SU.T)).sum(axis=1)
        if len(b_SN) != len(a_SN):
            seeds_RS = _seed_weights(len(b_SN), rng)
        means.append(mean_R - (seeds_RS * (share_RU @ b_SU.T)).sum(axis=1))
    low, high = np.quantile(np.concatenate(means), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _seed_weights(seeds: int, rng: np.random.Generator) -> Array:
    return rng.multinomial(seeds, np.full(seeds, 1 / seeds), CHUNK) / seeds


def paired_p(a_SN: Array, b_SN: Array, weight_N: Array | None = None, unit_N: NDArray[np.int64] | None = None) -> float:
    """Two-sided sign-flip permutation test over units of the difference of seed-averaged hits.

    It asks whether these runs would differ on other videos, not whether other seeds would.
    """
    weight_N, unit_N, _ = _apart(a_SN.shape[1], weight_N, unit_N)
    delta_U = _sum_by(unit_N, weight_N * (a_SN.mean(axis=0) - b_SN.mean(axis=0)))
    moved = delta_U[delta_U != 0]
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
