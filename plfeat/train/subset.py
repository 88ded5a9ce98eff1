"""Labels in, rows out: a few videos of every class, or a share of every class kept back. Seeded, class by class, so
that what is drawn of a class does not depend on the others."""

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]


def few_shots(label_N: Labels, shots: int, seed: int) -> Labels:
    """Rows of `shots` videos of every class, or all where it has fewer; ascending. Fewer shots are among more."""
    return np.sort(np.concatenate([order[:shots] for order in _shuffled(label_N, "shots", seed)]))


def hold_out(label_N: Labels, share: float, seed: int) -> tuple[Labels, Labels]:
    """The rows kept and those held out, ascending: of every class the share, but at least one and not all; of a class
    with a single video none."""
    held = []
    for order in _shuffled(label_N, "held", seed):
        count = max(1, min(len(order) - 1, round(share * len(order)))) if len(order) > 1 else 0
        held.append(order[:count])
    out = np.sort(np.concatenate(held))
    return np.setdiff1d(np.arange(len(label_N)), out), out


def _shuffled(label_N: Labels, purpose: str, seed: int) -> list[Labels]:
    """The rows of every class, in a random order."""
    found = []
    for label in np.unique(label_N):
        rows = np.flatnonzero(label_N == label)
        draws = np.random.Generator(np.random.PCG64([seed, int(label), *purpose.encode()])).random(len(rows))
        found.append(rows[np.argsort(draws, kind="stable")])
    return found
