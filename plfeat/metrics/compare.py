"""Runs in, table rows out; pure. A row is a method over its seeds and folds, compared by video with the row above."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plfeat.errors import DataError, unknown
from plfeat.metrics.classify import class_accuracies, mean_class_accuracy, mirror_hits, top_k_hits
from plfeat.metrics.family import Family, Sample, families_of
from plfeat.metrics.stats import Array, accuracy_interval, difference_interval, holm, mcnemar_p, paired_p
from plfeat.records import Contrast, Row, Run, Step


def metrics_of(run: Run) -> dict[str, Any]:
    """One run's figures, for its record."""
    hits = top_k_hits(run.scores_NC, run.label_N, 1)
    figures: dict[str, Any] = {
        "top1": float(hits.mean()),
        "top5": float(top_k_hits(run.scores_NC, run.label_N, 5).mean()),
        "mean_class": mean_class_accuracy(hits, run.label_N),
        "classes": class_accuracies(hits, run.label_N, run.classes),
    }
    if run.stratum:
        stratum_N = np.array(run.stratum)[run.label_N]
        here = {name: stratum_N == name for name in dict.fromkeys(run.stratum)}
        figures["strata"] = {name: float(hits[where_N].mean()) for name, where_N in here.items() if where_N.any()}
    if run.mirror and len(twins := mirror_hits(run.scores_NC, run.label_N, run.mirror)):
        figures["mirror"] = float(twins.mean())
    return figures


def rows_of(runs: list[Run]) -> list[Row]:
    """Rows in the order in which the methods first appear."""
    families = list(families_of(runs).values())
    samples = [family.sample() for family in families]
    raw = [_step(above, here) for above, here in pairwise(samples)]
    corrected = holm([step.p for step in raw])
    steps = [None, *(replace(step, p=p) for step, p in zip(raw, corrected, strict=True))]
    return [_row(*parts) for parts in zip(families, samples, steps, strict=True)]


def top1_of(runs: list[Run]) -> dict[str, float]:
    """Every method's figure, as its row has it."""
    return {method: family.sample().mean for method, family in families_of(runs).items()}


def contrasts(runs: list[Run], baseline: str) -> list[Contrast]:
    """Every other method against `baseline`: on all videos, on every stratum, and on whether mirror twins are told
    apart. One family of tests."""
    families = families_of(runs)
    if baseline not in families:
        raise unknown("method", baseline, families)
    before = _strata(families.pop(baseline))
    if not families:
        raise DataError(f"there is nothing but {baseline!r}; nothing can be set against it")
    found = []
    for method, family in families.items():
        for stratum, after in _strata(family).items():
            pair = after.hits_SN, before[stratum].hits_SN, after.weight_N, after.unit_N
            low, high = difference_interval(*pair)
            n, means = after.hits_SN.shape[1], (before[stratum].mean, after.mean)
            found.append(Contrast(method, stratum, n, *means, low, high, paired_p(*pair)))
    corrected = holm([contrast.p for contrast in found])
    return [replace(contrast, p=p) for contrast, p in zip(found, corrected, strict=True)]


def _strata(family: Family) -> dict[str, Sample]:
    """All videos, those of each stratum, and those that have mirror twins."""
    sample, twins = family.sample(), family.mirrors()
    return {"all": sample} | family.strata(sample) | ({"mirror pairs": twins} if twins else {})


def _row(family: Family, sample: Sample, step: Step | None) -> Row:
    first, twins = family.first, family.mirrors()
    low, high = accuracy_interval(sample.hits_SN, sample.weight_N, sample.unit_N)
    folds = {fold: float(sample.hits_SN[:, family.fold_N == fold].mean()) for fold in family.folds}
    one_of_several = len(family.folds) > 1 or first.about.get("folds", 1) > 1
    return Row(
        method=first.method,
        seeds=len(family.runs),
        split=str(first.about.get("split", "test")),
        n=sample.hits_SN.shape[1],
        missing=sum(int(run.about.get("missing", 0)) for run in family.runs[0]),
        top1=sample.mean,
        low=low,
        high=high,
        top5=family.sample(5).mean,
        mean_class=float(np.mean([_mean_class(run) for folds in family.runs for run in folds])),
        strata={name: own.mean for name, own in family.strata(sample).items()},
        folds=folds if one_of_several else {},
        mirror=twins.mean if twins else None,
        mirror_n=twins.hits_SN.shape[1] if twins else 0,
        step=step,
    )


def _mean_class(run: Run) -> float:
    return mean_class_accuracy(top_k_hits(run.scores_NC, run.label_N, 1), run.label_N)


def _step(above: Sample, here: Sample) -> Step:
    pair = here.hits_SN, above.hits_SN, here.weight_N, here.unit_N
    low, high = difference_interval(*pair)
    seeds = max(len(above.hits_SN), len(here.hits_SN))
    pairs = list(zip(_cycle(above.hits_SN, seeds), _cycle(here.hits_SN, seeds), strict=True))
    return Step(
        gain=here.mean - above.mean,
        low=low,
        high=high,
        p=paired_p(*pair),
        seed_p=[_seed_p(one, other, here) for one, other in pairs],
        changed=int(np.any([one != other for one, other in pairs], axis=0).sum()),
    )


def _seed_p(above_N: Array, here_N: Array, sample: Sample) -> float:
    """Exact, where every video stands alone and counts the same."""
    alone = int(sample.unit_N.max()) + 1 == len(sample.unit_N) and (sample.weight_N == 1).all()
    if alone:
        return mcnemar_p(above_N, here_N)
    return paired_p(here_N[None], above_N[None], sample.weight_N, sample.unit_N)


def _cycle(hits_SN: NDArray[np.float64], count: int) -> list[NDArray[np.float64]]:
    """A method without a seed (zero-shot) stands against every seed of the other."""
    return [hits_SN[i % len(hits_SN)] for i in range(count)]
