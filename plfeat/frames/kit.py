"""Videos and takes in, frames on the device out: the encoder's pixels, the crew of decoders, augmentation.

A `Kit` is a recipe at work: it is made from what a user set, and again from a recipe alone.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from plfeat.backbone.load import Backbone
from plfeat.backbone.names import INCLUDED
from plfeat.backbone.preprocess import FACTS
from plfeat.backbone.vision import FrameEncoder, choose_device
from plfeat.config import ExtractConfig
from plfeat.device import accelerator, sent
from plfeat.errors import CacheError
from plfeat.means import Means, number
from plfeat.recipe import Recipe
from plfeat.settings import build
from plfeat.video.augment import augment
from plfeat.video.crew import Crew, Decoded
from plfeat.video.decode import DEFAULT, decoder_version
from plfeat.video.job import Orders
from plfeat.video.sampling import draw

Open = Callable[[str, str | None, str | None, Mapping[str, Any] | None], Backbone]
"""Model, weights, activation, preprocess to a loaded backbone."""

_MOST_AHEAD = 256  # videos
_BATCH = {"cuda": 256, "cpu": 32}  # frames; a CPU gains nothing from more
_OTHER = {"decord": "pyav", "pyav": "decord"}
_LIBRARIES = ("av", "decord", "torch", "torchvision", "open_clip_torch")


def local_device(wanted: str | None, environment: Mapping[str, str] = os.environ) -> str:
    """The device, where there are several of a kind that of this process among those of its machine."""
    device, rank = choose_device(wanted), number(environment, "LOCAL_RANK", number(environment, "SLURM_LOCALID", 0))
    return f"cuda:{rank % torch.cuda.device_count()}" if device == "cuda" and rank else device


@dataclass(frozen=True)
class Kit:
    """`recipe` is what the features mean, `maker` everything else that their last bits may depend on."""

    config: ExtractConfig
    backbone: Backbone
    encoder: FrameEncoder
    decoder: str
    recipe: Recipe
    batch: int

    @property
    def device(self) -> str:
        return str(self.encoder.device)

    @property
    def maker(self) -> dict[str, Any]:
        return {
            "versions": versions(),
            "device": self.encoder.device.type,
            "card": accelerator(self.encoder.device),
            "batch": self.batch,
            "compiled": self.config.compile,
        }

    def crew(self, means: Means, frames: int) -> Crew:
        """Decoders, for videos of which about so many `frames` are looked at."""
        fallback = _OTHER[self.decoder] if self.config.fallback else None
        ahead = min(2 * self.encoder.ahead * self.batch // max(1, frames), _MOST_AHEAD)
        return Crew(means.workers, Orders(self.decoder, fallback, means.limit), ahead)

    def fit(self, clip: Decoded) -> list[torch.Tensor]:
        """The frames of each look at a video `[T, 3, size, size]`, uint8 on the device, augmented where the look is."""
        fitted = self.encoder.fit(clip.frames_UHWC)
        looks = []
        for look, picks in zip(clip.job.looks, clip.answer.picks, strict=True):
            with self.encoder.beside():
                frames = fitted[sent(torch.from_numpy(picks), fitted.device)]
                if look.augment != "none":
                    frames = augment(frames, look.augment, draw(look, clip.job.key))
            looks.append(frames)
        return looks


def gather(config: ExtractConfig, open_backbone: Open) -> Kit:
    decoder = config.decoder or DEFAULT
    for name in (decoder, *([_OTHER[decoder]] if config.fallback else [])):
        decoder_version(name)  # or an error that says that it is not there
    device = local_device(config.device)
    compute = config.compute or ("float32" if device == "cpu" else "float16")
    weights = config.pretrained if config.weights is None else str(config.weights)
    backbone = open_backbone(config.model, weights, config.activation, config.preprocess.said)
    encoder = FrameEncoder(backbone.model, backbone.preprocess, device, compute, config.also, config.compile)
    said = backbone.about
    recipe = Recipe(
        encoder={fact: said[fact] for fact in ("model", "image_sha256", "activation")},
        preprocess=encoder.pixels.about,
        decoder=decoder,
        dtype=config.dtype,
        compute=compute,
        source={
            "pretrained": said["pretrained"],
            "weights": str(config.weights.absolute()) if config.weights else None,
            "text_sha256": said["text_sha256"],
        },
    )
    return Kit(config, backbone, encoder, decoder, recipe, config.batch or _BATCH[encoder.device.type])


def versions() -> dict[str, str]:
    """Of every library that bits of a feature may depend on; of both decoders, for either may have read a video."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def config_of(recipe: Recipe, weights: Path | None, **more: Any) -> ExtractConfig:
    """What has to be set to make features of a recipe again. `weights`: the file, if it has moved."""
    source, encoder = recipe.source, recipe.encoder
    chosen, file = source.get("pretrained"), weights or source.get("weights")
    if chosen == "file" and not (file and Path(file).is_file()):
        raise CacheError(f"made with weights from a file, {file}, which is not there; name it with --weights FILE")
    settings: dict[str, Any] = {
        "dataset": "folder",
        "model": encoder["model"],
        "decoder": recipe.decoder,
        "dtype": recipe.dtype,
        "compute": recipe.compute,
        **({"weights": file} if chosen == "file" else {"pretrained": chosen}),
    }
    if chosen in ("file", INCLUDED):  # such weights do not say these of themselves
        settings |= {
            "activation": encoder["activation"],
            "preprocess": {fact: recipe.preprocess[fact] for fact in FACTS},
        }
    return build(ExtractConfig, settings=settings | more)
