"""The toy CLIP: open_clip's own `CLIP` class, small enough to ship. `--model toy` loads it like any other model.

Its token table was never trained, so it is made from a seed at load instead of stored.
"""

import json
from pathlib import Path
from typing import Any

import torch
from open_clip import CLIP
from safetensors.torch import save_file

from plfeat.backbone.load import TABLE_SEED, token_table
from plfeat.files import publish
from plfeat.toy.shipped import CONFIG

_SEED = 49408


def untrained() -> CLIP:
    """The architecture, with its frozen token table."""
    settings: dict[str, Any] = json.loads(CONFIG.read_text(encoding="utf-8"))
    model = CLIP(**settings)
    table = model.token_embedding.weight
    table.data.copy_(token_table(_SEED, *table.shape))
    table.requires_grad_(False)
    # at open_clip's own starting scale patches drown their positions, and where a sprite is was never learned
    model.visual.positional_embedding.data.mul_(5)
    return model


def save(model: CLIP, path: Path) -> None:
    """Everything but the token table, in half precision."""
    state: dict[str, torch.Tensor] = {
        name: value.half().contiguous()
        for name, value in model.state_dict().items()
        if name != "token_embedding.weight"
    }
    with publish(path) as part:
        save_file(state, part, metadata={TABLE_SEED: str(_SEED)})
