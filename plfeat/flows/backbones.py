"""Model names to loaded backbones, the shipped ones included."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plfeat.backbone.load import Backbone, load
from plfeat.backbone.names import INCLUDED
from plfeat.backbone.plan import plan
from plfeat.backbone.preprocess import FACTS
from plfeat.errors import CacheError
from plfeat.shards.reader import Cache
from plfeat.toy import shipped


def open_backbone(
    name: str, pretrained: str | None, activation: str | None = None, preprocess: Mapping[str, Any] | None = None
) -> Backbone:
    shipped.offer()
    return load(plan(name, pretrained, activation, preprocess))


def backbone_of(cache: Cache, pretrained: str | None = None) -> Backbone:
    """The backbone that made a cache. `pretrained` says where the weights are when they came from a file."""
    made_by = cache.spec["model"]
    if made_by["pretrained"] == "file" and pretrained is None:
        raise CacheError(f"cache {cache.path} was made with weights from a file; name that file with --pretrained FILE")
    chosen = made_by["pretrained"] if pretrained is None else pretrained
    backbone = open_backbone(made_by["model"], chosen, **unsaid(cache.spec, chosen))
    for fact in ("weights_sha256", "activation"):
        if backbone.about[fact] != made_by[fact]:
            raise CacheError(
                f"cache {cache.path}: made with {fact} {made_by[fact][:16]}, but {made_by['model']} now has "
                f"{backbone.about[fact][:16]}; extract again, or load the weights that made it"
            )
    return backbone


def unsaid(spec: dict[str, Any], chosen: str) -> dict[str, Any]:
    """What weights do not say of themselves, as the spec of what they made has it: activation, preprocess."""
    if chosen != INCLUDED and not Path(chosen).is_file():
        return {}
    look = {fact: spec["preprocess"][fact] for fact in FACTS}
    return {"activation": spec["model"]["activation"], "preprocess": look}
