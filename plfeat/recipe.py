"""What features mean (`Recipe`), and which look at a video they are of (`Take`). Plain values: no file, no torch.

Two recipes with the same fingerprint give features that may stand side by side. A take's name is the whole take:
`Take.named(take.name) == take`.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

from plfeat.errors import CacheError
from plfeat.files import sha256_of_json

Kind = Literal["centre", "random", "dense"]
Output = Literal["features", "pre", "patch"]

_NUMBER, _DECIMAL = r"(?:0|[1-9]\d{0,18})", r"\d{1,17}(?:\.\d{1,17})?(?:e-?\d{1,2})?"
_NAME = re.compile(
    rf"(?:centre-(?P<centre>{_NUMBER})"
    rf"|random-(?P<random>{_NUMBER})-seed(?P<seed>{_NUMBER})-view(?P<view>{_NUMBER})(?:-(?P<augment>flip|rand|rand\+flip))?"
    rf"|dense-(?:every(?P<every>{_NUMBER})|fps(?P<fps>{_DECIMAL}))-cap(?P<cap>{_NUMBER}))"
    r"(?P<output>\.pre|\.patch)?"
)


@dataclass(frozen=True, slots=True)
class Take:
    """One view of a video: the centres of `frames` equal segments; or a random frame of each, drawn by the seed, the
    view and the video; or dense, every n-th frame or so many a second, at most `cap`. `output` is what is kept of a
    frame: its features after the projection, before it, or every patch."""

    kind: Kind = "centre"
    frames: int = 8
    seed: int = 0
    view: int = 0
    augment: str = "none"
    every: int | None = None
    fps: float | None = None
    cap: int = 512
    output: Output = "features"

    @property
    def name(self) -> str:
        what = {
            "centre": f"centre-{self.frames}",
            "random": f"random-{self.frames}-seed{self.seed}-view{self.view}"
            + ("" if self.augment == "none" else f"-{self.augment}"),
            "dense": "dense-" + (f"every{self.every}" if self.every else f"fps{self.fps!r}") + f"-cap{self.cap}",
        }[self.kind]
        return what if self.output == "features" else f"{what}.{self.output}"

    @property
    def look(self) -> "Take":
        """The same frames, whatever is kept of them: takes of one look are decoded once."""
        return replace(self, output="features")

    @staticmethod
    def named(name: str) -> "Take":
        """The take of that name; a name that is none is an error, so that no name leads out of a folder."""
        found = _NAME.fullmatch(name)
        if not found:
            raise CacheError(f"{name[:80]!r} is not the name of a take, such as centre-8")
        said = found.groupdict()
        output = cast(Output, (said["output"] or ".features")[1:])
        if said["centre"]:
            take = Take("centre", int(said["centre"]), output=output)
        elif said["random"]:
            frames, seed, view = (int(said[key]) for key in ("random", "seed", "view"))
            take = Take("random", frames, seed, view, said["augment"] or "none", output=output)
        else:
            every, fps = said["every"], said["fps"]
            take = Take(
                "dense",
                every=int(every) if every else None,
                fps=float(fps) if fps else None,
                cap=int(said["cap"]),
                output=output,
            )
        if take.name != name or not (take.fps is None or (math.isfinite(take.fps) and take.fps > 0)):
            raise CacheError(f"{name[:80]!r} is not the name of a take, which would be {take.name!r}")
        return take


@dataclass(frozen=True)
class Recipe:
    """What features mean: which encoder looked at which pixels, from which decoder, and how its numbers were rounded.

    `source` is not part of it: a tag or a file from which the encoder's weights can be had again."""

    encoder: Mapping[str, Any]  # model, image_sha256, activation
    preprocess: Mapping[str, Any]
    decoder: str
    dtype: str
    compute: str
    source: Mapping[str, Any] = field(default_factory=dict, compare=False)  # pretrained, weights

    @property
    def means(self) -> dict[str, Any]:
        """All that the fingerprint covers."""
        return {
            "encoder": dict(self.encoder),
            "preprocess": dict(self.preprocess),
            "decoder": self.decoder,
            "dtype": self.dtype,
            "compute": self.compute,
        }

    @property
    def fingerprint(self) -> str:
        return sha256_of_json(self.means)[:16]

    def diff(self, other: "Recipe") -> Iterator[tuple[str, Any, Any]]:
        """Every dotted key in which the two differ, with both values."""
        yield from differences(self.means, other.means)

    def as_dict(self) -> dict[str, Any]:
        return self.means | {"source": dict(self.source)}

    @staticmethod
    def of(said: Mapping[str, Any]) -> "Recipe":
        """From `as_dict`; raises KeyError, TypeError or ValueError for anything else."""
        encoder, preprocess, source = said["encoder"], said["preprocess"], said["source"]
        if not all(isinstance(part, dict) for part in (encoder, preprocess, source)):
            raise TypeError("encoder, preprocess and source are objects")
        if not all(isinstance(encoder[fact], str) for fact in ("model", "image_sha256", "activation")):
            raise TypeError("the facts of an encoder are words")
        decoder, dtype, compute = said["decoder"], said["dtype"], said["compute"]
        if not all(isinstance(word, str) for word in (decoder, dtype, compute)):
            raise TypeError("decoder, dtype and compute are words")
        return Recipe(encoder, preprocess, decoder, dtype, compute, source)


def differences(one: Mapping[str, Any], other: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Every dotted key in which two trees differ, with both values."""
    for key in sorted(one.keys() | other.keys()):
        here, there = one.get(key), other.get(key)
        if isinstance(here, Mapping) and isinstance(there, Mapping):
            yield from differences(here, there, f"{prefix}{key}.")
        elif here != there:
            yield prefix + key, here, there
