"""What may count as a result: scores that are numbers, and on disk a record that says what its scores say. Without
torch, so that tables come at once."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from plfeat.errors import DataError
from plfeat.files import sha256_of_json
from plfeat.metrics.compare import metrics_of
from plfeat.records import Run
from plfeat.report.runs import load_run, said_metrics

if TYPE_CHECKING:
    from plfeat.desk import Desk


def run_name(config: Any, desk: "Desk") -> str:
    """A folder name that differs whenever the settings, the list, the words or the features do."""
    told = [config, desk.title, desk.store.fingerprint, desk.read, desk.words, desk.templates]
    return f"{desk.videos.name}-{sha256_of_json(told)[:8]}"


def settings_name(config: dict[str, Any]) -> str:
    """A name of everything that was set, but for the seed. What a record does not say is not what it would be today."""
    kept, data = {key: value for key, value in config.items() if key != "seeds"}, config.get("data")
    if isinstance(data, dict):
        kept["data"] = {key: value for key, value in data.items() if key != "allow_empty"}
    return sha256_of_json(kept)[:6]


def require_numbers(run: Run) -> None:
    """Nobody compares a NaN with anything: not a table, not a record read again."""
    bad = ~np.isfinite(run.scores_NC).all(axis=1)
    if bad.any():
        raise DataError(
            f"{run.method} (seed {run.seed}): the scores of {int(bad.sum())} of {len(run.id_N)} videos are no numbers, "
            f"the first is {run.id_N[int(bad.argmax())]!r}; the model or the texts it was scored with are damaged"
        )


def open_run(folder: Path) -> Run:
    """A run on disk whose record says what its scores say."""
    run, said = load_run(folder), said_metrics(folder)
    for name, figure in metrics_of(run).items():
        if name in said and isinstance(figure, float) and not _same(said[name], figure):
            raise DataError(
                f"run {folder}: its record says {name} = {said[name]}, its scores amount to {figure:.6f}; they are "
                "not of one run: make it again, or leave it out"
            )
    return run


def _same(said: Any, figure: float) -> bool:
    return isinstance(said, int | float) and abs(said - figure) <= 1e-6
