"""What can be said about a cached test split without training: nothing (chance) and CLIP's own opinion (zero-shot)."""

import time
from pathlib import Path

import numpy as np
import torch.nn.functional as F

from plfeat.backbone.text import TextTower
from plfeat.errors import UsageError
from plfeat.flows.backbones import backbone_of
from plfeat.flows.train import about_run, run_of
from plfeat.metrics.compare import metrics_of
from plfeat.records import Run
from plfeat.report.runs import save_run
from plfeat.shards.reader import Cache
from plfeat.train.fleet import pool

TEMPLATE = "a video of {}."


def zero_shot(cache: Cache, out: Path, template: str = TEMPLATE, pretrained: str | None = None) -> list[Run]:
    """Each test video against "a video of <class>."."""
    if "{}" not in template:
        raise UsageError(f"template {template!r} has no {{}} for the class name")
    started = time.perf_counter()
    backbone = backbone_of(cache, pretrained)
    tower = TextTower(backbone.model, backbone.tokenizer)
    test = cache.read(cache.evaluation)
    text_CD = F.normalize(tower.encode([template.replace("{}", name) for name in cache.classes]).sentence_ND, dim=-1)
    scale = backbone.model.logit_scale.exp()  # type: ignore[operator]
    scores = (scale * pool(test) @ text_CD.T).softmax(dim=-1).detach().numpy()
    about = {**about_run(cache, test), "config": {"template": template}, "seconds": time.perf_counter() - started}
    method = "zero-shot" if template == TEMPLATE else f"zero-shot, {template!r}"
    run = run_of(method, 0, scores, cache, test, about)
    save_run(run, metrics_of(run), out / "zero-shot")
    return [run]


def chance(cache: Cache, seeds: tuple[int, ...], out: Path) -> list[Run]:
    """Random scores, so that the first step of a ladder can be tested like every other."""
    test = cache.read(cache.evaluation)
    runs = []
    for seed in seeds:
        scores = np.random.default_rng(seed).random((len(test.label_N), len(cache.classes)), dtype=np.float32)
        about = {**about_run(cache, test), "config": {"seeds": [seed]}, "seconds": 0.0}
        run = run_of("chance", seed, scores, cache, test, about)
        save_run(run, metrics_of(run), out / f"chance-{seed}")
        runs.append(run)
    return runs
