"""Named settings: the method as its paper says, as its release does, as plfeat would, and what it is measured against.

Each is what differs from the defaults of `config.TrainConfig`, by dotted key. Where the paper is silent and what was
chosen then is said beside the key.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from plfeat.config import TrainConfig, build, changes, given, idle_keys
from plfeat.errors import UsageError
from plfeat.registry import Registry

Settings = dict[str, Any]

_ACTIONCLIP: Settings = {"text.source": "templates", "loss.labels": "softmax"}
_COOP: Settings = {"context.start": "random", "loss.candidates": "all", "loss.text_to_video": 0.0}
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
            "optim.rate": 5e-5,
            "optim.module_rate": 5e-5,
            "optim.beta2": 0.98,
            "optim.batch": 32,
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
