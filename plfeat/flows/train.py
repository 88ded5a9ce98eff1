"""A cache in, trained and tested runs out: shards → model → loss → metrics → run records."""

import csv
import io
import math
import time
from pathlib import Path
from typing import Any

import numpy as np

from plfeat.backbone.text import TextTower
from plfeat.config import TrainConfig, changes
from plfeat.errors import PlfeatError
from plfeat.files import sha256_of_json, write_text
from plfeat.flows.backbones import backbone_of
from plfeat.metrics.compare import metrics_of
from plfeat.records import FrameSet, Run, Tick
from plfeat.report.runs import environment, save_run
from plfeat.shards.reader import Cache
from plfeat.train.checkpoint import save_member
from plfeat.train.fleet import Epoch, build_fleet, pool, train_fleet

METHOD = "trained contexts"


def method_of(config: TrainConfig) -> str:
    """What a table calls a run: the method, and whatever is not at its default, so that no two settings share a row."""
    named = [f"{key}={value}" for key, value in changes(config).items() if key != "seeds"]
    return ", ".join([METHOD, *named])


def run_name(method: str, settings: Any, cache: Cache) -> str:
    """A folder name that differs whenever the method, its settings or the cache does."""
    return f"{cache.spec['dataset']['name']}-{sha256_of_json([method, settings, cache.fingerprint])[:8]}"


def train_frozen(config: TrainConfig, cache: Cache, out: Path, tick: Tick, pretrained: str | None = None) -> list[Run]:
    """Trains one member per seed on the cached train split and tests it; a folder `out/seed-<n>` each."""
    started = time.perf_counter()
    backbone = backbone_of(cache, pretrained)
    tower = TextTower(backbone.model, backbone.tokenizer)
    train, test = cache.read("train"), cache.read(cache.evaluation)
    has_val = any(entry["split"] == "val" and entry["failed"] < entry["videos"] for entry in cache.manifest["shards"])
    val = cache.read("val") if has_val else None
    start_scale = float(backbone.model.logit_scale)  # type: ignore[arg-type]
    fleet = build_fleet(tower, cache.classes, config.context, config.seeds, start_scale)
    curve = train_fleet(fleet, train, val, config, tick)
    scores_ENC = fleet.score(pool(test)).numpy()
    lost = [seed for seed, scores_NC in zip(config.seeds, scores_ENC, strict=True) if not np.isfinite(scores_NC).all()]
    if lost:
        raise PlfeatError(f"training diverged (seeds {lost}): the scores are not numbers; try a lower optim.rate")
    seconds = time.perf_counter() - started
    runs = []
    for member, seed in enumerate(config.seeds):
        own = {**config.model_dump(mode="json"), "seeds": [seed]}
        about = {**about_run(cache, test), "config": own, "seconds": seconds, "members": len(config.seeds)}
        run = run_of(method_of(config), seed, scores_ENC[member], cache, test, about)
        folder = out / f"seed-{seed}"
        save_member(fleet, member, own, cache.classes, folder)
        write_text(folder / "curve.csv", _curve_csv(curve, member))
        save_run(run, metrics_of(run), folder)
        runs.append(run)
    return runs


def run_of(method: str, seed: int, scores_NC: Any, cache: Cache, test: FrameSet, about: dict[str, Any]) -> Run:
    dataset = cache.spec["dataset"]
    return Run(
        method=method,
        seed=seed,
        scores_NC=scores_NC,
        label_N=test.label_N,
        id_N=test.id_N,
        classes=cache.classes,
        group=tuple(dataset["group"]),
        mirror=tuple(dataset["mirror"]),
        about=about,
    )


def about_run(cache: Cache, test: FrameSet) -> dict[str, Any]:
    """What every record says besides its own configuration."""
    return {
        "dataset": cache.spec["dataset"]["name"],
        "split": cache.evaluation,
        "model": cache.spec["model"],
        "fingerprint": cache.fingerprint,
        "list_sha256": cache.spec["dataset"]["list_sha256"],
        "missing": test.missing,
        "environment": environment(),
    }


def _curve_csv(curve: list[Epoch], member: int) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["epoch", "loss", "val_top1"])
    for epoch in curve:
        top1 = math.nan if epoch.val_top1_E is None else epoch.val_top1_E[member]
        writer.writerow([epoch.epoch, f"{epoch.loss_E[member]:.6f}", "" if math.isnan(top1) else f"{top1:.6f}"])
    return text.getvalue()
