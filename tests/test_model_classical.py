"""Nearest mean, linear probe and Tip-Adapter against slow oracles; what is chosen is chosen on held videos alone."""

import inspect
import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from plfeat.errors import DataError
from plfeat.model import classical
from plfeat.model.classical import choose_tip, linear_probe, nearest_mean, tip_logits, unit


def blobs(seed: int, each: int, classes: int = 3, width: int = 6, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((classes, width))
    label = np.repeat(np.arange(classes), each)
    return (centres[label] + spread * draw.standard_normal((len(label), width))).astype(np.float32), label


def test_nearest_mean_is_the_cosine_with_the_mean_of_unit_features() -> None:
    train, label = blobs(0, 5)
    test, _ = blobs(1, 2)
    scores = nearest_mean([(3 * train[:2], label[:2]), (3 * train[2:], label[2:])], 4, test)
    for m, row in enumerate(test):
        for c in range(3):
            mean = np.mean([x / np.linalg.norm(x) for x in train[label == c]], axis=0)
            expected = row @ mean / np.linalg.norm(row) / np.linalg.norm(mean)
            assert scores[m, c] == pytest.approx(expected, rel=1e-5)
    assert (scores[:, 3] == -1).all()


def test_the_probe_is_scikit_learns_at_the_strength_that_held_videos_chose() -> None:
    train, label = blobs(0, 20, spread=2.0)
    held, held_label = blobs(1, 20, spread=2.0)
    test, _ = blobs(2, 10, spread=2.0)
    probe = linear_probe(train, label, 3, held, held_label)
    assert probe.strength == min(c for c, score in probe.tried.items() if score == max(probe.tried.values()))
    assert all(1e-6 * 0.999 <= c <= 1e6 * 1.001 for c in probe.tried)
    for c in (1e-6, 1e-4, 1e-2, 1, 1e2, 1e4, 1e6):
        assert min(abs(np.log10(c) - np.log10(tried)) for tried in probe.tried) < 1e-9
    steps = {round(8 * np.log10(c)) for c in probe.tried}
    best = round(8 * np.log10(probe.strength))
    assert {step for step in (best - 1, best + 1) if -48 <= step <= 48} <= steps  # an eighth of a decade
    theirs = LogisticRegression(C=probe.strength, max_iter=2000).fit(train, label)
    np.testing.assert_allclose(probe.scores(test), theirs.predict_proba(test), atol=2e-3)
    accuracy = (theirs.predict(held) == held_label).mean()
    assert probe.tried[probe.strength] == pytest.approx(accuracy, abs=0.02)


def test_weak_regularisation_gets_the_thousand_rounds_of_clips_protocol() -> None:
    """After 200 it answers otherwise."""
    draw, label = np.random.default_rng(0), np.arange(300) % 8
    centres, spread = draw.standard_normal((8, 24)), np.arange(1, 25) ** -1.0  # a few directions say most, as in CLIP
    train, test = (
        unit(((2 + centres[label] / 2 + draw.standard_normal((300, 24))) * spread).astype(np.float32)) for _ in range(2)
    )
    found = classical._probe(train, label, 8, 1e4, {}).scores(test)
    few, theirs = (_logistic(train, label, 1e4, rounds).predict_proba(test) for rounds in (200, 1000))
    np.testing.assert_allclose(found, theirs, atol=1e-3)
    assert (few.argmax(axis=1) != theirs.argmax(axis=1)).sum() > 5


def _logistic(train: np.ndarray, label: np.ndarray, strength: float, rounds: int) -> LogisticRegression:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return LogisticRegression(C=strength, max_iter=rounds).fit(train, label)


def test_refitted_it_has_learned_from_the_held_videos_too() -> None:
    train, label = blobs(0, 20, spread=2.0)
    held, held_label = blobs(1, 20, spread=2.0)
    once, again = (linear_probe(train, label, 3, held, held_label, refit=refit) for refit in (False, True))
    assert once.strength == again.strength
    assert not np.allclose(once.weight_PD, again.weight_PD)


def test_a_class_that_was_not_in_training_has_probability_zero() -> None:
    train, label = blobs(0, 10)
    keep = label != 1
    probe = linear_probe(train[keep], label[keep], 4, train[keep], label[keep])
    shares = probe.scores(train)
    assert (shares[:, [1, 3]] == 0).all()
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
    theirs = LogisticRegression(C=probe.strength, max_iter=2000).fit(train[keep], label[keep])
    np.testing.assert_allclose(shares[:, [0, 2]], theirs.predict_proba(train), atol=2e-3)


def test_one_class_is_refused_and_no_held_videos_mean_clips_own_strength() -> None:
    train, label = blobs(0, 4)
    with pytest.raises(DataError, match="one class only"):
        linear_probe(train[:4], label[:4], 3, train, label)
    probe = linear_probe(train, label, 3, train[:0], label[:0])
    assert (probe.strength, probe.tried) == (0.316, {})


def test_tip_adapter_is_clip_and_the_cached_videos_weighed_by_nearness() -> None:
    keys, label = blobs(0, 4)
    test, _ = blobs(1, 700)  # more than one chunk
    keys, test, text = unit(keys), unit(test), unit(blobs(2, 1)[0])
    found = tip_logits(test, keys, label, text, 20.0, 1.7, 4.0)
    for m in (0, 1, 1023, 1024, 2099):
        expected = 20.0 * text @ test[m]
        for key, own in zip(keys, label, strict=True):
            expected[own] += 1.7 * np.exp(-4.0 * (1 - test[m] @ key))
        np.testing.assert_allclose(found[m], expected, rtol=1e-4)
    np.testing.assert_allclose(tip_logits(test, keys, label, text, 20.0, 0.0, 4.0), 20 * test @ text.T, rtol=1e-4)


def test_tip_adapters_numbers_are_the_best_of_the_grid_on_held_videos() -> None:
    keys, label = blobs(0, 4, spread=2.0)
    held, held_label = blobs(3, 10, spread=2.0)
    keys, held, text = unit(keys), unit(held), unit(np.random.default_rng(5).standard_normal((3, 6)).astype(np.float32))
    grid = [(alpha, beta) for alpha in (0.0, 0.5, 3.0, 4.0) for beta in (1.0, 5.0)]
    accuracy = {
        pair: (tip_logits(held, keys, label, text, 5.0, *pair).argmax(axis=1) == held_label).mean() for pair in grid
    }
    alpha, beta, best = choose_tip(held, held_label, keys, label, text, 5.0, (4.0, 0.5, 0.0, 3.0), (5.0, 1.0))
    assert best == pytest.approx(max(accuracy.values()))
    assert (alpha, beta) == min(pair for pair in grid if accuracy[pair] == max(accuracy.values()))
    exact = choose_tip(keys, label, keys, label, text, 5.0, (400.0, 40.0), (50.0, 5.0))
    assert exact == (40.0, 5.0, 1.0)  # all of them are right about the keys themselves


def test_nothing_that_chooses_ever_sees_a_test_video() -> None:
    for name in ("linear_probe", "choose_tip", "_probe"):
        assert not [p for p in inspect.signature(getattr(classical, name)).parameters if "test" in p]
