"""Scores and labels in, per-video hits out.

Ties go to the lower class index and a NaN is a miss, so that neither looks like skill. A label that is no class is an
error: counted from the end, -1 would be the last one.
"""

import numpy as np
from numpy.typing import NDArray

from plfeat.errors import DataError

Hits = NDArray[np.bool_]


def require_labels(label_N: NDArray[np.int64], classes: int) -> None:
    wrong = (label_N < 0) | (label_N >= classes)
    if wrong.any():
        raise DataError(
            f"labels: {int(wrong.sum())} of {len(label_N)} are outside 0 to {classes - 1}, "
            f"the first is {label_N[wrong.argmax()]}; every video that counts has a class"
        )


def top_k_hits(scores_NC: NDArray[np.float32], label_N: NDArray[np.int64], k: int) -> Hits:
    """Whether each video's own class is among its k highest scores."""
    require_labels(label_N, scores_NC.shape[1])
    own = np.take_along_axis(scores_NC, label_N[:, None], axis=1)
    earlier = np.arange(scores_NC.shape[1]) < label_N[:, None]
    rank = ((scores_NC > own) | ((scores_NC == own) & earlier)).sum(axis=1)
    return np.asarray((rank < k) & ~np.isnan(scores_NC).any(axis=1))


def mean_class_accuracy(hits_N: Hits, label_N: NDArray[np.int64]) -> float:
    return float(np.mean([hits_N[label_N == label].mean() for label in np.unique(label_N)]))


def class_accuracies(hits_N: Hits, label_N: NDArray[np.int64], classes: tuple[str, ...]) -> dict[str, float]:
    """Of every class that has videos."""
    require_labels(label_N, len(classes))
    return {classes[label]: float(hits_N[label_N == label].mean()) for label in np.unique(label_N)}


def mirror_hits(scores_NC: NDArray[np.float32], label_N: NDArray[np.int64], mirror: tuple[int | None, ...]) -> Hits:
    """For the videos whose class has a mirror: is their own class scored above it? Chance is one half."""
    require_labels(label_N, scores_NC.shape[1])
    other_N = np.array([-1 if mirror[label] is None else mirror[label] for label in label_N])
    rows = np.flatnonzero(other_N >= 0)
    return np.asarray(scores_NC[rows, label_N[rows]] > scores_NC[rows, other_N[rows]])


def confusion(scores_NC: NDArray[np.float32], label_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """`[C, C]` counts: true class by first choice."""
    classes = scores_NC.shape[1]
    require_labels(label_N, classes)
    table = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(table, (label_N, scores_NC.argmax(axis=1)), 1)
    return table
