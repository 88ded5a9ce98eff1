"""The interaction module against the paper's equations (12) to (22), each member by itself, in float64."""

from typing import Any

import equations
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plfeat.model.draws import Draws
from plfeat.model.fuse import Fusion
from plfeat.model.graph import Graph
from plfeat.model.parse import Parse, mean_of_words
from plfeat.model.release import ReleaseGraph, ReleaseParse

E = 2
SEEDS = (3, 8)


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def matrix(layer: Any, member: int) -> np.ndarray:
    return layer.weight[member].detach().numpy()


def affine(layer: Any, member: int) -> tuple[np.ndarray, np.ndarray]:
    return matrix(layer, member), layer.bias[member].detach().numpy()


def close(found: torch.Tensor, expected: Any) -> None:
    np.testing.assert_allclose(found.detach().numpy(), np.asarray(expected), rtol=1e-9, atol=1e-11)


def sizes(*most: int) -> Any:
    return st.tuples(*(st.integers(1, m) for m in most), st.integers(0, 10_000))


def some_real(seed: int, texts: int, words: int) -> torch.Tensor:
    """At least one real word a text."""
    real = torch.rand(E, texts, words, generator=torch.Generator().manual_seed(seed)) < 0.6
    real[:, :, seed % words] = True
    return real


@settings(deadline=None, max_examples=20)
@given(sizes(3, 6, 5, 4, 4))
def test_parsing_is_equations_12_to_17(drawn: tuple[int, ...]) -> None:
    texts, words, width, hidden, steps, seed = drawn
    parse = Parse(Draws(SEEDS), width, hidden, steps).double()
    s0, S, real = normal(seed, E, texts, width), normal(seed + 1, E, texts, words, width), some_real(seed, texts, words)
    y, R = parse(s0, S, real)
    assert R.shape == (E, texts, steps, words)
    for e in range(E):
        pairs = [affine(question, e) for question in parse.question]
        for u in range(texts):
            kept = real[e, u].numpy()
            expected, attention = equations.parse(
                s0[e, u].numpy(),
                list(S[e, u].numpy()[kept]),
                [W for W, _ in pairs],
                [b for _, b in pairs],
                *affine(parse.state, e),
                matrix(parse.from_state, e),
                matrix(parse.from_word, e),
                matrix(parse.score, e),
            )
            close(y[e, u], expected)
            close(R[e, u][:, real[e, u]], attention)
            assert not R[e, u][:, ~real[e, u]].any()


@pytest.mark.parametrize("kind", [Parse, ReleaseParse])
@pytest.mark.parametrize("filling", [1e6, torch.inf, torch.nan])
def test_what_stands_where_no_word_is_never_matters(kind: Any, filling: float) -> None:
    parse = kind(Draws(SEEDS), 4, 3, 2).double()
    s0, S, real = normal(0, E, 3, 4), normal(1, E, 3, 5, 4), some_real(2, 3, 5)
    S.requires_grad_()
    dirty = S.masked_fill(~real[..., None], filling)
    clean, _ = parse(s0, S.masked_fill(~real[..., None], 0), real)
    found, _ = parse(s0, dirty, real)
    assert torch.equal(found, clean)
    (gradient,) = torch.autograd.grad(found.sum(), S)
    assert gradient.isfinite().all()
    assert not gradient[~real].any()


def test_each_step_looks_at_what_the_last_one_found() -> None:
    two = Parse(Draws((0,)), 4, 3, 2).double()
    s0, S, real = normal(5, 1, 1, 4), normal(6, 1, 1, 5, 4), torch.ones(1, 1, 5, dtype=torch.bool)
    before, _ = two(s0, S, real)
    with torch.no_grad():
        two.question[0].weight += 1.0
    after, _ = two(s0, S, real)
    assert not torch.allclose(before, after)


def test_the_mean_of_words_leaves_padding_out() -> None:
    S, real = normal(1, E, 2, 4, 3), some_real(1, 2, 4)
    found = mean_of_words(S.masked_fill(~real[..., None], torch.nan), real)
    for e in range(E):
        for u in range(2):
            close(found[e, u], S[e, u][real[e, u]].mean(dim=0))


@settings(deadline=None, max_examples=20)
@given(sizes(3, 3, 5, 4, 3, 4), st.booleans())
def test_graph_and_fusion_are_equations_18_to_22(drawn: tuple[int, ...], own: bool) -> None:
    samples, texts, frames, width, text_width, hidden, seed = drawn
    texts = 1 if own else texts
    graph = Graph(Draws(SEEDS), width, text_width, hidden).double()
    last_relu, score_relu = bool(seed & 1), bool(seed & 2)
    fuse = Fusion(Draws(SEEDS), width, text_width, text_width, hidden, 3, last_relu, score_relu).double()
    V, Y = normal(seed, E, samples, frames, width), normal(seed + 1, E, samples if own else 1, texts, text_width)
    seen, text_half, alpha = graph(V, Y)
    J, beta = fuse(seen, text_half, Y)
    assert J.shape == (E, samples, texts, 3)
    for e in range(E):
        for b in range(samples):
            for u in range(texts):
                group = b if own else 0
                y = Y[e, group, u].numpy()
                nodes, attention = equations.graph(
                    list(V[e, b].numpy()), y, matrix(graph.query, e), matrix(graph.key, e)
                )
                halves = [torch.cat([seen[e, b, u, k], text_half[e, group, u]]).detach().numpy() for k in range(frames)]
                np.testing.assert_allclose(halves, nodes, rtol=1e-9, atol=1e-11)
                close(alpha[e, b, u], attention)
                joint, over = equations.fuse(
                    nodes,
                    y,
                    *affine(fuse.node, e),
                    *affine(fuse.text, e),
                    matrix(fuse.score, e),
                    *affine(fuse.node_out, e),
                    *affine(fuse.text_out, e),
                    last_relu=last_relu,
                    b=affine(fuse.score, e)[1] if score_relu else None,
                )
                close(J[e, b, u], joint)
                close(beta[e, b, u], over)


