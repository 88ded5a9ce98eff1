"""Portions in, shards out, one after the other: on this machine, or on those of a Ray cluster.

A shard is one idempotent task with the same bytes wherever it is made, so an engine needs no more than to try again.
"""

import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from plfeat.backbone.vision import one_thread
from plfeat.config import ExtractConfig
from plfeat.device import enough_memory
from plfeat.errors import PlfeatError, UsageError, first_line
from plfeat.flows.encode import ShardMaker
from plfeat.means import Means
from plfeat.progress import Pace, Progress
from plfeat.flows.work import Kit, Portion, Work, gather
from plfeat.shards.folder import require_same
from plfeat.shards.writer import shard_bytes
from plfeat.video.crew import Crew

_RETRIES = 8  # of a task whose machine went away


@dataclass(frozen=True)
class Made:
    name: str
    image: bytes  # the whole file
    pace: Pace  # of everything so far


def make_here(work: Work, todo: list[Portion], means: Means, progress: Progress) -> Iterator[Made]:
    """While one shard is finished the workers already decode the next."""
    maker = work.kit.maker()
    with one_thread(work.kit.encoder.device), work.kit.crew(means) as crew:

        def pace() -> Pace:
            return _pace(crew, maker, means)

        present = [v for portion in todo for v in portion.videos if work.sizes[v.id] is not None]
        clips, absent = crew.run(maker.job(v, work.sizes[v.id]) for v in present), work.absent
        for portion in todo:
            shard = maker.make(portion.videos, clips, absent, progress.within(pace))
            yield Made(portion.name, shard_bytes(shard), pace())
            progress.shard(len(portion.videos), pace())


def make_on_ray(work: Work, todo: list[Portion], means: Means, progress: Progress) -> Iterator[Made]:
    """One task a shard, anywhere in the cluster, as often as machines go away under it. The machines need to see the
    videos under the same paths; the finished shards come here."""
    with redirect_stdout(sys.stderr):  # Ray tells of lost machines on stdout, which belongs to results
        ray = _connect(means.address)
        kind = work.kit.encoder.device.type
        means = replace(means, workers=_share(means.workers, kind, ray.nodes()))
        task = ray.remote(**_needs(means.workers, kind))(_make_one)
        config = work.kit.config.model_dump(mode="json") | {"device": kind}  # which one of them is for Ray to say
        waiting = {
            task.remote(
                config, work.kit.about, portion, {v.id: work.sizes[v.id] for v in portion.videos}, means
            ): portion
            for portion in todo
        }
        pace = Pace(means.workers)
        try:
            while waiting:
                (done, *_), _ = ray.wait(list(waiting), num_returns=1)
                portion = waiting.pop(done)
                made = ray.get(done)
                pace += made.pace
                yield replace(made, pace=pace)
                progress.shard(len(portion.videos), pace)
        except ray.exceptions.RayTaskError as error:
            raise (error.cause if isinstance(error.cause, PlfeatError) else PlfeatError(_last_line(error))) from error
        except ray.exceptions.RayError as error:
            raise PlfeatError(f"ray: {_last_line(error)}") from error
        finally:
            for reference in waiting:
                ray.cancel(reference, force=True)
            ray.shutdown()


def _share(workers: int, kind: str, nodes: list[dict[str, Any]]) -> int:
    """Decoders of a task: on a machine with several GPUs each has its share of the cores, or one would work alone."""
    found = [node["Resources"] for node in nodes if node["Alive"] and kind == "cuda"]
    shares = [int(has.get("CPU", 1) // has["GPU"]) for has in found if has.get("GPU")]
    return max(1, min([workers, *shares]))


def _needs(workers: int, kind: str) -> dict[str, Any]:
    """Of a task. Unless told otherwise, Ray ends a process that used a GPU after one task, and the model with it."""
    return {"num_cpus": workers, "num_gpus": int(kind == "cuda"), "max_retries": _RETRIES, "max_calls": 0}


def _make_one(
    config: dict[str, Any], about: dict[str, Any], portion: Portion, sizes: dict[str, int | None], means: Means
) -> Made:
    """Runs on a machine of the cluster, which may keep its kit for the next shard."""
    kit = _kit(ExtractConfig.model_validate(config))
    require_same(about, kit.about, f"a machine of the cluster ({os.uname().nodename})")
    maker = kit.maker()
    with one_thread(kit.encoder.device), kit.crew(means) as crew:
        absent = frozenset(video for video, size in sizes.items() if size is None)
        clips = crew.run(maker.job(v, sizes[v.id]) for v in portion.videos if v.id not in absent)
        with enough_memory(smaller(kit.batch)):
            shard = maker.make(portion.videos, clips, absent, lambda done: None)
        return Made(portion.name, shard_bytes(shard), _pace(crew, maker, means))


def smaller(batch: int) -> str:
    """What to do where a GPU's memory is too small."""
    return (
        f"--set batch={max(1, batch // 2)} takes less (the batch is part of a cache's name: it becomes another cache)"
    )


@lru_cache(maxsize=1)
def _kit(config: ExtractConfig) -> Kit:
    return gather(config)


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


def _pace(crew: Crew, maker: ShardMaker, means: Means) -> Pace:
    return Pace(means.workers, crew.decoded, crew.seconds, crew.waited, maker.frames, maker.seconds)
