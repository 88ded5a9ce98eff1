"""Rows over several folds: the mean of the folds, and no surer than what stands alone allows."""

from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from plfeat.errors import DataError
from plfeat.metrics.compare import contrasts, rows_of
from plfeat.metrics.stats import (
    CHUNK,
    RESAMPLES,
    accuracy_interval,
    difference_interval,
    fold_weights,
    mcnemar_p,
    paired_p,
    wilson,
)
from plfeat.records import Run


def _run(
    method: str, hits: list[int], fold: int = 1, seed: int = 0, names: list[str] | None = None, **other: object
) -> Run:
    """Of two classes; the labels alternate."""
    label = np.arange(len(hits)) % 2
    guess = np.where(np.array(hits) == 1, label, 1 - label)
    ids = tuple(names or (f"fold {fold}, video {i}" for i in range(len(hits))))
    about = {"list": "mine@00000001", "fold": fold, "folds": 3, "rows_sha256": f"of fold {fold}", "missing": fold}
    settings = {"classes": ("a", "b"), "about": about | dict(other.pop("about", {}))} | other  # type: ignore[call-overload]
    return Run(method, seed, np.eye(2, dtype=np.float32)[guess], label, ids, **settings)


SMALL, LARGE = [1, 0], [1, 1, 1, 0, 1, 1, 1, 0]


def test_a_row_over_folds_of_unequal_sizes_is_the_mean_of_their_figures() -> None:
    """By hand: half of two videos and three quarters of eight are 62.5 %, not seven of ten."""
    before = [_run("before", [0, 0], 1), _run("before", [1, 0] * 4, 2)]
    (low, row) = rows_of([*before, _run("after", SMALL, 1), _run("after", LARGE, 2)])
    assert (row.seeds, row.n, row.missing) == (1, 10, 3)
    assert row.folds == {1: 0.5, 2: 0.75}
    assert row.top1 == pytest.approx(0.625)
    assert row.top5 == 1
    # a, b are hit in fold 1: 1, 0; in fold 2: 4 of 4, 2 of 4
    assert row.mean_class == pytest.approx((0.5 + 0.75) / 2)
    assert low.top1 == pytest.approx(0.25)
    assert row.step is not None
    assert row.step.gain == pytest.approx(0.375)
    assert row.step.low < row.step.gain < row.step.high
    assert row.step.changed == 3
    # one video of weight 1/4 and two of 1/16, all to the better: as extreme as can be, twice in eight
    assert row.step.p == pytest.approx(0.25, abs=0.02)
    assert row.step.seed_p == [row.step.p]


def test_strata_and_mirror_pairs_weigh_their_folds_the_same_too() -> None:
    more = {"stratum": ("x", "y"), "mirror": (1, 0)}
    (row,) = rows_of([_run("m", [1, 0, 1], 1, **more), _run("m", [0, 0, 0, 0, 0, 1], 2, **more)])
    assert row.strata == pytest.approx({"x": (1 + 0) / 2, "y": (0 + 1 / 3) / 2})
    assert (row.mirror, row.mirror_n) == (pytest.approx((2 / 3 + 1 / 6) / 2), 9)
    other = [replace(run, method="n") for run in (_run("m", [1] * 3, 1, **more), _run("m", [1] * 6, 2, **more))]
    found = {
        c.stratum: c
        for c in contrasts([_run("m", [1, 0, 1], 1, **more), _run("m", [0] * 5 + [1], 2, **more), *other], "m")
    }
    assert (found["x"].before, found["x"].after, found["x"].n) == (pytest.approx(0.5), 1, 5)


def test_the_order_of_runs_does_not_matter() -> None:
    draw = np.random.default_rng(0)
    runs = [
        _run(method, draw.integers(0, 2, 9 * fold).tolist(), fold, seed)
        for method in ("one", "two")
        for seed in (0, 1)
        for fold in (1, 2, 3)
    ]
    expected = [asdict(row) for row in rows_of(runs)]
    order = [2, 0, 1, 5, 4, 3]
    assert [asdict(row) for row in rows_of([runs[i] for i in [*order, *(6 + i for i in order)]])] == expected
    assert list(expected[0]["folds"]) == [1, 2, 3]


