"""Scenes in, pixels out: sprites drawn by signed distance, all pictures of a batch at once.

A `Scene` holds one value (or colour) per picture. Nothing here is random except the noise, whose generator the
caller hands over. Lengths are in pixels, angles in radians, colours in 0..1; x runs right and y runs down.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plfeat.toy.world import NOUNS

SIZE = 64
Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Scene:
    """N pictures. Shapes: `[N]`, or `[N, 3]` for colours."""

    noun: NDArray[np.int64]  # index into NOUNS
    x: Floats
    y: Floats
    radius: Floats
    angle: Floats
    colour: Floats
    glow: Floats  # 0 or 1: a halo round the sprite
    split: Floats  # 0 or 1: the sprite cut in two halves
    sky: Floats  # background colour at the top
    ground: Floats  # background colour at the bottom
    noise: Floats  # standard deviation of the pixel noise
    dot_x: Floats  # the distractor, a small disc; radius 0 is none
    dot_y: Floats
    dot_radius: Floats
    dot_colour: Floats

    def __len__(self) -> int:
        return len(self.noun)

    def reversed(self) -> "Scene":
        """The same pictures in the opposite order."""
        return replace(self, **{f.name: getattr(self, f.name)[::-1] for f in fields(self)})


def concatenate(scenes: list[Scene]) -> Scene:
    return Scene(**{f.name: np.concatenate([getattr(s, f.name) for s in scenes]) for f in fields(Scene)})


def _star(x: Floats, y: Floats) -> Floats:
    sector = 2 * np.pi / 5
    theta = np.arctan2(x, -y)
    theta = np.abs(np.mod(theta + sector / 2, sector) - sector / 2)
    rho = np.hypot(x, y)
    px, py = rho * np.cos(theta), rho * np.sin(theta)
    # the edge from the tip (1, 0) to the notch between two arms
    notch = 0.42 * np.array([np.cos(sector / 2), np.sin(sector / 2)])
    edge = notch - np.array([1.0, 0.0])
    normal = np.array([edge[1], -edge[0]]) / np.hypot(*edge)
    return (px - 1.0) * normal[0] + py * normal[1]


def _box(x: Floats, y: Floats, half_x: float, half_y: float) -> Floats:
    return np.maximum(np.abs(x) - half_x, np.abs(y) - half_y)


def _ring(x: Floats, y: Floats) -> Floats:
    return np.abs(np.hypot(x, y) - 0.74) - 0.24


def _square(x: Floats, y: Floats) -> Floats:
    return _box(x, y, 0.78, 0.78)


def _triangle(x: Floats, y: Floats) -> Floats:
    slope = np.sqrt(3) / 2
    return np.maximum(y - 0.5, slope * np.abs(x) - 0.5 * y - 0.5)


def _cross(x: Floats, y: Floats) -> Floats:
    return np.minimum(_box(x, y, 0.95, 0.28), _box(x, y, 0.28, 0.95))


def _heart(x: Floats, y: Floats) -> Floats:
    side = 0.62
    u, v = (np.abs(x) - y - 0.15) / np.sqrt(2), (-np.abs(x) - y - 0.15) / np.sqrt(2)
    return np.minimum(_box(u, v, side, side), np.hypot(u - side, v) - side)


_OUTLINES = {
    "star": _star,
    "ring": _ring,
    "square": _square,
    "triangle": _triangle,
    "cross": _cross,
    "heart": _heart,
}

_CENTRES = np.arange(SIZE, dtype=np.float32) + 0.5


def _column(values: Floats) -> Floats:
    """`[N]` to `[N, 1, 1]`, `[N, 3]` to `[N, 1, 1, 3]`."""
    return values.reshape(len(values), 1, 1, *values.shape[1:])


def _paint(canvas: Floats, alpha: Floats, colour: Floats) -> Floats:
    return canvas + alpha[..., None] * (_column(colour) - canvas)


def draw(scene: Scene, rng: np.random.Generator) -> NDArray[np.uint8]:
    """`[N, SIZE, SIZE, 3]` RGB pictures."""
    fall = np.linspace(0, 1, SIZE, dtype=np.float32)[None, :, None, None]
    canvas = np.broadcast_to(
        _column(scene.sky) * (1 - fall) + _column(scene.ground) * fall, (len(scene), SIZE, SIZE, 3)
    )
    from_dot = np.hypot(_CENTRES - _column(scene.dot_x), _CENTRES[:, None] - _column(scene.dot_y))
    canvas = _paint(canvas, np.clip(_column(scene.dot_radius) - from_dot + 0.5, 0, 1), scene.dot_colour)

    distance = _signed_distance(scene)
    halo = 0.8 * np.exp(-np.maximum(distance, 0) / (0.3 * _column(scene.radius)))
    canvas = _paint(canvas, halo * _column(scene.glow), 0.4 * scene.colour + 0.6)
    canvas = _paint(canvas, np.clip(0.5 - distance, 0, 1), scene.colour)

    grain = rng.standard_normal(canvas.shape[:3], dtype=np.float32)[..., None]
    return np.clip(255 * (canvas + _column(scene.noise)[..., None] * grain) + 0.5, 0, 255).astype(np.uint8)


def _signed_distance(scene: Scene) -> Floats:
    """`[N, SIZE, SIZE]` pixels from the sprite's outline, negative inside."""
    right, down = _CENTRES - _column(scene.x), _CENTRES[:, None] - _column(scene.y)
    cos, sin = _column(np.cos(scene.angle)), _column(np.sin(scene.angle))
    radius = _column(scene.radius)
    x, y = (cos * right + sin * down) / radius, (cos * down - sin * right) / radius
    distance = np.empty_like(x)
    for index, noun in enumerate(NOUNS):
        these = scene.noun == index
        if these.any():
            distance[these] = _OUTLINES[noun](x[these], y[these])
    gap = np.where(_column(scene.split) > 0, 0.2 - np.abs(x), -np.inf)
    return (np.maximum(distance, gap) * radius).astype(np.float32)
