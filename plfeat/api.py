"""What the commands do, from Python. Settings are written as for `--set`: `"optim.epochs=20"`.

Torch is loaded by what needs it, once nothing is left that could be wrong without: importing this takes no second.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from plfeat.flows import extract as _extract
from plfeat.flows.caches import choose_cache
from plfeat.means import Means
from plfeat.progress import load_torch
from plfeat.flows.report import summarise
from plfeat.flows.results import run_name
from plfeat.flows.trained import able_member
from plfeat.presets import extract_config, train_config
from plfeat.records import Run, Tick, silent
from plfeat.shards.reader import Cache

if TYPE_CHECKING:
    import pandas as pd

    from plfeat.flows.predict import Prediction
    from plfeat.flows.train import Trained

__all__ = ["extract", "open_cache", "predict", "table", "train"]

Place = str | Path


def extract(
    dataset: str, *settings: str, root: Place | None = None, cache: Place | None = None, tick: Tick = silent
) -> Cache:
    """The features of every video of a dataset; made where they are not there yet. A video that cannot be read is a
    line of the cache's ledger, not an error."""
    config = extract_config(overrides=settings, settings={"dataset": dataset})
    place = Path(root or Path(os.environ.get("PLFEAT_DATA", "data")) / dataset)
    return open_cache(_extract.extract(config, place, _caches(cache), tick).path)


def open_cache(path: Place | None = None) -> Cache:
    """The cache there, or the only one under it; unless named, under PLFEAT_CACHE or `cache`."""
    return choose_cache(_caches(path))


def _caches(path: Place | None) -> Path:
    return Path(path or os.environ.get("PLFEAT_CACHE", "cache"))


def train(
    cache: Cache,
    preset: str = "prompts",
    *settings: str,
    out: Place | None = None,
    device: str | None = None,
    tick: Tick = silent,
) -> "Trained":
    """A run for every seed, tested and kept under `out`; unless named, `runs/<dataset>-<hash of the settings>`."""
    config = train_config(preset, overrides=settings)
    folder = Path(out or f"runs/{run_name(config.model_dump(mode='json'), cache)}")
    load_torch(tick)
    from plfeat.flows.train import train_frozen

    return train_frozen(config, cache, folder, tick, device=device)


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
