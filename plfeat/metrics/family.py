"""The runs of one method, laid side by side: every seed over the same folds, every fold the same videos.

Shapes: S seeds, N tests of a video: those of the first fold, then those of the next one; a video that several folds
test stands there once for each.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from plfeat.errors import DataError
from plfeat.metrics.classify import mirror_hits, top_k_hits
from plfeat.metrics.stats import Array, fold_weights
from plfeat.records import Run

Where = NDArray[np.bool_]


def fold_of(run: Run) -> int:
    return int(run.about.get("fold", 1))


@dataclass(frozen=True)
class Sample:
    """Hits `[S, N]`, and of every test what it counts and the unit it belongs to."""

    hits_SN: Array
    weight_N: Array
    unit_N: NDArray[np.int64]

    @property
    def mean(self) -> float:
        return float((self.hits_SN * self.weight_N).mean())


@dataclass(frozen=True)
class Family:
    runs: tuple[tuple[Run, ...], ...]  # of each seed those of its folds, in order
    group_of: Mapping[str, str]  # the group of a video that belongs to one, by its name

    @property
    def first(self) -> Run:
        return self.runs[0][0]

    @property
    def folds(self) -> tuple[int, ...]:
        return tuple(fold_of(run) for run in self.runs[0])

    @cached_property
    def fold_N(self) -> NDArray[np.int64]:
        return np.repeat(self.folds, [len(run.id_N) for run in self.runs[0]])

    @cached_property
    def label_N(self) -> NDArray[np.int64]:
        return np.concatenate([run.label_N for run in self.runs[0]])

    @cached_property
    def unit_N(self) -> NDArray[np.int64]:
        """A video belongs to its group, or else to itself: the same one in every fold that tests it."""
        number: dict[tuple[bool, str], int] = {}
        units = []
        for run in self.runs[0]:
            for name in run.id_N:
                group = self.group_of.get(name, "")
                units.append(number.setdefault((bool(group), group or name), len(number)))
        return np.array(units)

    def sample(self, k: int = 1) -> Sample:
        """Whether the own class of a video is among its k best."""
        return Sample(self._hits(lambda run: top_k_hits(run.scores_NC, run.label_N, k)), *self._counted())

    def mirrors(self) -> Sample | None:
        """Of the videos whose class has a twin: whether their own class is above it. None where there are none."""
        if not self.first.mirror:
            return None
        where_N = np.array([self.first.mirror[label] is not None for label in self.label_N])
        hits_SN = self._hits(lambda run: mirror_hits(run.scores_NC, run.label_N, run.mirror))
        return Sample(hits_SN, *self._counted(where_N)) if where_N.any() else None

    def strata(self, sample: Sample) -> dict[str, Sample]:
        """Those that have videos."""
        stratum_N = np.array(self.first.stratum)[self.label_N] if self.first.stratum else np.array([])
        here = {name: stratum_N == name for name in dict.fromkeys(self.first.stratum)}
        return {
            name: Sample(sample.hits_SN[:, where_N], *self._counted(where_N))
            for name, where_N in here.items()
            if where_N.any()
        }

    def _hits(self, of: Callable[[Run], NDArray[np.bool_]]) -> Array:
        return np.array([np.concatenate([of(run) for run in folds]) for folds in self.runs], dtype=float)

    def _counted(self, where_N: Where | None = None) -> tuple[Array, NDArray[np.int64]]:
        """Weights and units of some of the tests: of these, too, every fold counts the same."""
        if where_N is None:
            return fold_weights(self.fold_N), self.unit_N
        _, unit_N = np.unique(self.unit_N[where_N], return_inverse=True)
        return fold_weights(self.fold_N[where_N]), unit_N


def families_of(runs: list[Run]) -> dict[str, Family]:
    """The methods in the order in which they first appear, all over the same folds and the same videos."""
    groups, found = _groups(runs), {}
    for method in dict.fromkeys(run.method for run in runs):
        own = [run for run in runs if run.method == method]
        lacking = lacking_folds(own)
        if lacking:
            raise DataError(
                f"runs {method!r} are of {_folds(own)}, but {_lacking(lacking)}; run what is missing, or leave it out"
            )
        seeds = dict.fromkeys(run.seed for run in own)
        of_seeds = [tuple(sorted((run for run in own if run.seed == seed), key=fold_of)) for seed in seeds]
        for folds in of_seeds:
            if len({fold_of(run) for run in folds}) < len(folds):
                raise DataError(f"runs {method!r} with seed {folds[0].seed} stand there twice")
        found[method] = Family(tuple(of_seeds), groups)
    _check_same_folds(list(found.values()))
    _check_same_videos(runs)
    return found


def lacking_folds(runs: list[Run]) -> dict[int, list[int]]:
    """Of one method: the seeds that have not been run on every fold that another one has, and which they lack."""
    folds = sorted({fold_of(run) for run in runs})
    there: dict[int, set[int]] = {}
    for run in runs:
        there.setdefault(run.seed, set()).add(fold_of(run))
    return {seed: missing for seed, own in there.items() if (missing := [fold for fold in folds if fold not in own])}


def _lacking(lacking: dict[int, list[int]]) -> str:
    return ", ".join(f"seed {seed} lacks {numbered('fold', folds)}" for seed, folds in sorted(lacking.items()))


def numbered(what: str, numbers: list[int]) -> str:
    """`fold 2`, `folds 1 and 3`."""
    *most, last = map(str, numbers)
    return f"{what}s {', '.join(most)} and {last}" if most else f"{what} {last}"


def _folds(runs: list[Run]) -> str:
    return numbered("fold", sorted({fold_of(run) for run in runs}))


def _check_same_folds(families: list[Family]) -> None:
    first = families[0]
    for family in families:
        if family.folds != first.folds:
            said = [f"runs {f.first.method!r} are of {numbered('fold', list(f.folds))}" for f in (first, family)]
            both = [fold for fold in first.folds if fold in family.folds]
            rest = f"leave out all but {numbered('fold', both)}, or " if both else ""
            raise DataError(f"{', '.join(said)}; a table has all its rows over the same folds: {rest}run the others")


def _groups(runs: list[Run]) -> dict[str, str]:
    found: dict[str, str] = {}
    for names, groups in dict.fromkeys((run.id_N, run.group_N) for run in runs if run.group_N):
        for name, group in zip(names, groups, strict=True):
            if group and found.setdefault(name, group) != group:
                raise DataError(
                    f"video {name!r} is of group {found[name]!r} in some runs and of {group!r} in others; test those "
                    "of the older list again (`plfeat eval`), or leave them out"
                )
    return found


def _check_same_videos(runs: list[Run]) -> None:
    """In each fold. The same names are not enough: two lists may share them, so the hash of the rows must be the same
    too; where it says that they are, the classes may go by other words."""
    firsts: dict[int, Run] = {}
    for run in runs:
        first = firsts.setdefault(fold_of(run), run)
        rows, own = (each.about.get("rows_sha256") for each in (first, run))
        one_list = rows is not None and name_of_list(first) == name_of_list(run)
        same = (
            run.id_N == first.id_N
            and rows == own
            and len(run.classes) == len(first.classes)
            and (run.classes == first.classes or one_list)
            and np.array_equal(run.label_N, first.label_N)
        )
        if not same:
            raise DataError(
                f"runs {_whose(first)} and {_whose(run)} saw different test videos ({len(first.id_N)} and "
                f"{len(run.id_N)}); only runs over the same videos can share a table"
            )


def _whose(run: Run) -> str:
    more = [str(run.about["list"])] if "list" in run.about else []
    more += [f"fold {fold_of(run)}"] if run.about.get("folds", 1) > 1 else []
    return f"{run.method!r} ({', '.join([f'seed {run.seed}', *more])})"


def name_of_list(run: Run) -> str:
    """Without its version."""
    said = str(run.about.get("list", ""))
    return said.rpartition("@")[0] or said
