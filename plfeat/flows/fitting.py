"""A configuration and what it is to be trained on in, the configuration out without what that makes no difference to.

What is set to what it would be anyway is taken back, so that a row does not name it; what cannot have the effect that a
row would name is refused.
"""

import math
from collections.abc import Set
from dataclasses import replace

from plfeat.config import TEXTLESS, WARMUP, TrainConfig
from plfeat.desk import Desk
from plfeat.errors import UsageError
from plfeat.flows.splits import Splits
from plfeat.presets import train_config
from plfeat.records import FrameSet
from plfeat.settings import changes, reset
from plfeat.train.build import Material, default_heads


def material_of(desk: Desk, frames: FrameSet) -> Material:
    """What can be built on before anything is trained: the desk's text side, and the shape of what is read."""
    _, _, length, width = frames.features_NVTD.shape
    return Material(desk.text, desk.words, desk.templates, length, width)


def fitted(config: TrainConfig, material: Material, videos: int) -> tuple[TrainConfig, tuple[str, ...]]:
    """For a method that is trained, over so many videos; and what a reader of its results should know of that."""
    base, remarks = train_config(config.preset), list[str]()
    named = changes(config, base)
    _check_phrase(config, named.keys(), material)
    if "optim.batch" in named and config.optim.batch > videos:
        remarks.append(f"optim.batch={config.optim.batch}: a batch is all of the {videos} training videos")
        config = config.model_copy(update={"optim": config.optim.model_copy(update={"batch": max(2, videos)})})
    if config.optim.warmup_epochs is None and config.optim.warmup < WARMUP:
        remarks.append(f"the warm-up takes {config.optim.warmup:g} of {config.optim.epochs} epochs")
    same = {
        "optim.batch": config.optim.batch == min(base.optim.batch, videos),
        "scale.test": _scale_at_test(config, config, material) == _scale_at_test(base, config, material) != 0,
        "head.heads": config.head.heads == default_heads(config.head, material.width),
    }
    anyway = [key for key, is_same in same.items() if is_same and key in named]
    if "head.heads" in anyway:
        remarks.append(f"head.heads={config.head.heads} is what it would be anyway; no row names it")
    return reset(config, base, anyway), tuple(remarks)


def as_read(config: TrainConfig, desk: Desk) -> TrainConfig:
    """Without the number of frames or views, where it is the one that would be read anyway."""
    same = [key for key in desk.read if getattr(config.data, key) is not None and _anyway(desk, key)]
    return reset(config, TrainConfig(), [f"data.{key}" for key in same])


def _anyway(desk: Desk, key: str) -> bool:
    try:
        return replace(desk, data=desk.data.model_copy(update={key: None})).read[key] == desk.read[key]
    except UsageError:  # one of several has to be named
        return False


def fitted_tip(config: TrainConfig, seen: Splits) -> TrainConfig:
    """For Tip-Adapter, whose unset numbers are the usual ones where no video is left to choose them on."""
    singles = all(len(set(label_N.tolist())) == len(label_N) for label_N in seen.label_EN)
    if config.method != "tip-adapter" or seen.val is not None or not singles:
        return config
    usual = TrainConfig().tip
    same = {"tip.alpha": config.tip.alpha == usual.unchosen[0], "tip.beta": config.tip.beta == usual.unchosen[1]}
    return reset(config, TrainConfig(), (key for key, is_same in same.items() if is_same))


def _scale_at_test(config: TrainConfig, trained: TrainConfig, material: Material) -> float:
    """To four digits; 0 for what comes of learning."""
    return float(f"{config.scale.test or (0 if trained.scale.learn else math.exp(material.start_scale)):.4g}")


def _check_phrase(config: TrainConfig, named: Set[str], material: Material) -> None:
    """Where the words of the phrase are all contexts, nothing is drawn; and if they do not learn, all are the same."""
    context = config.context
    if config.text.source == "templates" or config.method in TEXTLESS or context.start == "random":
        return
    words = int(material.tower.tokenize([context.phrase])[1]) - 1
    if words < context.tokens:
        return
    for key, why in (
        ("context.spread", "nothing is drawn at random"),
        ("context.sharing", "without learning they are the same for every class" if not context.learn else ""),
    ):
        if why and key in named:
            raise UsageError(f"{key}: context.phrase fills all {context.tokens} contexts, {why}; leave it out")