def test_the_same_videos_in_three_folds_are_no_surer_than_in_one() -> None:
    draw = np.random.default_rng(1)
    names = [f"v{i}" for i in range(120)]
    hits, more = (draw.random(120) < 0.5).astype(int), (draw.random(120) < 0.6).astype(int)

    def table(folds: int) -> list[dict[str, object]]:
        runs = [_run("one", hits.tolist(), fold + 1, names=names) for fold in range(folds)]
        runs += [_run("two", more.tolist(), fold + 1, names=names) for fold in range(folds)]
        return [asdict(row) for row in rows_of(runs)]

    once, thrice = table(1)[1], table(3)[1]
    for key in ("top1", "low", "high", "mean_class"):
        assert thrice[key] == pytest.approx(once[key])
    for key in ("gain", "low", "high", "p"):
        assert thrice["step"][key] == pytest.approx(once["step"][key])  # type: ignore[index]
    assert (once["n"], thrice["n"]) == (120, 360)


def test_a_video_stands_in_every_fold_that_tests_it() -> None:
    """`both` is tested twice, and counts in either fold as every other video there."""
    runs = [_run("m", [1, 0], 1, names=["both", "a"]), _run("m", [0, 0, 0, 1], 2, names=["both", "b", "c", "d"])]
    (row,) = rows_of(runs)
    assert (row.n, row.folds, row.top1) == (6, {1: 0.5, 2: 0.25}, pytest.approx(0.375))


def _variance(hits_N: np.ndarray, weight_N: np.ndarray, group_N: np.ndarray) -> float:
    """Of a weighted mean, where whole groups are drawn: linearised, slow, from a textbook on surveys."""
    share_N = weight_N / weight_N.sum()
    apart_N = share_N * (hits_N - (share_N * hits_N).sum())
    totals = [apart_N[group_N == group].sum() for group in np.unique(group_N)]
    return len(totals) / (len(totals) - 1) * sum(total**2 for total in totals)


def test_clips_of_one_film_that_are_right_or_wrong_together_are_as_sure_as_their_films() -> None:
    """Twenty films of five clips, in two folds of unequal size; each film is right or wrong as a whole."""
    draw = np.random.default_rng(2)
    films = (draw.random(20) < 0.6).astype(int)
    better = np.maximum(films, (draw.random(20) < 0.5).astype(int))
    film_N = np.repeat(np.arange(20), 5)
    here = {1: film_N % 3 == 0, 2: film_N % 3 != 0}

    def runs(grouped: bool) -> list[Run]:
        return [
            _run(
                method,
                hits[film_N[here[fold]]].tolist(),
                fold,
                group_N=tuple(f"film {film}" for film in film_N[here[fold]]) if grouped else (),
            )
            for method, hits in (("one", films), ("two", better))
            for fold in (1, 2)
        ]

    (alone, alone_two), (grouped, grouped_two) = rows_of(runs(False)), rows_of(runs(True))
    assert grouped.top1 == alone.top1
    fold_N = np.concatenate([np.full(int(here[fold].sum()), fold) for fold in (1, 2)])
    hits_N = np.concatenate([films[film_N[here[fold]]] for fold in (1, 2)]).astype(float)
    group_N = np.concatenate([film_N[here[fold]] for fold in (1, 2)])
    trials = grouped.top1 * (1 - grouped.top1) / _variance(hits_N, fold_weights(fold_N), group_N)
    assert trials < 25
    assert (grouped.low, grouped.high) == pytest.approx(wilson(grouped.top1, trials))
    assert grouped.high - grouped.low > 1.8 * (alone.high - alone.low)
    assert alone_two.step is not None
    assert grouped_two.step is not None
    assert grouped_two.step.gain == alone_two.step.gain
    assert grouped_two.step.high - grouped_two.step.low > 1.8 * (alone_two.step.high - alone_two.step.low)
    assert grouped_two.step.p > alone_two.step.p
    moved = int((films != better).sum())
    assert grouped_two.step.p == pytest.approx(2 * 0.5**moved, abs=0.02)  # all films that change are to the better


def test_one_clip_a_film_or_all_clips_of_equal_films_are_their_films() -> None:
    """With films of one size the figures over whole groups are those of one test a film."""
    draw = np.random.default_rng(3)
    a, b = (draw.random((2, 3, 40)) < 0.6).astype(float)
    clips = np.repeat(np.arange(40), 4)
    weight = np.ones(160)
    assert accuracy_interval(a[:, clips], weight, clips) == pytest.approx(accuracy_interval(a))
    assert difference_interval(a[:, clips], b[:, clips], weight, clips) == pytest.approx(difference_interval(a, b))
    assert paired_p(a[:, clips], b[:, clips], weight, clips) == paired_p(a, b)


