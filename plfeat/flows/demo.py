"""From nothing to a results table, on any machine, without a network: the whole slice over the toy world."""

import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from plfeat.config import ExtractConfig, TrainConfig
from plfeat.errors import UsageError
from plfeat.flows.desks import Wanted, open_desk
from plfeat.flows.extract import Extraction, extract
from plfeat.flows.report import Report, write_report
from plfeat.flows.results import run_name
from plfeat.presets import train_config
from plfeat.records import Tick
from plfeat.settings import build
from plfeat.toy.videos import make

TITLE = "Toy world, frozen features"
FEWEST = 96


@dataclass(frozen=True)
class Demo:
    extraction: Extraction
    report: Report
    seconds: dict[str, float]


def demo(work: Path, out: Path, cache_root: Path, videos: int, config: TrainConfig, tick: Tick) -> Demo:
    """Chance, zero-shot and trained contexts on the toy test videos. What is already there is used again."""
    if videos < FEWEST:
        raise UsageError(f"--videos {videos}: expected at least {FEWEST}, four for each of the toy world's 24 classes")
    clock = [("", time.perf_counter())]

    def lap(stage: str) -> None:
        clock.append((stage, time.perf_counter()))

    folder = work / f"toy-{videos}"
    make(folder, videos, seed=0, tick=tick)
    lap("videos")
    extraction = extract(build(ExtractConfig, dataset="toy", model="toy"), folder, cache_root, tick)
    lap("extract")
    from plfeat.flows.evaluate import chance
    from plfeat.flows.train import train_frozen

    desk = open_desk(extraction.path, Wanted("toy"), config.data)
    runs = chance(desk, config.seeds, work / "runs")
    runs += train_frozen(train_config("zero-shot"), desk, work / "runs", tick).runs
    lap("zero-shot")
    runs += train_frozen(config, desk, work / "runs" / run_name(config.model_dump(mode="json"), desk), tick).runs
    lap("train")
    report = write_report(runs, out, TITLE, tick)
    lap("report")
    seconds = {stage: now - before for (_, before), (stage, now) in pairwise(clock)}
    return Demo(extraction, report, seconds)
