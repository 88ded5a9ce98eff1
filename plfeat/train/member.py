"""What the files of a trained member say about it, read without torch."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from plfeat.config import TrainConfig
from plfeat.errors import DataError, PlfeatError, UsageError, first_line
from plfeat.settings import build

MODEL, LAST, CONFIG, CLASSES = "model.safetensors", "last.safetensors", "config.json", "classes.json"


def read_member(folder: Path) -> tuple[TrainConfig, tuple[str, ...], dict[str, Any]]:
    """A member's settings, its classes, and what its header says."""
    if not folder.is_dir():
        raise DataError(f"run {folder}: no such folder; `plfeat train --frozen` makes runs")
    if not (folder / MODEL).is_file():
        raise DataError(f"run {folder}: no {MODEL}; a method that learns nothing by gradient keeps none")
    try:
        classes = json.loads((folder / CLASSES).read_text(encoding="utf-8"))
        config, about = build(TrainConfig, folder / CONFIG), header(folder / MODEL)
        if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
            raise ValueError(f"{CLASSES} is not a list of names")
        if config != build(TrainConfig, settings=about["config"]):  # both may lack a newer setting
            raise ValueError(f"{CONFIG} is not what {MODEL} was trained with")
        if classes != about["words"]:
            raise ValueError(f"{CLASSES} is not what {MODEL} was trained with")
        return config, tuple(classes), about
    except (OSError, KeyError, TypeError, ValueError, UsageError) as error:
        raise DataError(f"run {folder}: {first_line(error)}") from error


def forget_member(folder: Path) -> None:
    for name in (MODEL, LAST, CONFIG, CLASSES, "curve.csv"):
        (folder / name).unlink(missing_ok=True)


def header(path: Path) -> dict[str, Any]:
    try:
        with safe_open(path, framework="np") as file:
            about = json.loads((file.metadata() or {})["plfeat"])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise DataError(f"{path}: not a safetensors file of plfeat ({first_line(error)})") from error
    if not isinstance(about, dict):
        raise PlfeatError(f"{path}: its header is not plfeat's")
    return about
