"""Which frames of a video to look at: index arithmetic, nothing else."""

import numpy as np
from numpy.typing import NDArray


def segment_centres(total: int, count: int) -> NDArray[np.int64]:
    """The middle frame of each of `count` equal segments of `total` frames. Short videos repeat frames."""
    if total < 1:
        raise ValueError(f"a video of {total} frames has no frame to sample")
    return ((2 * np.arange(count) + 1) * total // (2 * count)).astype(np.int64)
