"""What the commands do, from Python. Settings are written as for `--set`: `"optim.epochs=20"`."""

import os
from pathlib import Path

import pandas as pd

from plfeat.flows import extract as _extract
from plfeat.flows import predict as _predict
from plfeat.flows.caches import choose_cache
from plfeat.flows.report import summarise
from plfeat.flows.runs import run_name
from plfeat.flows.train import Trained, train_frozen
from plfeat.flows.work import Means
from plfeat.presets import extract_config, train_config
from plfeat.records import Run, Tick, silent
from plfeat.shards.reader import Cache

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
) -> Trained:
    """A run for every seed, tested and kept under `out`; unless named, `runs/<dataset>-<hash of the settings>`."""
    config = train_config(preset, overrides=settings)
    folder = Path(out or f"runs/{run_name(config.model_dump(mode='json'), cache)}")
    return train_frozen(config, cache, folder, tick, device=device)


def table(*runs: Run) -> pd.DataFrame:
    """A row a method, with its interval and what sets it apart from the row above."""
    return pd.DataFrame(summarise(list(runs)).as_dicts())


def predict(*videos: Place, run: Place, top: int = 5, device: str | None = None) -> list[_predict.Prediction]:
    """What a trained run sees in video files: its best classes and their probabilities."""
    return _predict.predict(Path(run), [Path(video) for video in videos], top, silent, Means(), device=device)