def test_intervals_over_groups_and_folds_keep_their_word() -> None:
    """Thirty films of five clips that resemble each other, and a second fold with some of the same clips."""
    draw = np.random.default_rng(0)
    clips = np.repeat(np.arange(30), 5)
    unit_N = np.concatenate([clips, clips[draw.random(150) < 0.6]])
    weight_N = fold_weights(np.repeat([1, 2], [150, len(unit_N) - 150]))
    covered, alone, stars = 0, 0, 0
    for number in range(300):
        one, other = ((draw.random((1, len(unit_N))) < draw.beta(0.7, 0.3, 30)[unit_N]).astype(float) for _ in range(2))
        low, high = accuracy_interval(one, weight_N, unit_N)
        covered += low <= 0.7 <= high
        low, high = accuracy_interval(one, weight_N)
        alone += low <= 0.7 <= high
        stars += number < 100 and paired_p(one, other, weight_N, unit_N) < 0.05
    assert covered >= 0.91 * 300
    assert alone < 0.8 * 300  # as if clips were nothing to each other
    assert stars <= 10


def test_a_group_reaches_over_folds_and_one_that_is_not_said_is_none() -> None:
    """Only fold 1 names the groups; in fold 2 the same videos belong to them all the same."""
    names = [f"v{i}" for i in range(12)]
    hits = [1] * 6 + [0] * 6
    groups = tuple(f"film {i // 3}" for i in range(12))
    said = rows_of([_run("m", hits, 1, names=names, group_N=groups), _run("m", hits, 2, names=names, group_N=groups)])
    half = rows_of([_run("m", hits, 1, names=names, group_N=groups), _run("m", hits, 2, names=names)])
    none = rows_of([_run("m", hits, 1, names=names, group_N=("",) * 12), _run("m", hits, 2, names=names)])
    assert (half[0].low, half[0].high) == (said[0].low, said[0].high)
    assert none[0].high - none[0].low < said[0].high - said[0].low
    with pytest.raises(DataError, match="video 'v0' is of group 'film 0' in some runs and of 'other' in others"):
        rows_of(
            [_run("m", hits, 1, names=names, group_N=groups), _run("n", hits, 1, names=names, group_N=("other",) * 12)]
        )


@given(st.lists(st.integers(1, 5), min_size=1, max_size=60))
def test_weights_sum_to_one_and_every_fold_has_the_same_share(folds: list[int]) -> None:
    fold_N = np.array(folds)
    share_N = fold_weights(fold_N) / len(folds)
    assert share_N.sum() == pytest.approx(1)
    for fold in set(folds):
        assert share_N[fold_N == fold].sum() == pytest.approx(1 / len(set(folds)))


