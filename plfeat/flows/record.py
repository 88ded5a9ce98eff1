"""What all ways to a run share: what it is called, where it may be kept, what its record says."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from plfeat.config import TEXTLESS, TrainConfig
from plfeat.desk import Desk
from plfeat.device import accelerator
from plfeat.errors import DataError, UsageError
from plfeat.files import sha256_of_json
from plfeat.flows.results import require_numbers, settings_name
from plfeat.metrics.compare import metrics_of
from plfeat.model.templates import TEMPLATES
from plfeat.presets import settled, train_config
from plfeat.records import FrameSet, Run
from plfeat.report.runs import environment, load_run, numerics_of, save_run
from plfeat.settings import changes
from plfeat.train.member import forget_member

_CPU = torch.device("cpu")


def method_of(config: TrainConfig, templates: tuple[str, ...] = TEMPLATES, names: tuple[str, ...] | None = None) -> str:
    """What a table calls a run: the preset, and whatever differs from it, so that no two settings share a row. `names`
    are class words that are not the list's."""
    named = changes(settled(config), train_config(config.preset))
    own = [f"{key}={value}" for key, value in named.items() if key not in ("seeds", "data.allow_empty")]
    if config.reads_templates and templates != TEMPLATES:
        own.append(f"templates @{sha256_of_json(templates)[:6]}")
    if config.method not in TEXTLESS and names is not None:
        own.append(f"names @{sha256_of_json(names)[:6]}")
    return ", ".join([config.preset, *own])


def method_at(config: TrainConfig, desk: Desk) -> str:
    return method_of(config, desk.templates, None if desk.words == desk.videos.words else desk.words)


def recorded(config: TrainConfig, desk: Desk) -> dict[str, Any]:
    """The settings as a record has them: with the views that were looked at."""
    tree = config.model_dump(mode="json")
    return tree | {"data": tree["data"] | desk.read}


def place_of(out: Path, desk: Desk) -> Path:
    """Where the runs of a fold go."""
    return out / f"fold-{desk.fold}" if desk.videos.folds > 1 else out


def check_place(
    out: Path,
    method: str,
    desk: Desk,
    seeds: tuple[int, ...],
    resume: bool = False,
    made_by: dict[str, str] | None = None,
    *,
    config: TrainConfig,
) -> None:
    """One's own runs may be written over, and another training's where none of them stays beside the new ones; what is
    resumed must be one's own, and made on the same kind of device in the same precision."""
    made_by = made_by or numerics(_CPU)
    wanted = settings_name(recorded(config, desk))
    beside = sorted(out.parent.glob("seed-*")) if desk.videos.folds > 1 else sorted(out.glob("fold-*/seed-*"))
    for folder in [*sorted(out.glob("seed-*")), *beside]:
        try:
            there = load_run(folder)
        except DataError:
            continue
        was = numerics_of(there)
        same = folder not in beside and there.method == method
        same = same and all(there.about.get(key) == desk.facts[key] for key in ("fingerprint", "list", "fold"))
        same = same and settings_name(there.about.get("config") or {}) == wanted
        if same and was == made_by:
            continue
        stays = resume or there.seed not in seeds or folder in beside
        if same and stays:
            raise UsageError(
                f"{folder} was made on {was['device']} in {was['compute']}, here it would be on {made_by['device']} in "
                f"{made_by['compute']}; say --device {was['device']}, or choose another --out"
            )
        if stays:
            raise UsageError(f"{folder} is of another training ({there.method}); choose another --out or remove it")


def numerics(device: torch.device, compute: str = "float32") -> dict[str, str]:
    """The kind of device that made a run, and the precision of its steps: with others it is another run."""
    return {"device": device.type, "compute": compute}


def about_run(desk: Desk, test: FrameSet, device: torch.device = _CPU) -> dict[str, Any]:
    """What every record says besides its own configuration. `device` is where it was made."""
    card = accelerator(device)
    return {
        **desk.facts,
        "split": desk.evaluation,
        "rows_sha256": desk.rows_sha256(test),
        "missing": test.missing,
        "numerics": numerics(device),
        "environment": environment() | ({"accelerator": card} if card else {}),
    }


def run_of(
    method: str, seed: int, scores_NC: NDArray[np.float32], desk: Desk, test: FrameSet, about: dict[str, Any]
) -> Run:
    return Run(
        method=method,
        seed=seed,
        scores_NC=scores_NC,
        label_N=test.label_N,
        id_N=test.id_N,
        classes=desk.words,
        stratum=desk.videos.stratum,
        mirror=desk.videos.mirror,
        group_N=test.group_N,
        about=about,
    )


def keep_run(run: Run, folder: Path, trained: bool = False) -> Run:
    """A record and its scores, unless they are no result: then nothing is written. A model that an earlier run left
    there is another's."""
    require_numbers(run)
    metrics = metrics_of(run)
    if not trained:
        forget_member(folder)
    save_run(run, metrics, folder)
    return run
