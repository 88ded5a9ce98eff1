"""What a command was given, looked at before torch is loaded: names, files, folders, the list of videos.

A mistake here is told in a second. What only a loaded model can tell comes later.
"""

from collections.abc import Collection
from pathlib import Path

from plfeat.backbone.names import choose
from plfeat.config import ExtractConfig
from plfeat.datasets import READERS, Place
from plfeat.errors import UsageError, first_line
from plfeat.progress import stage
from plfeat.records import Tick, VideoList
from plfeat.toy import shipped


def check_model(config: ExtractConfig) -> None:
    """There is such a model, and there are such weights, as far as their names tell."""
    shipped.offer()
    choose(config.model, weights_of(config))


def weights_of(config: ExtractConfig) -> str | None:
    """A tag or a file."""
    if config.weights is None:
        return config.pretrained
    if not config.weights.is_file():
        raise UsageError(f"weights {config.weights}: no such file")
    return str(config.weights)


def list_videos(config: ExtractConfig, root: Path, seen: Collection[str], tick: Tick) -> VideoList:
    """The list, whose rows do not know yet which videos they are. `seen`: what lay under the root before."""
    place = Place(config.dataset, root, config.lists or root, config.names, seen, config.name)
    with stage(tick, "reading the list"):
        videos = READERS[config.dataset](place)
    _refuse_flips(videos, config.augment)
    return videos


def read_templates(path: Path) -> tuple[str, ...]:
    """One a line, each with {} where the class name goes."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, ValueError) as error:
        raise UsageError(f"templates {path} cannot be read: {first_line(error)}") from error
    templates = tuple(line for line in lines if line and not line.startswith("#"))
    for number, line in enumerate(lines, 1):
        if line in templates and line.count("{}") != 1:
            raise UsageError(f"templates {path}:{number}: expected one {{}} for the class name, found {line[:60]!r}")
    if not templates or len(set(templates)) < len(templates):
        raise UsageError(f"templates {path}: expected at least one sentence, and none twice")
    return templates


def _refuse_flips(videos: VideoList, augment: str) -> None:
    """Where left and right are classes, a flipped video has another label."""
    if "flip" not in augment:
        return
    for name in videos.classes:
        if {"left", "right"} & set(name.lower().split()):
            raise UsageError(
                f"augment={augment}: class {name!r} of {videos.name} tells left from right; use augment="
                + ("rand" if "rand" in augment else "none")
            )
    if any(twin is not None for twin in videos.mirror):
        raise UsageError(f"augment={augment}: {videos.name} has classes that mirror each other; do not flip them")
