"""What all methods are built on: a cache's text tower and texts."""

from plfeat.backbone.text import TextTower
from plfeat.flows.backbones import backbone_of
from plfeat.progress import MODEL, stage
from plfeat.flows.texts import texts_of
from plfeat.model.templates import TEMPLATES
from plfeat.records import FrameSet, Tick, silent
from plfeat.shards.reader import Cache
from plfeat.train.build import Material


def material_of(
    cache: Cache,
    frames: FrameSet,
    pretrained: str | None = None,
    templates: tuple[str, ...] = (),
    tick: Tick = silent,
) -> Material:
    """What can be built on before anything is trained, with other templates than the cache's, if there are any. Of the
    backbone only the text tower stays in memory."""
    with stage(tick, MODEL):
        backbone, texts = backbone_of(cache, pretrained), texts_of(cache)
    templates = templates or (texts.templates if texts else TEMPLATES)
    return Material(
        tower=TextTower(backbone.model, backbone.tokenizer),
        classes=cache.classes,
        templates=templates,
        frames=frames.features_NVTD.shape[2],
        width=frames.features_NVTD.shape[3],
        start_scale=float(backbone.model.logit_scale),  # type: ignore[arg-type]
        known=texts if texts and texts.templates == templates else None,
    )
