"""Starting values for E members. Each draw depends on a member's seed and on the name of what is drawn, and on nothing
else: a member starts with the same values alone and in a fleet, and a part starts with the same values whatever other
parts a model has.
"""

import hashlib
from collections.abc import Callable

import torch


class Draws:
    """`Draws((0, 1)).at("graph").normal("query", 8, 4, std=0.1)` is `[2, 8, 4]`."""

    def __init__(self, seeds: tuple[int, ...], path: str = "") -> None:
        self.seeds = seeds
        self.path = path

    @property
    def members(self) -> int:
        return len(self.seeds)

    def at(self, name: str) -> "Draws":
        return Draws(self.seeds, f"{self.path}/{name}")

    def normal(self, name: str, *shape: int, std: float) -> torch.Tensor:
        return std * self._each(name, lambda generator: torch.randn(shape, generator=generator))

    def uniform(self, name: str, *shape: int, bound: float) -> torch.Tensor:
        return bound * (2 * self._each(name, lambda generator: torch.rand(shape, generator=generator)) - 1)

    def order(self, name: str, count: int) -> torch.Tensor:
        """A random order of `count` things, `[E, count]`."""
        return self._each(name, lambda generator: torch.randperm(count, generator=generator))

    def integers(self, name: str, *shape: int, below: int) -> torch.Tensor:
        return self._each(name, lambda generator: torch.randint(below, shape, generator=generator))

    def _each(self, name: str, draw: Callable[[torch.Generator], torch.Tensor]) -> torch.Tensor:
        return torch.stack([draw(self._generator(seed, name)) for seed in self.seeds])

    def _generator(self, seed: int, name: str) -> torch.Generator:
        digest = hashlib.sha256(f"{seed}{self.path}/{name}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
