"""Counts in, pictures out."""

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plfeat.files import publish


def confusion_figure(
    counts_CC: NDArray[np.int64], classes: tuple[str, ...], stratum: tuple[str, ...], title: str, path: Path
) -> None:
    """True class by first choice, in shares of the true class; a line stands where the stratum changes."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    share = counts_CC / np.maximum(counts_CC.sum(axis=1, keepdims=True), 1)
    side = min(24.0, 3.2 + 0.24 * len(classes))
    figure, axes = plt.subplots(figsize=(side + 0.6, side), layout="constrained")
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(classes)), classes, rotation=90, fontsize=7, parse_math=False)
    axes.set_yticks(range(len(classes)), classes, fontsize=7, parse_math=False)
    for edge in [i for i in range(1, len(stratum)) if stratum[i] != stratum[i - 1]]:
        axes.axhline(edge - 0.5, color="0.4", linewidth=0.8)
        axes.axvline(edge - 0.5, color="0.4", linewidth=0.8)
    axes.set(xlabel="first choice", ylabel="true class")
    axes.set_title(title, parse_math=False)
    figure.colorbar(image, ax=axes, shrink=0.7, label="share of the true class")
    with publish(path) as part, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # a script that no font here has
        figure.savefig(part, format="png", dpi=110, metadata={"Software": None})
    plt.close(figure)
