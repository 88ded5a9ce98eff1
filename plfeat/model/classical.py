"""What needs no gradient: nearest mean, linear probe, Tip-Adapter. Features in, scores out; numpy.

Shapes: N training videos, M videos to score, C classes, D width.
"""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plfeat.errors import DataError

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

_COARSE = tuple(range(-48, 49, 16))  # steps of an eighth of a decade: 1e-6, 1e-4, .. 1e6
_ROUNDS = 1000  # of L-BFGS, as CLIP has them
_AT_ONCE = 1024


def unit(rows_ND: Floats) -> Floats:
    return rows_ND / np.linalg.norm(rows_ND, axis=1, keepdims=True).clip(1e-12)


def nearest_mean(train: Iterable[tuple[Floats, Labels]], classes: int, test_MD: Floats) -> Floats:
    """Cosines `[M, C]` with the mean of a class's unit features; the training videos come in blocks, with their labels.
    A class without training videos scores -1, so it is never the nearest."""
    means_CD, counts_C = np.zeros((classes, test_MD.shape[1]), np.float32), np.zeros(classes, np.int64)
    for rows_KD, label_K in train:
        np.add.at(means_CD, label_K, unit(rows_KD))
        counts_C += np.bincount(label_K, minlength=classes)
    scores = unit(test_MD) @ unit(means_CD).T
    scores[:, counts_C == 0] = -1
    return np.asarray(scores, np.float32)


@dataclass(frozen=True)
class Probe:
    """A logistic regression over `present` classes, and how its strength was found."""

    weight_PD: Floats
    bias_P: Floats
    present: Labels
    classes: int
    strength: float
    tried: dict[float, float]  # C: accuracy on the held videos

    def scores(self, test_MD: Floats) -> Floats:
        """Probabilities `[M, C]`; 0 for a class that was not in training."""
        logits = test_MD @ self.weight_PD.T + self.bias_P
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        out = np.zeros((len(test_MD), self.classes), np.float32)
        out[:, self.present] = shares / shares.sum(axis=1, keepdims=True)
        return out


def linear_probe(
    train_ND: Floats,
    label_N: Labels,
    classes: int,
    held_ND: Floats,
    held_label: Labels,
    *,
    refit: bool = False,
    otherwise: float = 0.316,
) -> Probe:
    """CLIP's protocol: L2 and L-BFGS, C from a binary search over 97 strengths, eight a decade from 1e-6 to 1e6, by the
    accuracy on the held videos; ties to the stronger regularisation. Without held videos C is `otherwise`, what CLIP's
    authors found for ImageNet. `refit` learns from all videos at the chosen C, as CLIP's authors did at the end."""
    if len(np.unique(label_N)) < 2:
        raise DataError("linear probe: training videos of one class only; there is nothing to tell apart")
    if not len(held_label):
        return _probe(train_ND, label_N, classes, otherwise, {})
    found: dict[int, float] = {}

    def accuracy(step: int) -> float:
        if step not in found:
            probe = _probe(train_ND, label_N, classes, 10 ** (step / 8), {})
            found[step] = float((probe.scores(held_ND).argmax(axis=1) == held_label).mean())
        return found[step]

    def best() -> int:
        return max(sorted(found), key=lambda step: found[step])  # max keeps the first of equals

    for step in _COARSE:
        accuracy(step)
    width = 8
    while width >= 1:
        middle = best()
        for step in (middle - width, middle + width):
            if -48 <= step <= 48:
                accuracy(step)
        width //= 2
    strength = 10 ** (best() / 8)
    tried = {10 ** (step / 8): found[step] for step in sorted(found)}
    if refit:
        train_ND, label_N = np.concatenate([train_ND, held_ND]), np.concatenate([label_N, held_label])
    return _probe(train_ND, label_N, classes, strength, tried)


def _probe(train_ND: Floats, label_N: Labels, classes: int, strength: float, tried: dict[float, float]) -> Probe:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model: Any = LogisticRegression(C=strength, max_iter=_ROUNDS)
    with warnings.catch_warnings():
        # with weak regularisation even these rounds may be too few, and what it answers then depends on their number
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", message="The number of unique classes", category=UserWarning)  # one shot
        model.fit(train_ND, label_N)
    weight, bias = model.coef_, model.intercept_
    if len(weight) == 1:  # of two classes scikit-learn keeps one row
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return Probe(weight.astype(np.float32), bias.astype(np.float32), model.classes_, classes, strength, tried)


def tip_logits(
    test_MD: Floats,
    keys_ND: Floats,
    key_label_N: Labels,
    text_CD: Floats,
    scale: float,
    alpha: float,
    beta: float,
) -> Floats:
    """CLIP's logits, and alpha times the labels of the cached videos, each weighed by exp(-beta (1 - cosine)).
    Unit vectors in."""
    values_NC = np.eye(len(text_CD), dtype=np.float32)[key_label_N]
    out = np.empty((len(test_MD), len(text_CD)), np.float32)
    for start in range(0, len(test_MD), _AT_ONCE):
        rows = test_MD[start : start + _AT_ONCE]
        nearness = np.exp(-beta * (1 - rows @ keys_ND.T))
        out[start : start + _AT_ONCE] = scale * rows @ text_CD.T + alpha * nearness @ values_NC
    return out


def choose_tip(
    held_ND: Floats,
    held_label: Labels,
    keys_ND: Floats,
    key_label_N: Labels,
    text_CD: Floats,
    scale: float,
    alphas: tuple[float, ...],
    betas: tuple[float, ...],
) -> tuple[float, float, float]:
    """The alpha and beta with the best accuracy on the held videos, and that; ties to the smaller alpha, then beta."""
    plain = scale * held_ND @ text_CD.T
    found = {}
    for beta in betas:
        cached = tip_logits(held_ND, keys_ND, key_label_N, text_CD, 0.0, 1.0, beta)
        for alpha in alphas:
            found[alpha, beta] = float(((plain + alpha * cached).argmax(axis=1) == held_label).mean())
    alpha, beta = max(sorted(found), key=lambda pair: found[pair])
    return alpha, beta, found[alpha, beta]
