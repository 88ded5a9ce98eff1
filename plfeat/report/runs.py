"""Runs on disk: `record.json` (everything about a run) beside `scores.npz` (what it said about every video)."""

import importlib.metadata
import json
import platform
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from plfeat.errors import DataError, first_line
from plfeat.files import publish, write_json
from plfeat.records import Run

RECORD, SCORES = "record.json", "scores.npz"
_PACKAGES = ("plfeat", "torch", "open_clip_torch", "h5py", "numpy", "decord", "av")
UNSAID = {"device": "cpu", "compute": "float32"}
"""What a record's numerics were before it said so."""


def save_run(run: Run, metrics: dict[str, Any], folder: Path) -> None:
    """Scores first, and before them the old record goes: a folder with a record is a whole run."""
    (folder / RECORD).unlink(missing_ok=True)
    with publish(folder / SCORES) as part, part.open("wb") as file:
        group_N = np.array(run.group_N, dtype=np.str_)
        np.savez_compressed(
            file, scores=run.scores_NC.astype(np.float32), label=run.label_N, id=np.array(run.id_N), group=group_N
        )
    record = {
        "method": run.method,
        "seed": run.seed,
        "n": len(run.label_N),
        "metrics": metrics,
        "classes": list(run.classes),
        "stratum": list(run.stratum),
        "mirror": list(run.mirror),
        **run.about,
    }
    write_json(folder / RECORD, record)


def load_run(folder: Path) -> Run:
    record_path, scores_path = folder / RECORD, folder / SCORES
    try:
        record = json.loads(record_path.read_text(encoding="utf-8"))
        with np.load(scores_path, allow_pickle=False) as arrays:
            scores, label, ids = arrays["scores"], arrays["label"], arrays["id"]
            group = arrays["group"] if "group" in arrays else np.array([], dtype=np.str_)
        if "group" in record and "stratum" not in record:
            raise _Earlier
        own = {"method", "seed", "n", "metrics", "classes", "stratum", "mirror"}
        run = Run(
            method=record["method"],
            seed=record["seed"],
            scores_NC=scores,
            label_N=label,
            id_N=tuple(ids.tolist()),
            classes=tuple(record["classes"]),
            stratum=tuple(record["stratum"]),
            mirror=tuple(record["mirror"]),
            group_N=tuple(group.tolist()),
            about={key: value for key, value in record.items() if key not in own},
        )
        _check(run)
    except _Earlier:
        raise DataError(
            f"run {folder}: the record is of an earlier format, without list and fold; make it again, or leave it out"
        ) from None
    except FileNotFoundError as error:
        raise DataError(f"run {folder}: {Path(error.filename).name} is missing") from error
    except Exception as error:  # numpy and zipfile have a type for every kind of rubbish
        raise DataError(
            f"run {folder}: the record or its scores are damaged ({first_line(error)}); make it again, or leave it out"
        ) from error
    return run


class _Earlier(Exception):
    """What an earlier version has written."""


def said_metrics(folder: Path) -> dict[str, Any]:
    """What the record says its scores amount to."""
    metrics = json.loads((folder / RECORD).read_text(encoding="utf-8")).get("metrics")
    return metrics if isinstance(metrics, dict) else {}


def _check(run: Run) -> None:
    """Raises unless the parts fit each other, every video stands there once, and the scores are numbers."""
    classes, videos = len(run.classes), len(run.id_N)
    wrong = {
        "method or seed": not (isinstance(run.method, str) and isinstance(run.seed, int)),
        "scores": run.scores_NC.shape != (videos, classes) or run.scores_NC.dtype.kind != "f",
        "labels": run.label_N.shape != (videos,) or run.label_N.dtype.kind != "i",
        "names of videos": not _are_words(run.id_N),
        "no videos": videos == 0,
        "a video that stands there twice": len(set(run.id_N)) < videos,
        "strata": len(run.stratum) not in (0, classes) or not _are_words(run.stratum),
        "groups": len(run.group_N) not in (0, videos) or not _are_words(run.group_N),
        "list, fold or takes": not _is_place(run.about),
        "recipe": not isinstance(run.about.get("recipe", {}), dict) or not is_word(run.about.get("fingerprint", "")),
        "missing": not _is_count(run.about.get("missing", 0), 0),
        "numerics": not _is_numerics(numerics_of(run)),
        "config": not isinstance(run.about.get("config", {}), dict),
        "mirrors": len(run.mirror) not in (0, classes)
        or not all(twin is None or (isinstance(twin, int) and 0 <= twin < classes) for twin in run.mirror),
    }
    for part, is_wrong in wrong.items():
        if is_wrong:
            raise ValueError(part)
    for what, bad in (
        ("scores that are not numbers", ~np.isfinite(run.scores_NC).all(axis=1)),
        ("labels beyond the classes", (run.label_N < 0) | (run.label_N >= classes)),
    ):
        if bad.any():
            raise ValueError(f"{int(bad.sum())} of {videos} videos have {what}")


def numerics_of(run: Run) -> dict[str, str]:
    """The kind of device that made it, and in which precision."""
    return run.about.get("numerics") or UNSAID


def _is_place(about: dict[str, Any]) -> bool:
    """Whose videos it is about, which of its folds, and what was looked at."""
    takes = about.get("takes", {})
    fold, folds = about.get("fold", 1), about.get("folds", 1)
    return (
        all(is_word(about.get(key, "")) for key in ("list", "dataset", "split", "rows_sha256"))
        and (_is_count(fold, 1) and _is_count(folds, fold))
        and isinstance(takes, dict)
        and all(isinstance(names, list) and _are_words(names) for names in takes.values())
    )


def _is_count(said: Any, least: int) -> bool:
    return isinstance(said, int) and not isinstance(said, bool) and said >= least


def is_word(said: Any) -> bool:
    """One that a table may show."""
    return isinstance(said, str) and not re.search(r"[\x00-\x1f\x7f-\x9f]", said)


def _are_words(said: Sequence[Any]) -> bool:
    return all(map(is_word, said))


def _is_numerics(said: Any) -> bool:
    return (
        isinstance(said, dict)
        and said.keys() == UNSAID.keys()
        and all(isinstance(value, str) and re.fullmatch("[a-z0-9]+", value) for value in said.values())
    )


def find_runs(roots: list[Path]) -> list[Path]:
    """Every run at or below the given folders, sorted."""
    for root in roots:
        if not root.is_dir():
            raise DataError(f"runs: folder {root} does not exist; `plfeat train --frozen` and `plfeat eval` make runs")
    found = sorted({record.parent for root in roots for record in root.rglob(RECORD)})
    if not found:
        raise DataError(f"runs: no {RECORD} under {', '.join(map(str, roots))}; `plfeat train --frozen` makes some")
    return found


def environment() -> dict[str, Any]:
    """What a run was made with."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
        "revision": _revision(),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _revision() -> str | None:
    """The git commit of the source tree, `+` if it was changed since; None for an installed copy."""
    source = Path(__file__).resolve().parents[2]
    if not (source / ".git").exists():
        return None
    try:
        git = ["git", "-C", str(source)]
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*git, "diff", "--quiet", "HEAD"], capture_output=True).returncode != 0
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+" if changed else "")