def _plain(a_SN: np.ndarray, b_SN: np.ndarray) -> tuple[tuple[float, float], tuple[float, float], float]:
    """The same without weights and units: what one fold of videos that stand alone has always been."""
    seeds, videos = a_SN.shape
    mean, variance = float(a_SN.mean()), a_SN.mean(axis=0).var(ddof=1) / videos
    variance += a_SN.mean(axis=1).var(ddof=1) / seeds if seeds > 1 else 0
    interval = wilson(mean, float(min(seeds * videos, mean * (1 - mean) / variance) if variance > 0 else videos))
    rng, means = np.random.default_rng(0), []
    for _ in range(RESAMPLES // CHUNK):
        videos_RN = rng.multinomial(videos, np.full(videos, 1 / videos), CHUNK) / videos
        seeds_RS = rng.multinomial(seeds, np.full(seeds, 1 / seeds), CHUNK) / seeds
        mean_R = (seeds_RS * (videos_RN @ a_SN.T)).sum(axis=1)
        if len(b_SN) != seeds:
            seeds_RS = rng.multinomial(len(b_SN), np.full(len(b_SN), 1 / len(b_SN)), CHUNK) / len(b_SN)
        means.append(mean_R - (seeds_RS * (videos_RN @ b_SN.T)).sum(axis=1))
    low, high = np.quantile(np.concatenate(means), [(1 - 0.95) / 2, (1 + 0.95) / 2])
    delta_N = a_SN.mean(axis=0) - b_SN.mean(axis=0)
    moved, rng, extreme = delta_N[delta_N != 0], np.random.default_rng(0), 0
    for _ in range(RESAMPLES // CHUNK):
        signs = rng.integers(0, 2, (CHUNK, len(moved)), dtype=np.int8) * 2 - 1
        extreme += int((np.abs(signs @ moved) >= abs(moved.sum()) - 1e-9).sum())
    return interval, (float(low), float(high)), (extreme + 1) / (RESAMPLES + 1) if len(moved) else 1.0


@pytest.mark.parametrize(("seeds", "others", "videos"), [(1, 1, 7), (3, 1, 49), (5, 5, 110)])
def test_with_one_fold_and_no_groups_every_bit_is_as_without_weights(seeds: int, others: int, videos: int) -> None:
    draw = np.random.default_rng(videos)
    a, b = (draw.random((seeds, videos)) < 0.7).astype(float), (draw.random((others, videos)) < 0.5).astype(float)
    expected = _plain(a, b)
    for more in ((), (fold_weights(np.full(videos, 2)), np.arange(videos))):
        assert (accuracy_interval(a, *more), difference_interval(a, b, *more), paired_p(a, b, *more)) == expected
    above = [_run("above", hits.astype(int).tolist(), 1, seed) for seed, hits in enumerate(b)]
    here = [_run("here", hits.astype(int).tolist(), 1, seed) for seed, hits in enumerate(a)]
    row = rows_of([*above, *here])[1]
    assert row.step is not None
    assert ((row.low, row.high), (row.step.low, row.step.high), row.step.p) == expected
    assert (row.top1, row.step.seed_p[0]) == (float(a.mean()), mcnemar_p(b[0], a[0]))


def test_without_a_single_miss_it_is_units_that_say_how_sure_that_is() -> None:
    z = float(norm.ppf(0.975))
    unit = np.repeat(np.arange(10), 30)
    assert accuracy_interval(np.ones((1, 300)), np.ones(300), unit)[0] == pytest.approx(10 / (10 + z * z))


def test_a_seed_that_lacks_a_fold_is_named() -> None:
    runs = [_run("prompts", SMALL, fold, seed) for seed in (0, 1) for fold in (1, 2, 3)]
    with pytest.raises(DataError, match=r"'prompts' are of folds 1, 2 and 3, but seed 1 lacks folds 2 and 3; run what"):
        rows_of(runs[:4])


def test_methods_over_other_folds_never_share_a_table() -> None:
    runs = [_run("zero-shot", SMALL, 1), *(_run("prompts", SMALL, fold) for fold in (1, 2, 3))]
    said = "'zero-shot' are of fold 1, runs 'prompts' are of folds 1, 2 and 3; .* leave out all but fold 1, or run the"
    with pytest.raises(DataError, match=said):
        rows_of(runs)
    with pytest.raises(DataError, match=said):
        contrasts(runs, "zero-shot")


def test_two_versions_of_a_list_share_a_row_where_they_test_the_same() -> None:
    """The one may have more to train with; a table says the other two apart by name and version."""
    newer = {"about": {"list": "mine@00000002"}}
    assert len(rows_of([_run("m", SMALL), _run("m", SMALL, seed=1, **newer)])) == 1
    other = _run("n", SMALL, about={"list": "mine@00000002", "rows_sha256": "another"})
    said = r"'m' \(seed 0, mine@00000001, fold 1\) and 'n' \(seed 0, mine@00000002, fold 1\) saw different test videos"
    with pytest.raises(DataError, match=said):
        rows_of([_run("m", SMALL), other])


def test_other_words_for_the_classes_of_a_list_are_no_other_videos() -> None:
    reworded = _run("reworded", SMALL, classes=("an a", "a b"))
    assert len(rows_of([_run("m", SMALL), reworded])) == 2
    unknown = replace(reworded, about={**reworded.about, "list": "other@00000001"})
    with pytest.raises(DataError, match="different test videos"):
        rows_of([_run("m", SMALL), unknown])


def test_one_fold_of_several_is_said_to_be_one() -> None:
    (row,) = rows_of([_run("m", SMALL, 2)])
    assert row.folds == {2: 0.5}
    (only,) = rows_of([_run("m", SMALL, about={"folds": 1})])
    assert only.folds == {}
