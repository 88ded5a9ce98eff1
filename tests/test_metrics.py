"""Accuracy without luck in ties, and statistics against scipy and against what is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import binomtest, chi2
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, top_k_accuracy_score

from plfeat.errors import DataError, UsageError
from plfeat.metrics.classify import class_accuracies, confusion, mean_class_accuracy, mirror_hits, top_k_hits
from plfeat.metrics.compare import contrasts, metrics_of, rows_of
from plfeat.metrics.stats import accuracy_interval, difference_interval, holm, mcnemar_p, paired_p
from plfeat.records import Run


@given(
    scores=hnp.arrays(np.float32, st.tuples(st.integers(1, 20), st.just(6)), elements=st.floats(-1, 1, width=16)),
    k=st.integers(1, 6),
    seed=st.integers(0, 9),
)
def test_top_k_is_a_stable_sort(scores: np.ndarray, k: int, seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, 6, len(scores))
    expected = [labels[i] in np.argsort(-scores[i], kind="stable")[:k] for i in range(len(scores))]
    assert top_k_hits(scores, labels, k).tolist() == expected


def test_equal_scores_are_no_skill() -> None:
    labels = np.arange(10)
    assert top_k_hits(np.zeros((10, 10), np.float32), labels, 1).mean() == 0.1
    assert top_k_hits(np.zeros((10, 10), np.float32), labels, 5).mean() == 0.5


def test_a_nan_is_never_a_hit() -> None:
    scores = np.array([[np.nan, 0.1], [0.9, np.nan], [np.nan, np.nan], [0.9, 0.1]], np.float32)
    assert top_k_hits(scores, np.zeros(4, int), 1).tolist() == [False, False, False, True]


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_that_is_no_class_counts_as_none(label: int) -> None:
    """Counted from the end, -1 was the last class."""
    scores, labels = np.eye(3, dtype=np.float32), np.array([0, 1, label])
    for figure in (
        lambda: top_k_hits(scores, labels, 1),
        lambda: confusion(scores, labels),
        lambda: mirror_hits(scores, labels, (1, 0, None)),
        lambda: class_accuracies(np.ones(3, bool), labels, ("a", "b", "c")),
    ):
        with pytest.raises(DataError, match=f"labels: 1 of 3 are outside 0 to 2, the first is {label}"):
            figure()


def test_a_class_without_videos_has_no_accuracy() -> None:
    found = class_accuracies(np.array([True, False, True]), np.array([0, 0, 2]), ("a", "b", "c"))
    assert found == {"a": 0.5, "c": 1.0}


def test_metrics_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.random((200, 5)).astype(np.float32), rng.integers(0, 5, 200)
    assert top_k_hits(scores, labels, 2).mean() == pytest.approx(top_k_accuracy_score(labels, scores, k=2))
    guess = scores.argmax(axis=1)
    hits = top_k_hits(scores, labels, 1)
    assert mean_class_accuracy(hits, labels) == pytest.approx(balanced_accuracy_score(labels, guess))
    assert np.array_equal(confusion(scores, labels), confusion_matrix(labels, guess))


def test_mirror_hits_compare_a_class_with_its_twin_only() -> None:
    scores = np.array([[0.2, 0.1, 0.9], [0.2, 0.1, 0.9], [0.0, 0.0, 1.0], [0.3, 0.3, 0.1]], np.float32)
    labels = np.array([0, 1, 2, 0])
    assert mirror_hits(scores, labels, (1, 0, None)).tolist() == [True, False, False]  # a tie is no hit


def test_mcnemar_is_the_exact_binomial_and_survives_no_disagreement() -> None:
    a = np.array([1, 1, 1, 1, 0, 1, 1, 0.0])
    b = np.array([0, 0, 0, 0, 1, 1, 1, 0.0])
    assert mcnemar_p(a, b) == pytest.approx(binomtest(4, 5).pvalue)
    assert mcnemar_p(a, a) == 1.0


def test_the_permutation_test_agrees_with_exact_mcnemar_for_one_seed() -> None:
    rng = np.random.default_rng(1)
    a, b = (rng.random((1, 300)) < 0.5).astype(float), (rng.random((1, 300)) < 0.42).astype(float)
    assert paired_p(a, b) == pytest.approx(mcnemar_p(a[0], b[0]), abs=0.02)
    assert paired_p(a, a) == 1.0
    assert paired_p(np.array([[1.0, 1.0]]), np.array([[0.0, 0.0]])) == pytest.approx(0.5, abs=0.02)  # 2 of 4 signs


def test_without_a_difference_p_is_uniform() -> None:
    rng = np.random.default_rng(2)
    p = np.array([paired_p(*(rng.random((2, 1, 120)) < 0.5).astype(float)) for _ in range(200)])
    statistic = -2 * np.log(p).sum()
    assert 0.001 < chi2.cdf(statistic, 2 * len(p)) < 0.999
    assert (p < 0.05).mean() < 0.1


@pytest.mark.parametrize(("truth", "videos"), [(0.7, 150), (0.95, 24), (0.99, 100), (0.02, 100)])
@pytest.mark.parametrize("seeds", [1, 3])
def test_intervals_cover_the_truth_about_as_often_as_they_say(truth: float, videos: int, seeds: int) -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(400):
        low, high = accuracy_interval((rng.random((seeds, videos)) < truth).astype(float))
        covered += low <= truth <= high
    assert covered >= 0.91 * 400


def test_one_seed_is_wilsons_interval_and_seeds_that_agree_add_nothing() -> None:
    hits = (np.random.default_rng(5).random((1, 80)) < 0.6).astype(float)
    expected = binomtest(int(hits.sum()), 80).proportion_ci(method="wilson")
    assert accuracy_interval(hits) == pytest.approx((expected.low, expected.high), abs=2e-3)
    assert accuracy_interval(np.repeat(hits, 4, axis=0)) == pytest.approx(accuracy_interval(hits), abs=1e-9)


def test_the_interval_of_a_difference_is_paired() -> None:
    rng = np.random.default_rng(4)
    a = (rng.random((3, 400)) < 0.5).astype(float)
    b = a.copy()
    b[:, :10] = 1 - b[:, :10]  # nearly the same runs: the difference is known far better than either
    low, high = difference_interval(a, b)
    alone = accuracy_interval(a)
    assert high - low < (alone[1] - alone[0]) / 2
    assert low <= float((a - b).mean()) <= high


def test_holm_is_the_textbook_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def _run(method: str, seed: int, guess: np.ndarray, labels: np.ndarray, **other: object) -> Run:
    scores = np.eye(3, dtype=np.float32)[guess]
    ids = tuple(f"v{i}" for i in range(len(labels)))
    settings = {"classes": ("a", "b", "c"), "stratum": ("x", "x", "y"), "mirror": (1, 0, None), "id_N": ids} | other
    return Run(method=method, seed=seed, scores_NC=scores, label_N=labels, **settings)  # type: ignore[arg-type]


def test_rows_compare_each_method_with_the_one_above() -> None:
    labels = np.arange(300) % 3
    rng = np.random.default_rng(0)
    weak = [_run("weak", s, rng.integers(0, 3, 300), labels) for s in range(3)]
    better = [_run("better", 0, np.where(rng.random(300) < 0.6, labels, rng.integers(0, 3, 300)), labels)]
    rows = rows_of([*weak, *better])
    assert [row.method for row in rows] == ["weak", "better"]
    assert rows[0].step is None
    step = rows[1].step
    assert step is not None
    assert step.gain == pytest.approx(rows[1].top1 - rows[0].top1)
    assert step.low < step.gain < step.high
    assert step.p < 0.001
    assert rows[1].strata.keys() == {"x", "y"}
    assert rows[1].mirror_n == 200
    assert metrics_of(better[0])["top1"] == pytest.approx(rows[1].top1)


@pytest.mark.parametrize(
    "other", [{"id_N": tuple("pqrstu")}, {"classes": ("a", "b", "z")}, {"about": {"rows_sha256": "other"}}]
)
def test_runs_over_different_videos_never_share_a_table(other: dict[str, object]) -> None:
    labels = np.arange(6) % 3
    with pytest.raises(DataError, match="different test videos"):
        rows_of([_run("one", 0, labels, labels), _run("two", 0, labels, labels, **other)])


def test_contrasts_are_paired_by_video_within_each_stratum_and_corrected_together() -> None:
    """B is right wherever A is, and on half of the order videos besides; nowhere else does anything change."""
    draw = np.random.default_rng(0)
    label = np.repeat(np.arange(4), 40)
    right = draw.random(160) < 0.5
    more = right | ((label >= 2) & (draw.random(160) < 0.5))

    def run(method: str, hits: np.ndarray, seed: int) -> Run:
        scores = np.zeros((160, 4), np.float32)
        scores[np.arange(160), np.where(hits, label, label ^ 1)] = 1
        ids = tuple(map(str, range(160)))
        stratum, mirror = ("appearance", "appearance", "order", "order"), (None, None, 3, 2)
        return Run(method, seed, scores, label, ids, tuple("abcd"), stratum, mirror)

    runs = [run("A", right, 0), run("A", right, 1), run("B", more, 0), run("B", more, 1), run("C", right, 0)]
    found = {(contrast.method, contrast.stratum): contrast for contrast in contrasts(runs, "A")}
    assert set(found) == {(m, s) for m in "BC" for s in ("all", "appearance", "order", "mirror pairs")}
    order = found["B", "order"]
    assert (order.n, order.before, order.after) == (80, right[80:].mean(), more[80:].mean())
    assert 0 < order.low < order.after - order.before < order.high
    raw = paired_p(np.array([more[80:]] * 2, float), np.array([right[80:]] * 2, float))
    assert order.p == pytest.approx(min(1, holm([raw] * 3 + [1.0] * 5)[0]))
    assert order.p < 0.05
    assert found["B", "mirror pairs"].after == order.after  # a miss here is always the twin
    for quiet in (("B", "appearance"), ("C", "all"), ("C", "order")):
        assert (found[quiet].low, found[quiet].high, found[quiet].p) == pytest.approx((0, 0, 1), abs=1e-9)


def test_a_method_to_set_others_against_must_be_there() -> None:
    label = np.zeros(3, int)
    run = Run("prompts", 0, np.ones((3, 2), np.float32), label, ("a", "b", "c"), ("x", "y"))
    with pytest.raises(UsageError, match="unknown method 'promts'; did you mean 'prompts'"):
        contrasts([run], "promts")
