"""The paper's equations in NumPy float64, one video and one text at a time, in its own notation and with plain loops.

Nothing here knows how the modules are built: matrices are given as the paper names them, W of shape [out, in].
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def relu(x: Array) -> Array:
    return np.maximum(x, 0.0)


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max())
    return e / e.sum()


def parse(
    s0: Array,
    words: list[Array],
    W: list[Array],
    b: list[Array],
    W_u: Array,
    b_u: Array,
    W_s0: Array,
    W_s1: Array,
    W_s2: Array,
) -> tuple[Array, list[Array]]:
    """Equations (12) to (17): y^T, and R^t of every step. `words` are the real ones only; y^0 = 0."""
    y, R = np.zeros_like(words[0]), []
    for W_t, b_t in zip(W, b, strict=True):
        q = W_t @ s0 + b_t  # (12)
        u = np.concatenate([q, y])  # (13)
        s = relu(W_u @ u + b_u)  # (14)
        a = np.array([(W_s2 @ np.tanh(W_s0 @ s + W_s1 @ s_m)).item() for s_m in words])  # (15)
        r = softmax(a)  # (16)
        y = sum((r_m * s_m for r_m, s_m in zip(r, words, strict=True)), np.zeros_like(y))  # (17)
        R.append(r)
    return y, R


def graph(frames: list[Array], y: Array, W_q: Array, W_k: Array) -> tuple[list[Array], Array]:
    """Equations (18) to (21): the vertices v*_i of width 2D, and alpha with its diagonal left 0."""
    K = len(frames)
    v = [np.concatenate([v_k, y]) for v_k in frames]  # (18)
    alpha, out = np.zeros((K, K)), []
    for i in range(K):
        others = [j for j in range(K) if j != i]
        scores = np.array([(W_q @ v[i]) @ (W_k @ v[j]) for j in others])  # (19)
        if others:
            alpha[i, others] = softmax(scores)  # (20)
        total = v[i].copy()
        for j in others:
            total += alpha[i, j] * v[j]
        out.append(relu(total))  # (21)
    return out, alpha


def fuse(
    nodes: list[Array],
    y: Array,
    W_v: Array,
    b_v: Array,
    W_q: Array,
    b_q: Array,
    w: Array,
    W_v2: Array,
    b_v2: Array,
    W_q2: Array,
    b_q2: Array,
    last_relu: bool = True,
    b: Array | None = None,
) -> tuple[Array, Array]:
    """Equation (22) as BUTD does it: J, and the attention over the frames. With b the weights are ReLU(w . + b), as in
    the released code."""
    asked = relu(W_q @ y + b_q)
    scores = np.array([(w @ (relu(W_v @ node + b_v) * asked)).item() for node in nodes])
    scores = scores if b is None else relu(scores + b)
    beta = softmax(scores)
    pooled = sum((b * node for b, node in zip(beta, nodes, strict=True)), np.zeros_like(nodes[0]))
    video = W_v2 @ pooled + b_v2
    return relu(W_q2 @ y + b_q2) * (relu(video) if last_relu else video), beta


def supervised_contrastive(J: Array, s0: Array, y: list[int], tau: float) -> float:
    """Equation (24), the mean over the anchors that have a positive instead of the sum over all."""
    terms = []
    for i in range(len(y)):
        A = [a for a in range(len(y)) if a != i]
        P = [p for p in A if y[p] == y[i]]
        if not P:
            continue
        total = sum(np.exp(J[i] @ s0[a] / tau) for a in A)
        terms.append(-sum(np.log(np.exp(J[i] @ s0[p] / tau) / total) for p in P) / len(P))
    return float(np.mean(terms)) if terms else 0.0


def release_parse(
    words: list[Array],
    attend: tuple[Array, Array],
    attend_score: Array,
    first: list[tuple[Array, Array]],
    second: list[tuple[Array, Array]],
    state: tuple[Array, Array],
    gate: tuple[Array, Array],
    score: Array,
    start: Array,
) -> tuple[Array, list[Array]]:
    """The released code's parsing, with the softmax over the words."""

    def linear(layer: tuple[Array, Array], x: Array) -> Array:
        return layer[0] @ x + layer[1]

    weight = softmax(np.array([(attend_score @ np.tanh(linear(attend, s))).item() for s in words]))
    q = sum((w * s for w, s in zip(weight, words, strict=True)), np.zeros_like(words[0]))
    c, R = start, []
    for one, two in zip(first, second, strict=True):
        u = linear(state, np.concatenate([linear(two, np.tanh(linear(one, q))), c]))
        a = [(score @ np.tanh(linear(gate, np.concatenate([u * s, s])))).item() for s in words]
        r = softmax(np.array(a))
        c = sum((r_m * s for r_m, s in zip(r, words, strict=True)), np.zeros_like(c))
        R.append(r)
    return c, R


def release_graph(
    frames: list[Array],
    y: Array,
    join: tuple[Array, Array],
    query: list[tuple[Array, Array]],
    key: list[tuple[Array, Array]],
    mix: list[Array],
    mix_bias: list[Array],
    heads: int,
    cap: int,
) -> list[Array]:
    """The released code's graph: two directions over the same edges, self included, at most `cap` neighbours."""
    x = [join[0] @ np.concatenate([v, y]) + join[1] for v in frames]
    width, share = len(x[0]), len(x[0]) // heads
    out = []
    for i, v in enumerate(frames):
        total = x[i].copy()
        for q, k, m, m_b in zip(query, key, mix, mix_bias, strict=True):
            asks, answers = q[0] @ x[i] + q[1], [k[0] @ x_j + k[1] for x_j in x[:cap]]
            for h in range(heads):
                part = slice(h * share, (h + 1) * share)
                look = softmax(np.array([asks[part] @ answer[part] for answer in answers]) / np.sqrt(width / heads))
                seen = sum((a * x_j for a, x_j in zip(look, x[:cap], strict=True)), np.zeros(width))
                total[part] += m[h] @ seen
            total += m_b
        out.append(v + relu(total))
    return out


def conv1d(frames: Array, kernel: Array) -> Array:
    """Depthwise over time, zeros beyond the ends, onto the frames, then the mean. `kernel[0]` meets the one before."""
    T, D = frames.shape
    total = np.zeros(D)
    for t in range(T):
        for d in range(D):
            before = frames[t - 1, d] if t > 0 else 0.0
            after = frames[t + 1, d] if t < T - 1 else 0.0
            total[d] += frames[t, d] + kernel[0, d] * before + kernel[1, d] * frames[t, d] + kernel[2, d] * after
    return total / T
