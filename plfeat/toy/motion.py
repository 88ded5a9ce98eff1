"""A class and a generator in, the scenes of one video out.

Everything that is not the action is a nuisance and drawn at random: colour, size, place, tilt, background, noise,
start phase, a drifting distractor. A mirrored pair is one motion played forwards or backwards, so its two classes have
exactly the same distribution over *sets* of frames.
"""

from typing import Any

import numpy as np

from plfeat.toy.draw import SIZE, Floats, Scene
from plfeat.toy.world import COLOURS, NOUNS, Action

FRAMES = 24
_PALETTE = np.array(list(COLOURS.values()), dtype=np.float32)


def nuisances(rng: np.random.Generator, count: int) -> dict[str, Any]:
    """Backgrounds, noise and distractors for `count` independent pictures."""
    tint = rng.uniform(0.05, 0.45, (count, 1)) + rng.uniform(-0.05, 0.05, (count, 3))
    return {
        "sky": tint.astype(np.float32),
        "ground": (tint * rng.uniform(0.5, 1.3, (count, 1))).astype(np.float32),
        "noise": rng.uniform(0.0, 0.06, count).astype(np.float32),
        "dot_x": rng.uniform(6, SIZE - 6, count).astype(np.float32),
        "dot_y": rng.uniform(6, SIZE - 6, count).astype(np.float32),
        "dot_radius": (rng.uniform(2.5, 4.5, count) * (rng.random(count) < 0.6)).astype(np.float32),
        "dot_colour": rng.uniform(0.2, 0.9, (count, 3)).astype(np.float32),
    }


def shades(rng: np.random.Generator, index: Any) -> Floats:
    """Jittered sprite colours for palette indices `[N]`: `[N, 3]`."""
    colours = _PALETTE[index] + rng.uniform(-0.08, 0.08, (*np.shape(index), 3))
    return np.clip(colours, 0, 1).astype(np.float32)


def film(action: Action, rng: np.random.Generator, frames: int = FRAMES) -> Scene:
    """The scenes of one video of `action`."""
    once = nuisances(rng, 1)
    still = np.ones(frames, dtype=np.float32)
    world = {name: np.repeat(value, frames, axis=0) for name, value in once.items()}
    drift = np.linspace(-1, 1, frames, dtype=np.float32)
    world["dot_x"] = world["dot_x"] + drift * np.float32(rng.uniform(-8, 8))
    world["dot_y"] = world["dot_y"] + drift * np.float32(rng.uniform(-8, 8))

    radius = rng.uniform(9, 18)
    room = SIZE / 2 - 0.8 * radius
    sprite: dict[str, Any] = {
        "noun": np.full(frames, NOUNS.index(action.noun)),
        "x": still * (SIZE / 2 + rng.uniform(-room, room)),
        "y": still * (SIZE / 2 + rng.uniform(-room, room)),
        "radius": still * radius,
        "angle": still * rng.uniform(-np.pi, np.pi),
        "colour": np.repeat(shades(rng, rng.integers(len(_PALETTE), size=1)), frames, axis=0),
        "glow": 0 * still,
        "split": 0 * still,
    }
    sprite |= _MOTIONS[action.verb](sprite, rng, frames)
    noun = sprite.pop("noun")
    scene = Scene(noun=noun, **{name: np.asarray(value, np.float32) for name, value in (sprite | world).items()})
    return scene.reversed() if action.verb in _BACKWARDS else scene


def _glow(sprite: dict[str, Any], rng: np.random.Generator, frames: int) -> dict[str, Any]:
    return {"glow": np.ones(frames)}


def _split(sprite: dict[str, Any], rng: np.random.Generator, frames: int) -> dict[str, Any]:
    return {"split": np.ones(frames)}


def _spin(sprite: dict[str, Any], rng: np.random.Generator, frames: int) -> dict[str, Any]:
    turns = rng.uniform(0.6, 1.4) * rng.choice([-1, 1])
    return {"angle": sprite["angle"] + np.linspace(0, 2 * np.pi * turns, frames)}


def _bounce(sprite: dict[str, Any], rng: np.random.Generator, frames: int) -> dict[str, Any]:
    radius = sprite["radius"][0]
    floor, height = SIZE - 0.9 * radius, rng.uniform(0.6, 1.0) * (SIZE - 2 * radius)
    beats = rng.uniform(0, 1) + np.linspace(0, rng.uniform(2, 3), frames)
    return {"y": floor - height * np.abs(np.sin(np.pi * beats))}


def _flicker(sprite: dict[str, Any], rng: np.random.Generator, frames: int) -> dict[str, Any]:
    pair = shades(rng, rng.choice(len(_PALETTE), size=2, replace=False))
    phase = (np.arange(frames) + rng.integers(0, 8)) // rng.integers(2, 5)
    return {"colour": pair[phase % 2]}


def _grow(sprite: dict[str, Any], rng: np.random.Generator, frames: int) -> dict[str, Any]:
    end = rng.uniform(15, 21)
    room = SIZE / 2 - 0.8 * end
    return {
        "radius": np.linspace(rng.uniform(6, 9), end, frames),
        "x": SIZE / 2 + rng.uniform(-room, room) + np.zeros(frames),
        "y": SIZE / 2 + rng.uniform(-room, room) + np.zeros(frames),
    }


def _slide(sprite: dict[str, Any], rng: np.random.Generator, frames: int) -> dict[str, Any]:
    margin = 0.8 * sprite["radius"][0]
    return {"x": np.linspace(SIZE - margin - rng.uniform(0, 8), margin + rng.uniform(0, 8), frames)}


_MOTIONS = {
    "glowing": _glow,
    "splitting": _split,
    "spinning": _spin,
    "bouncing": _bounce,
    "flickering": _flicker,
    "growing": _grow,
    "shrinking": _grow,
    "sliding left": _slide,
    "sliding right": _slide,
}
_BACKWARDS = ("shrinking", "sliding right")
