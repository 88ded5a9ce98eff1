"""Model names to loaded backbones, the shipped ones included."""

from collections.abc import Mapping
from typing import Any

from plfeat.backbone.load import Backbone, load
from plfeat.backbone.plan import plan
from plfeat.toy import shipped


def open_backbone(
    name: str, pretrained: str | None, activation: str | None = None, preprocess: Mapping[str, Any] | None = None
) -> Backbone:
    shipped.offer()
    return load(plan(name, pretrained, activation, preprocess))
