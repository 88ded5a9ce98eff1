"""Chunks in, their shards out, one chunk after the other: on this machine, or on those of a Ray cluster.

A chunk is one idempotent task with the same bytes wherever it is made, so an engine needs no more than to try again.
"""

import logging
import os
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from plfeat.backbone.vision import one_thread
from plfeat.config import ExtractConfig
from plfeat.device import enough_memory
from plfeat.errors import PlfeatError, UsageError, first_line
from plfeat.extract.encode import ShardMaker
from plfeat.extract.plan import Chunk, frames_of, looks_of
from plfeat.extract.speed import Progress, Speed
from plfeat.frames.kit import Kit, Open, gather
from plfeat.means import Means
from plfeat.recipe import Recipe
from plfeat.shards.catalogue import Seen
from plfeat.shards.growth import require_same
from plfeat.shards.schema import Shard
from plfeat.video.crew import Crew
from plfeat.video.digest import span
from plfeat.video.job import Job

_RETRIES = 8  # of a task whose machine went away

Files = dict[str, Seen]
"""Where the file of each digest lies."""


@dataclass(frozen=True)
class Made:
    """A chunk's shards, and how fast everything was so far."""

    chunk: Chunk
    shards: list[Shard]
    speed: Speed


def jobs(chunk: Chunk, files: Files) -> list[Job]:
    """What has to be decoded for a chunk."""
    found = []
    for key, takes in chunk.takes.items():
        file = files[key.partition("#")[0]]
        found.append(Job(file.where, key, looks_of(takes), *span(key), file.size))
    return found


def make_here(
    kit: Kit,
    todo: list[Chunk],
    files: Files,
    means: Means,
    progress: Progress,
    still: Callable[[Chunk], Chunk] = lambda chunk: chunk,
) -> Iterator[Made]:
    """While one chunk is finished the workers already decode the next. `still` says what of a chunk is lacking when its
    turn comes: somebody else may have made it."""
    maker, coming = ShardMaker(kit), deque[Chunk]()
    with one_thread(kit.encoder.device), kit.crew(means, _frames(todo)) as crew:

        def speed() -> Speed:
            return _speed(crew, maker, means)

        def ask() -> Iterator[Job]:
            for chunk in todo:
                rest = still(chunk)
                if len(rest.takes) < len(chunk.takes):
                    progress.done(len(chunk.takes) - len(rest.takes), speed())
                if rest.takes:
                    coming.append(rest)
                    yield from jobs(rest, files)

        added = 0
        for clip in crew.run(ask()):
            maker.add(clip)
            added += 1
            progress.within(added, speed())
            if added == len(coming[0].takes):
                chunk, added = coming.popleft(), 0
                yield Made(chunk, maker.finish(chunk), speed())
                progress.done(len(chunk.takes), speed())


def make_on_ray(
    kit: Kit, todo: list[Chunk], files: Files, means: Means, progress: Progress, open_backbone: Open
) -> Iterator[Made]:
    """One task a chunk, anywhere in the cluster, as often as machines go away under it. The machines need to see the
    videos under the same paths; the finished shards come here."""
    with redirect_stdout(sys.stderr):  # Ray tells of lost machines on stdout, which belongs to results
        ray = _connect(means.address)
        kind = kit.encoder.device.type
        means = replace(means, workers=_share(means.workers, kind, ray.nodes()))
        task = ray.remote(**_needs(means.workers, kind))(make_one)
        config = kit.config.model_dump(mode="json") | {"device": kind}  # which one of them is for Ray to say
        waiting = {
            task.remote(config, kit.recipe.as_dict(), chunk, _files(chunk, files), means, open_backbone): chunk
            for chunk in todo
        }
        speed = Speed(means.workers)
        try:
            while waiting:
                (done, *_), _ = ray.wait(list(waiting), num_returns=1)
                chunk = waiting.pop(done)
                made = ray.get(done)
                speed += made.speed
                yield replace(made, speed=speed)
                progress.done(len(chunk.takes), speed)
        except ray.exceptions.RayTaskError as error:
            raise (error.cause if isinstance(error.cause, PlfeatError) else PlfeatError(_last_line(error))) from error
        except ray.exceptions.RayError as error:
            raise PlfeatError(f"ray: {_last_line(error)}") from error
        finally:
            for reference in waiting:
                ray.cancel(reference, force=True)
            ray.shutdown()


def _files(chunk: Chunk, files: Files) -> Files:
    return {video: files[video] for video in (key.partition("#")[0] for key in chunk.takes)}


def _frames(chunks: list[Chunk]) -> int:
    """Of the first video, about."""
    return frames_of(next(iter(chunks[0].takes.values()))) if chunks else 1


def _share(workers: int, kind: str, nodes: list[dict[str, Any]]) -> int:
    """Decoders of a task: on a machine with several GPUs each has its share of the cores, or one would work alone."""
    found = [node["Resources"] for node in nodes if node["Alive"] and kind == "cuda"]
    shares = [int(has.get("CPU", 1) // has["GPU"]) for has in found if has.get("GPU")]
    return max(1, min([workers, *shares]))


def _needs(workers: int, kind: str) -> dict[str, Any]:
    """Of a task. Unless told otherwise, Ray ends a process that used a GPU after one task, and the model with it."""
    return {"num_cpus": workers, "num_gpus": int(kind == "cuda"), "max_retries": _RETRIES, "max_calls": 0}


def make_one(
    config: dict[str, Any], recipe: dict[str, Any], chunk: Chunk, files: Files, means: Means, open_backbone: Open
) -> Made:
    """Runs on a machine of the cluster, which may keep its kit for the next chunk."""
    kit = _kit(ExtractConfig.model_validate(config), open_backbone)
    require_same(Recipe.of(recipe), kit.recipe, f"a machine of the cluster ({os.uname().nodename})")
    maker = ShardMaker(kit)
    with one_thread(kit.encoder.device), kit.crew(means, _frames([chunk])) as crew, enough_memory(smaller(kit.batch)):
        for clip in crew.run(jobs(chunk, files)):
            maker.add(clip)
        return Made(chunk, maker.finish(chunk), _speed(crew, maker, means))


def smaller(batch: int) -> str:
    """What to do where a GPU's memory is too small."""
    return f"--set batch={max(1, batch // 2)} takes less"


@lru_cache(maxsize=1)
def _kit(config: ExtractConfig, open_backbone: Open) -> Kit:
    return gather(config, open_backbone)


def _connect(address: str | None) -> Any:
    try:
        import ray
    except ImportError:
        raise UsageError("--engine ray: Ray is not installed; pip install 'plfeat[ray]'") from None
    _require_answer(address)
    try:
        # without an address, a cluster of this machine alone
        ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise PlfeatError(f"--address {address}: no Ray cluster answers there ({_last_line(error)})") from error
    return ray


def _require_answer(address: str | None) -> None:
    """Asked for a cluster that is not there, Ray tries for minutes and then ends the process."""
    host, colon, port = (address or "").rpartition(":")
    if not (colon and port.isdecimal()) or "://" in host:
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise PlfeatError(f"--address {address}: no Ray cluster answers there ({first_line(error)})") from error


def _last_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[-1][:200] if str(error).strip() else type(error).__name__


def _speed(crew: Crew, maker: ShardMaker, means: Means) -> Speed:
    return Speed(means.workers, crew.decoded, crew.seconds, crew.waited, maker.frames, maker.seconds)
