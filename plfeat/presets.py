"""Named settings: the method as its paper says, as its release does, as plfeat would, and what it is measured against.

Each is what differs from the defaults of `config.TrainConfig`, by dotted key. Where the paper is silent and what was
chosen then is said beside the key.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from plfeat.config import LEARNED, TEXTLESS, InteractionConfig, TrainConfig, build, changes, given, known_keys
from plfeat.errors import UsageError
from plfeat.registry import Registry

Settings = dict[str, Any]

# ActionCLIP's code, and the released PromptLearner after it: the scale learns with the text tower and is 100 at test
_SCALE: Settings = {"optim.scale_rate": 5e-6, "scale.test": 100.0}
_ACTIONCLIP: Settings = {"text.source": "templates", "loss.labels": "softmax", **_SCALE}
_COOP: Settings = {
    "context.start": "random",
    "loss.candidates": "all",
    "loss.text_to_video": 0.0,
    "scale.learn": False,  # CoOp gives its optimiser the contexts alone
}
# (24) is a mean over the anchors, where the paper prints a sum (a batch's size should not weigh it against (23), which
# is a mean), and the contexts' 0.02 is a standard deviation, where it prints a variance
_PAPER: Settings = {
    "interaction.kind": "own",
    "interaction.steps": 3,  # the best row of Table 2
    "loss.contrastive": 1.0,
    "optim.rate": 5e-5,
    "optim.module_rate": 5e-5,
}

PRESETS: Registry[Settings] = Registry(
    "preset",
    **{
        "prompts": {},  # learned contexts, mean frames, the matching loss: the paper without its interaction module
        "paper": _PAPER,
        "release": {
            "context.tokens": 4,
            "context.sharing": "shared",
            "context.learn": False,
            "text.sentence": "before",
            "head.kind": "transf",
            "interaction.kind": "own",
            "interaction.released": True,
            "interaction.steps": 1,
            "loss.labels": "softmax",
            "loss.pairs": "all",
            "loss.video_to_text": 2 / 3,  # thirds of the two directions and the contrastive loss; the matching loss
            "loss.text_to_video": 2 / 3,  # halves its directions
            "loss.contrastive": 1 / 3,
            "optim.module_rate": 5e-5,
            "optim.beta2": 0.98,
            "optim.batch": 32,
            **_SCALE,
        },
        "plfeat": {
            "interaction.kind": "pairwise",
            "interaction.score": "joint",
            "interaction.last_relu": False,
            "loss.joint": 1.0,
        },
        "vit": {"method": "linear"},  # the "ViT" row of Table 3: no text at all
        "coop": {**_COOP, "context.sharing": "shared"},
        "coop-class": _COOP,
        **{
            f"actionclip-{kind.replace('_', '-')}": {**_ACTIONCLIP, "head.kind": kind}
            for kind in ("mean", "conv1d", "lstm", "transf", "transf_cls")
        },
        "text-tuned": {**_PAPER, "text.tune": True},  # Table 4, second row
        "zero-shot": {"method": "zero-shot", "text.source": "templates", "text.template": "a video of {}."},
        "zero-shot-ensemble": {"method": "zero-shot", "text.source": "templates"},
        "nearest-mean": {"method": "nearest-mean"},
        "linear-probe": {"method": "linear-probe"},
        "tip-adapter": {"method": "tip-adapter", "text.source": "templates"},
        "tip-adapter-f": {"method": "tip-adapter-f", "text.source": "templates", "optim.epochs": 20},
    },
)


def train_config(
    preset: str | None = None,
    file: Path | None = None,
    overrides: Iterable[str] = (),
    settings: Settings | None = None,
) -> TrainConfig:
    """A preset, changed by a file, by settings, by overrides. One of these may name the preset as well; without any it
    is `prompts`. What is changed has to change something, or a table would name a difference that is none."""
    overrides = tuple(overrides)
    named = {str(name) for name in (preset, *given("preset", file, overrides, settings)) if name is not None}
    if len(named) > 1:
        raise UsageError(f"two presets are named, {' and '.join(sorted(map(repr, named)))}; choose one")
    name = next(iter(named), "prompts")
    base = {"preset": name, **PRESETS[name]}
    config = build(TrainConfig, file, overrides, settings, base=base)
    idle = sorted(idle_keys(config) & changes(config, build(TrainConfig, base=base)).keys())
    if idle:
        raise UsageError(f"config: {', '.join(idle)} would change nothing here; leave it out")
    return config


def idle_keys(config: TrainConfig) -> set[str]:
    """The dotted keys that do nothing with such a configuration; a table would name them as if they did."""
    method, text, inner, loss = config.method, config.text, config.interaction, config.loss
    scale, optim = config.scale, config.optim
    learned, matched, textless = method in LEARNED, method == "match", method in TEXTLESS
    learns_text, mean = config.learns_text, config.head.kind == "mean"
    # trained beside the rest, the module is heard through the texts that it shares with it, or the scale, or the score
    carries = scale.learn and not (mean and scale.test)
    unheard = not learns_text and inner.score == "video" and (inner.kind == "own" or not loss.joint or not carries)
    alone = inner.kind == "none" or unheard
    # a scale that is not the one of the test is heard through what learns beside it; where nothing does, so is nothing
    deaf = matched and bool(scale.test) and mean and alone and not learns_text
    idle = {
        "data": method == "zero-shot",
        "data.shots": deaf,
        "data.holdout": deaf,
        "text": textless,
        "text.sentence": text.source == "templates",
        "text.template": text.source == "contexts",
        "text.tune": not matched,
        "context": textless or text.source == "templates",
        "context.phrase": config.context.start == "random",
        "head": method not in ("match", "linear"),
        "head.layers": not config.head.kind.startswith("transf"),
        "head.heads": not config.head.kind.startswith("transf"),
        "head.dropout": config.head.kind != "transf_cls",
        "interaction": not matched,
        **{f"interaction.{key}": alone for key in InteractionConfig.model_fields if key not in ("kind", "score")},
        "interaction.kind": unheard,
        "interaction.score": inner.kind == "none",
        "scale": not matched,
        "scale.learn": deaf,
        "loss": not matched or deaf,
        "loss.contrastive": unheard,
        "loss.temperature": unheard or not loss.contrastive,
        "loss.pairs": unheard or not loss.contrastive,
        "loss.labels": loss.candidates == "all",
        "optim": not learned or deaf,
        "optim.scale_rate": not matched or not scale.learn,
        "optim.rate": not matched
        or (
            (text.source == "templates" or not config.context.learn) and not (scale.learn and optim.scale_rate is None)
        ),
        "optim.module_rate": matched and config.head.kind == "mean" and alone,
        "optim.weight_decay": method == "tip-adapter-f"
        or (matched and not learns_text and config.head.kind in ("mean", "conv1d") and alone),
        "optim.encoder_rate": not text.tune,
        "probe": method != "linear-probe",
        "tip": not method.startswith("tip-adapter"),
        "select": not learned or deaf or optim.epochs == 1,
    }
    if inner.text != "parsed":
        idle["interaction.steps"] = True
    roots = [key for key, does_nothing in idle.items() if does_nothing]
    return {key for key in known_keys(TrainConfig) if any(f"{key}.".startswith(f"{root}.") for root in roots)}
