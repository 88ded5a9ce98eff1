"""Still pictures with captions, for pretraining the toy CLIP.

A caption says what one picture shows, with parts left out at random and stray words of the tokenizer's vocabulary mixed
in, as web captions do. It never contains the name of a toy class, nor any class's verb: what the classes call glowing
is "with a halo" here, so that a class name has to be learned like any new phrase.
"""

import re
from typing import Any

import numpy as np

from plfeat.toy.draw import SIZE, Scene
from plfeat.toy.motion import nuisances, shades
from plfeat.toy.world import ACTIONS, COLOURS, NOUNS

POSITIONS = tuple(
    f"{rows} {columns}".strip() or "centre" for rows in ("top", "", "bottom") for columns in ("left", "", "right")
)
SIZES = ("small", "", "large")
STATES = ("", "with a halo", "cut in half")
TILTS = ("upright", "", "tilted")
PREFIXES = ("a photo of a", "a picture of a", "an image of a", "a drawing of a", "a video of a", "a video of", "a", "")
_COLOUR_NAMES = tuple(COLOURS)
_PERIOD = {
    "star": 2 * np.pi / 5,
    "square": np.pi / 2,
    "triangle": 2 * np.pi / 3,
    "cross": np.pi / 2,
    "heart": 2 * np.pi,
}


def pictures(rng: np.random.Generator, count: int) -> tuple[Scene, dict[str, np.ndarray]]:
    """`count` single sprites and, for each, the index of its noun, colour, position, size, state and tilt."""
    radius = rng.uniform(6, 21, count)
    room = SIZE / 2 - 0.8 * radius
    x = SIZE / 2 + rng.uniform(-1, 1, count) * room
    y = SIZE / 2 + rng.uniform(-1, 1, count) * room
    noun = rng.integers(len(NOUNS), size=count)
    colour = rng.integers(len(COLOURS), size=count)
    state = rng.choice(3, size=count, p=[0.6, 0.2, 0.2])
    angle = rng.uniform(-np.pi, np.pi, count)
    sprite: dict[str, Any] = {
        "x": x,
        "y": y,
        "radius": radius,
        "angle": angle,
        "glow": state == 1,
        "split": state == 2,
    }
    scene = Scene(
        noun=noun,
        colour=shades(rng, colour),
        **{name: np.asarray(value, np.float32) for name, value in sprite.items()},
        **nuisances(rng, count),
    )
    third = SIZE / 3
    truth = {
        "noun": noun,
        "colour": colour,
        "position": 3 * (y // third).astype(int) + (x // third).astype(int),
        "size": np.digitize(radius, [10, 15]),
        "state": state,
        "tilt": np.array([_tilt(NOUNS[n], a) for n, a in zip(noun, angle, strict=True)]),
    }
    return scene, truth


def _tilt(noun: str, angle: float) -> int:
    if noun not in _PERIOD:
        return 1
    share = abs((angle / _PERIOD[noun] + 0.5) % 1 - 0.5)  # 0 upright .. 0.5 as tilted as it gets
    return 0 if share < 0.12 else 2 if share > 0.3 else 1


def caption(rng: np.random.Generator, truth: dict[str, int], stray_words: list[str]) -> str:
    """One caption for one picture; `truth` is that picture's entry of `pictures`."""
    chance = rng.random(6)
    words = PREFIXES[rng.integers(len(PREFIXES))].split()
    if chance[0] < 0.5:
        words += SIZES[truth["size"]].split()
    if chance[1] < 0.4:
        words += TILTS[truth["tilt"]].split()
    if chance[2] < 0.7:
        words.append(_COLOUR_NAMES[truth["colour"]])
    words.append(NOUNS[truth["noun"]])
    if chance[3] < 0.7:
        words += STATES[truth["state"]].split()
    if chance[4] < 0.5:
        words += ["at", "the", *POSITIONS[truth["position"]].split()]
    if chance[5] < 0.4:
        for _ in range(rng.integers(1, 3)):
            words.insert(rng.integers(len(words) + 1), stray_words[rng.integers(len(stray_words))])
    return " ".join(words) + ("." if rng.random() < 0.5 else "")


def stray_vocabulary(encoder: dict[str, int]) -> list[str]:
    """Whole words of a BPE vocabulary that mean nothing in the toy world."""
    meaningful = {"at", "the"} | set(NOUNS) | set(COLOURS)
    for text in (*POSITIONS, *SIZES, *STATES, *TILTS, *PREFIXES, *(action.verb for action in ACTIONS)):
        meaningful |= set(text.split())
    words = (token.removesuffix("</w>") for token in encoder if token.endswith("</w>"))
    return [word for word in words if re.fullmatch("[a-z]{3,}", word) and word not in meaningful]
