"""Members and unfinished training on disk, in safetensors; no pickles, nothing is ever unpickled.

A member: `model.safetensors` (what was trained, at the epoch that counts; its header says over which backbone),
`config.json`, `classes.json`, and `last.safetensors` where another epoch than the last was chosen.
Unfinished training: one file with parameters, moments, the best so far, and the curve in its header.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from plfeat.config import TrainConfig
from plfeat.errors import DataError, UsageError, first_line
from plfeat.files import write_bytes, write_json
from plfeat.train.fleet import Epoch, Fleet, Learner, State, is_tower, trainable
from plfeat.train.member import CLASSES, CONFIG, LAST, MODEL, header


def member_tensors(tensors: dict[str, torch.Tensor], member: int) -> dict[str, torch.Tensor]:
    """One member's, without the member axis."""
    own = {name: value if is_tower(name) else value[member] for name, value in tensors.items()}
    return {name: value.detach().cpu().contiguous() for name, value in own.items()}


def save_member(
    tensors: dict[str, torch.Tensor],
    last: dict[str, torch.Tensor] | None,
    config: TrainConfig,
    classes: tuple[str, ...],
    about: dict[str, Any],
    folder: Path,
) -> None:
    about = about | {"config": config.model_dump(mode="json")}
    _save(folder / MODEL, tensors, about)
    if last is not None:
        _save(folder / LAST, last, about)
    write_json(folder / CONFIG, config.model_dump(mode="json"))
    write_json(folder / CLASSES, list(classes))


def load_member(learner: Learner, folder: Path) -> None:
    """Puts a member's tensors into a fleet of one, which has to have exactly these."""
    found, path = _load(folder / MODEL), folder / MODEL
    wanted = trainable(learner)
    if found.keys() != wanted.keys():
        odd = sorted(found.keys() ^ wanted.keys())
        raise DataError(f"{path}: expected the tensors of {CONFIG}'s model, found others ({', '.join(odd[:3])})")
    for name, value in wanted.items():
        own = value.data if is_tower(name) else value.data[0]
        if own.shape != found[name].shape:
            raise DataError(f"{path}: {name} is {list(found[name].shape)}, this model needs {list(own.shape)}")
        if not found[name].isfinite().all():
            raise DataError(f"{path}: {name} has values that are not numbers; train it again")
        own.copy_(found[name])


def save_state(fleet: Fleet, fingerprint: str, path: Path) -> None:
    tensors = {f"now.{name}": value.detach() for name, value in trainable(fleet.learner).items()}
    tensors |= {f"best.{name}": value for name, value in fleet.state.best.items()}
    tensors |= {f"first.{i}": value for i, value in enumerate(fleet.adamw.first)}
    tensors |= {f"second.{i}": value for i, value in enumerate(fleet.adamw.second)}
    state = fleet.state
    about = {
        "run": fingerprint,
        "epoch": state.epoch,
        "steps": fleet.adamw.count,
        "curve": [asdict(epoch) for epoch in state.curve],
        "stopped": list(state.stopped.items()),
        "best_epoch": list(state.best_epoch.items()),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    _save(path, {name: value.cpu().contiguous() for name, value in tensors.items()}, about)


def load_state(fleet: Fleet, fingerprint: str, path: Path) -> None:
    """Puts a fleet back to where its training was."""
    about, tensors = header(path), _load(path)
    try:
        if about["run"] != fingerprint:
            raise UsageError(f"{path}: this unfinished training has other settings or another cache; give --out")
        for name, value in trainable(fleet.learner).items():
            value.data.copy_(tensors[f"now.{name}"])
        for i, (first, second) in enumerate(zip(fleet.adamw.first, fleet.adamw.second, strict=True)):
            first.copy_(tensors[f"first.{i}"])
            second.copy_(tensors[f"second.{i}"])
        fleet.adamw.count = about["steps"]
        device = fleet.train.features_NVTD.device
        fleet.state = State(
            epoch=about["epoch"],
            curve=[Epoch(**epoch) for epoch in about["curve"]],
            stopped=dict(about["stopped"]),
            best_epoch=dict(about["best_epoch"]),
            best={name[5:]: value.to(device) for name, value in tensors.items() if name.startswith("best.")},
        )
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{path}: not the state of this training ({first_line(error)}); remove it") from error


def _save(path: Path, tensors: dict[str, torch.Tensor], about: dict[str, Any]) -> None:
    write_bytes(path, save(tensors, metadata={"plfeat": json.dumps(about)}))


def _load(path: Path) -> dict[str, torch.Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: not a safetensors file ({first_line(error)})") from error
