"""A trained member on disk: `model.safetensors` (what was trained), `config.json`, `classes.json`; no pickles."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from plfeat.files import publish, write_json
from plfeat.train.fleet import Fleet


def trained_tensors(fleet: Fleet, member: int) -> dict[str, torch.Tensor]:
    """Every trainable parameter of one member, without its member axis."""
    return {
        name: value[member].detach().contiguous() for name, value in fleet.named_parameters() if value.requires_grad
    }


def save_member(fleet: Fleet, member: int, config: dict[str, Any], classes: tuple[str, ...], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with publish(folder / "model.safetensors") as part:
        save_file(trained_tensors(fleet, member), part)
    write_json(folder / "config.json", config)
    write_json(folder / "classes.json", list(classes))
