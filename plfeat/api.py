"""What the commands do, from Python. Settings are written as for `--set`: `"optim.epochs=20"`.

Torch is loaded by what needs it, once nothing is left that could be wrong without: importing this takes no second.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from plfeat.desk import Desk
from plfeat.flows import extract as _extract
from plfeat.flows.desks import Wanted, folds_of, open_desk
from plfeat.flows.report import summarise
from plfeat.flows.results import run_name
from plfeat.flows.trained import able_member
from plfeat.means import Means
from plfeat.presets import extract_config, train_config
from plfeat.progress import load_torch
from plfeat.records import Run, Tick, silent

if TYPE_CHECKING:
    import pandas as pd

    from plfeat.flows.predict import Prediction
    from plfeat.flows.train import Trained

__all__ = ["extract", "open", "predict", "table", "train"]

Place = str | Path


def extract(
    dataset: str, *settings: str, root: Place | None = None, cache: Place | None = None, tick: Tick = silent
) -> Desk:
    """The features of every video of a dataset; made where they are not there yet. A video that cannot be read is a
    line of the store's ledger, not an error."""
    config = extract_config(overrides=settings, settings={"dataset": dataset})
    place = Path(root or Path(os.environ.get("PLFEAT_DATA", "data")) / dataset)
    done = _extract.extract(config, place, _caches(cache), tick)
    return open_desk(done.path, Wanted(done.list.partition("@")[0]), tick=tick)


def open(
    path: Place | None = None,
    dataset: str | None = None,
    *,
    names: Place | None = None,
    templates: Place | None = None,
    split: str | None = None,
    folds: int | None = None,
    pretrained: str | None = None,
    tick: Tick = silent,
) -> Desk:
    """The store there, or the only one under it, and that list of it, or its only one; unless named, the store is
    looked for under PLFEAT_CACHE or `cache`."""
    own, sentences = (None if file is None else Path(file) for file in (names, templates))
    return open_desk(_caches(path), Wanted(dataset, own, sentences, split, folds, pretrained), tick=tick)


def _caches(path: Place | None) -> Path:
    return Path(path or os.environ.get("PLFEAT_CACHE", "cache"))


def train(
    desk: Desk,
    preset: str = "prompts",
    *settings: str,
    fold: int | None = None,
    out: Place | None = None,
    device: str | None = None,
    tick: Tick = silent,
) -> "Trained":
    """A run for every seed, over every fold unless one is named, tested and kept under `out`; unless named,
    `runs/<list>-<hash of the settings>`."""
    config = train_config(preset, overrides=settings)
    folder = Path(out or f"runs/{run_name(config.model_dump(mode='json'), desk)}")
    load_torch(tick)
    from plfeat.flows.train import train_frozen

    return train_frozen(config, folds_of(desk, fold), folder, tick, device=device)


def table(*runs: Run) -> "pd.DataFrame":
    """A row a method, with its interval and what sets it apart from the row above."""
    import pandas as pd

    return pd.DataFrame(summarise(list(runs)).as_dicts())


def predict(
    *videos: Place, run: Place, top: int = 5, device: str | None = None, tick: Tick = silent
) -> "list[Prediction]":
    """What a trained run sees in video files: its best classes and their probabilities."""
    able_member(Path(run), top, explained=False)
    load_torch(tick)
    from plfeat.flows.predict import predict as run_on

    return run_on(Path(run), [Path(video) for video in videos], top, tick, Means(), device=device)
