"""Runs in, table rows out; pure. A row is a method over its seeds, compared by video with the row above."""

from dataclasses import replace
from itertools import groupby, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plfeat.errors import DataError, unknown
from plfeat.metrics.classify import class_accuracies, mean_class_accuracy, mirror_hits, top_k_hits
from plfeat.metrics.stats import accuracy_interval, difference_interval, holm, mcnemar_p, paired_p
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
    if run.group:
        figures["groups"] = _by_group(hits[None], run)
    if run.mirror and len(twins := mirror_hits(run.scores_NC, run.label_N, run.mirror)):
        figures["mirror"] = float(twins.mean())
    return figures


def rows_of(runs: list[Run]) -> list[Row]:
    """Rows in the order in which the methods first appear."""
    order = list(dict.fromkeys(run.method for run in runs))
    families = [
        list(family) for _, family in groupby(sorted(runs, key=lambda r: order.index(r.method)), lambda r: r.method)
    ]
    for family in families:
        _check_same_videos(families[0][0], family)
    hits = [np.array([top_k_hits(run.scores_NC, run.label_N, 1) for run in family], dtype=float) for family in families]
    raw = [_step(above, here) for above, here in pairwise(hits)]
    corrected = holm([step.p for step in raw])
    steps = [None] + [
        Step(step.gain, step.low, step.high, p, step.seed_p, step.changed)
        for step, p in zip(raw, corrected, strict=True)
    ]
    return [_row(*parts) for parts in zip(families, hits, steps, strict=True)]


def contrasts(runs: list[Run], baseline: str) -> list[Contrast]:
    """Every other method against `baseline`: on all videos, on every stratum, and on whether mirror twins are told
    apart. One family of tests."""
    families = {
        method: [run for run in runs if run.method == method] for method in dict.fromkeys(r.method for r in runs)
    }
    if baseline not in families:
        raise unknown("method", baseline, families)
    base = families.pop(baseline)
    if not families:
        raise DataError(f"there is nothing but {baseline!r}; nothing can be set against it")
    found = []
    for method, family in families.items():
        _check_same_videos(base[0], [*base, *family])
        before, after = _strata(base), _strata(family)
        for stratum, hits_SN in after.items():
            low, high = difference_interval(hits_SN, before[stratum])
            p = paired_p(hits_SN, before[stratum])
            means = float(before[stratum].mean()), float(hits_SN.mean())
            found.append(Contrast(method, stratum, hits_SN.shape[1], *means, low, high, p))
    corrected = holm([contrast.p for contrast in found])
    return [replace(contrast, p=p) for contrast, p in zip(found, corrected, strict=True)]


def _strata(family: list[Run]) -> dict[str, NDArray[np.float64]]:
    """Hits `[S, n]` on all videos, on those of each group, and between mirror twins."""
    first = family[0]
    hits_SN = np.array([top_k_hits(run.scores_NC, run.label_N, 1) for run in family], dtype=float)
    strata = {"all": hits_SN}
    if first.group:
        group_N = np.array(first.group)[first.label_N]
        strata |= {name: hits_SN[:, group_N == name] for name in dict.fromkeys(first.group) if (group_N == name).any()}
    if first.mirror:
        twins = np.array([mirror_hits(run.scores_NC, run.label_N, run.mirror) for run in family], dtype=float)
        strata |= {"mirror pairs": twins} if twins.size else {}
    return strata


def _row(family: list[Run], hits_SN: NDArray[np.float64], step: Step | None) -> Row:
    first = family[0]
    low, high = accuracy_interval(hits_SN)
    mirrored = [mirror_hits(run.scores_NC, run.label_N, run.mirror) for run in family] if first.mirror else []
    return Row(
        method=first.method,
        seeds=len(family),
        split=str(first.about.get("split", "test")),
        n=hits_SN.shape[1],
        missing=int(first.about.get("missing", 0)),
        top1=float(hits_SN.mean()),
        low=low,
        high=high,
        top5=float(np.mean([top_k_hits(run.scores_NC, run.label_N, 5) for run in family])),
        mean_class=float(np.mean([mean_class_accuracy(h > 0, first.label_N) for h in hits_SN])),
        groups=_by_group(hits_SN, first) if first.group else {},
        mirror=float(np.mean(mirrored)) if mirrored and len(mirrored[0]) else None,
        mirror_n=len(mirrored[0]) if mirrored else 0,
        step=step,
    )


def _by_group(hits_SN: NDArray[Any], run: Run) -> dict[str, float]:
    group_N = np.array(run.group)[run.label_N]
    return {
        name: float(hits_SN[:, group_N == name].mean()) for name in dict.fromkeys(run.group) if (group_N == name).any()
    }


def _step(above_SN: NDArray[np.float64], here_SN: NDArray[np.float64]) -> Step:
    low, high = difference_interval(here_SN, above_SN)
    seeds = max(len(above_SN), len(here_SN))
    pairs = list(zip(_cycle(above_SN, seeds), _cycle(here_SN, seeds), strict=True))
    return Step(
        gain=float(here_SN.mean() - above_SN.mean()),
        low=low,
        high=high,
        p=paired_p(here_SN, above_SN),
        seed_p=[mcnemar_p(above, here) for above, here in pairs],
        changed=int(np.any([above != here for above, here in pairs], axis=0).sum()),
    )


def _cycle(hits_SN: NDArray[np.float64], count: int) -> list[NDArray[np.float64]]:
    """A method without a seed (zero-shot) stands against every seed of the other."""
    return [hits_SN[i % len(hits_SN)] for i in range(count)]


def _check_same_videos(first: Run, family: list[Run]) -> None:
    """The same names are not enough: two datasets may share them, so the hash of the list must be the same too."""
    for run in family:
        same = (
            run.id_N == first.id_N
            and run.classes == first.classes
            and np.array_equal(run.label_N, first.label_N)
            and run.about.get("list_sha256") == first.about.get("list_sha256")
        )
        if not same:
            raise DataError(
                f"runs {first.method!r} and {run.method!r} (seed {run.seed}) saw different test videos "
                f"({len(first.id_N)} and {len(run.id_N)}); only runs over the same videos can share a table"
            )
