"""The toy dataset on disk: real H.264 files in the folder layout, so that everything reads it as it reads any other
dataset.
"""

import csv
import json
import multiprocessing
import os
import shutil
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from plfeat.errors import DataError, UsageError
from plfeat.files import part_of, write_json
from plfeat.records import SPLITS, Tick
from plfeat.toy.draw import draw
from plfeat.toy.motion import film
from plfeat.toy.world import ACTIONS, mirror_of

VIDEOS = 20221203  # the seed domain of videos; pretraining pictures have another
SHARES = {"train": 0.5, "val": 0.1, "test": 0.4}
RATE = 12
MOST = 1_000_000
_MARK = "toy.json"
# x264's macroblock tree gave other bytes for the same frames from one call to the next; without it they never changed
_H264 = {"crf": "16", "preset": "veryfast", "x264-params": "mbtree=0:threads=1"}


def make(out: Path, videos: int, seed: int, tick: Tick, workers: int | None = None) -> bool:
    """Write the dataset under `out`, whole or not at all. False if that very dataset is already there."""
    if not len(ACTIONS) <= videos <= MOST:
        raise UsageError(
            f"--videos {videos}: expected at least one for each of the {len(ACTIONS)} classes, and at most {MOST}"
        )
    wanted = {"dataset": "toy", "version": 2, "videos": videos, "seed": seed}
    out = out.resolve()
    if _marked(out) == wanted:
        return False
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} already holds something else; name another folder with --out, or remove it")
    out.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(out)
    try:
        _fill(part, plan(videos), seed, tick, workers or os.cpu_count() or 1)
        write_json(part / _MARK, wanted)
        if out.exists():
            out.rmdir()
        part.rename(out)
    except OSError:
        if _marked(out) != wanted:  # unless another process has just finished the very same
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return True


def _marked(folder: Path) -> object:
    try:
        return json.loads((folder / _MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def plan(videos: int) -> list[tuple[str, int, int]]:
    """`(split, class, number)` of each of `videos` videos, as evenly over classes as the count allows."""
    jobs = []
    for index in range(len(ACTIONS)):
        own = videos // len(ACTIONS) + (index < videos % len(ACTIONS))
        train, val = round(own * SHARES["train"]), round(own * SHARES["val"])
        counts = {"train": train, "val": val, "test": own - train - val}
        jobs += [(split, index, number) for split in SPLITS for number in range(counts[split])]
    return jobs


def frames_of(split: str, index: int, number: int, seed: int) -> np.ndarray:
    """The frames `[T, H, W, 3]` of one video. Its split is part of its seed, so no two splits can share a video."""
    rng = np.random.default_rng([VIDEOS, seed, SPLITS.index(split), index, number])
    return draw(film(ACTIONS[index], rng), rng)


def write_video(path: Path, frames: np.ndarray, rate: int = RATE, gop: int | None = None) -> None:
    """One H.264 file, the same bytes for the same frames; a key frame every `gop` frames, or when x264 wants one."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options=_H264 | ({"g": str(gop)} if gop else {}))
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode(None))


def _fill(folder: Path, jobs: list[tuple[str, int, int]], seed: int, tick: Tick, workers: int) -> None:
    for split, index, _ in jobs:
        (folder / split / ACTIONS[index].name).mkdir(parents=True, exist_ok=True)
    with (folder / "classes.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["class", "stratum", "mirror"])
        for action in ACTIONS:
            twin = mirror_of(action)
            table.writerow([action.name, action.stratum, twin.name if twin else ""])
    tick("drawing videos", 0, len(jobs))
    if workers == 1 or len(jobs) < 100:
        for done, job in enumerate(jobs, 1):
            _write_one(folder, *job, seed)
            tick("drawing videos", done, len(jobs))
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _follow, (os.getpid(),)) as pool:
        pending = [pool.submit(_write_some, folder, jobs[i : i + 16], seed) for i in range(0, len(jobs), 16)]
        done = 0
        for future in pending:
            done += future.result()
            tick("drawing videos", done, len(jobs))


def _follow(parent: int) -> None:
    """Ends a worker when its parent has ended, in whatever way that ended."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _write_some(folder: Path, jobs: list[tuple[str, int, int]], seed: int) -> int:
    for job in jobs:
        _write_one(folder, *job, seed)
    return len(jobs)


def _write_one(folder: Path, split: str, index: int, number: int, seed: int) -> None:
    name = ACTIONS[index].name
    write_video(
        folder / split / name / f"{name.replace(' ', '_')}_{number:05d}.mp4", frames_of(split, index, number, seed)
    )