def test_one_frame_has_no_neighbour_and_no_nan_forwards_or_backwards() -> None:
    graph, fuse = Graph(Draws(SEEDS), 4, 4, 3).double(), Fusion(Draws(SEEDS), 4, 4, 4, 3, 4).double()
    V, Y = normal(0, E, 2, 1, 4).requires_grad_(), normal(1, E, 1, 3, 4).requires_grad_()
    seen, text_half, alpha = graph(V, Y)
    assert not alpha.any()
    close(seen[:, :, 0], V.relu().detach())
    close(text_half, Y.relu().detach())
    J, _ = fuse(seen, text_half, Y)
    J.sum().backward()
    for value in (J, V.grad, Y.grad, *(p.grad for p in fuse.parameters())):
        assert value is not None
        assert value.isfinite().all()


def test_frames_have_no_order_for_the_graph() -> None:
    graph, fuse = Graph(Draws(SEEDS), 4, 4, 3).double(), Fusion(Draws(SEEDS), 4, 4, 4, 3, 4).double()
    V, Y, order = normal(0, E, 2, 5, 4), normal(1, E, 1, 3, 4), torch.tensor([3, 0, 4, 1, 2])
    seen, text_half, _ = graph(V, Y)
    shuffled, _, _ = graph(V[:, :, order], Y)
    torch.testing.assert_close(shuffled, seen[:, :, :, order])
    torch.testing.assert_close(fuse(shuffled, text_half, Y)[0], fuse(seen, text_half, Y)[0])


@settings(deadline=None, max_examples=12)
@given(sizes(3, 5, 4, 4, 3))
def test_the_released_parsing_as_its_code_has_it(drawn: tuple[int, ...]) -> None:
    texts, words, width, hidden, steps, seed = drawn
    parse = ReleaseParse(Draws(SEEDS), width, hidden, steps).double()
    s0, S, real = normal(seed, E, texts, width), normal(seed + 1, E, texts, words, width), some_real(seed, texts, words)
    y, R = parse(s0, S, real)
    for e in range(E):
        for u in range(texts):
            expected, attention = equations.release_parse(
                list(S[e, u].numpy()[real[e, u].numpy()]),
                affine(parse.attend, e),
                matrix(parse.attend_score, e),
                [affine(layer, e) for layer in parse.first],
                [affine(layer, e) for layer in parse.second],
                affine(parse.state, e),
                affine(parse.gate, e),
                matrix(parse.score, e),
                parse.start[e].detach().numpy(),
            )
            close(y[e, u], expected)
            close(R[e, u][:, real[e, u]], attention)


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("frames", [1, 3, 6])
def test_the_released_graph_as_its_code_has_it(own: bool, frames: int) -> None:
    graph = ReleaseGraph(Draws(SEEDS), 8, 5, 7, heads=4, cap=4).double()
    V, Y = normal(frames, E, 3, frames, 8), normal(9, E, 3 if own else 1, 1 if own else 2, 5)
    found, no_text, alpha = graph(V, Y)
    assert no_text is None
    torch.testing.assert_close(alpha.sum(dim=-1), torch.ones_like(alpha[..., 0]))
    assert not alpha[..., 4:].any()  # the cap
    for e in range(E):
        for b in range(3):
            for u in range(Y.shape[2]):
                expected = equations.release_graph(
                    list(V[e, b].numpy()),
                    Y[e, b if own else 0, u].numpy(),
                    affine(graph.join, e),
                    [affine(layer, e) for layer in graph.query],
                    [affine(layer, e) for layer in graph.key],
                    [mix[e].detach().numpy() for mix in graph.mix],
                    [bias[e].detach().numpy() for bias in graph.mix_bias],
                    heads=4,
                    cap=4,
                )
                close(found[e, b, u], expected)


def test_a_member_and_a_part_start_the_same_alone_and_in_company() -> None:
    both, alone = Graph(Draws((3, 8)), 4, 4, 3), Graph(Draws((8,)), 4, 4, 3)
    assert torch.equal(both.query.weight[1:], alone.query.weight)
    assert not torch.equal(both.query.weight[0], both.query.weight[1])
    assert not torch.equal(alone.query.weight, alone.key.weight)
    longer, shorter = Parse(Draws((3,)), 4, 3, 4), Parse(Draws((3,)), 4, 3, 2)
    assert torch.equal(longer.question[1].weight, shorter.question[1].weight)
    assert torch.equal(longer.score.weight, shorter.score.weight)
