"""What a command was given, looked at before torch is loaded: names, files, folders, the list of videos.

A mistake here is told in a second. What only a loaded model can tell comes later.
"""

from collections.abc import Collection
from pathlib import Path

from plfeat.backbone.names import choose
from plfeat.config import ExtractConfig
from plfeat.datasets import READERS, Place
from plfeat.errors import UsageError
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
