"""Warm-up, then half a cosine towards zero."""

import math


def rate_factor(step: int, steps: int, warmup: int) -> float:
    """What the base learning rate is multiplied by at `step` of `steps`."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
