"""Named settings: the method as its paper says, as its release does, as plfeat would, and what it is measured against.

Each is what differs from the defaults of `config.TrainConfig`, by dotted key. Where the paper is silent and what was
chosen then is said beside the key. What is set beyond that has to change something: two tables say which keys, in which
configuration, would not.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from plfeat.config import LEARNED, TEXTLESS, WARMUP, ExtractConfig, InteractionConfig, TrainConfig
from plfeat.errors import UsageError
from plfeat.registry import Registry
from plfeat.settings import build, changes, given, known_keys, reset

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
    said = (value for key, value in given(file, overrides, settings) if key == "preset")
    named = {str(name) for name in (preset, *said) if name is not None}
    if len(named) > 1:
        raise UsageError(f"two presets are named, {' and '.join(sorted(map(repr, named)))}; choose one")
    name = next(iter(named), "prompts")
    plain = {"preset": name, **PRESETS[name]}
    config, base = build(TrainConfig, file, overrides, settings, base=plain), build(TrainConfig, base=plain)
    _require_room_to_warm_up(config)
    config = settled(config)
    idle = sorted(_idle_changes(config, base))
    if idle:
        raise UsageError(f"config: {', '.join(idle)} would change nothing here; leave it out")
    return config


def settled(config: TrainConfig) -> TrainConfig:
    """The same, without what is set to what it would be anyway."""
    optim, tip = config.optim, config.tip
    same = {
        "optim.warmup_epochs": optim.warmup == min(WARMUP, optim.epochs / 2),
        "optim.scale_rate": optim.scale_rate == optim.rate,
        "tip.alpha": config.method == "tip-adapter-f" and tip.alpha == 1.0,
        "tip.beta": config.method == "tip-adapter-f" and tip.beta == 5.5,
    }
    return reset(config, TrainConfig(), (key for key, is_same in same.items() if is_same))


def _require_room_to_warm_up(config: TrainConfig) -> None:
    asked, epochs = config.optim.warmup_epochs, config.optim.epochs
    if asked is not None and 2 * asked > epochs:
        raise UsageError(
            f"config: optim.warmup_epochs={asked} is more than half of optim.epochs={epochs}; at most {epochs // 2}"
        )


def _idle_changes(config: TrainConfig, base: TrainConfig) -> set[str]:
    """What could be left as it is in `base` without a difference. What could not, because nothing would fit together
    then, has its reason."""
    idle = idle_keys(config) & changes(config, base).keys()
    return idle if _fits(config, base, idle) else {key for key in idle if _fits(config, base, {key})}


def _fits(config: TrainConfig, base: TrainConfig, keys: Iterable[str]) -> bool:
    try:
        TrainConfig.model_validate(reset(config, base, keys).model_dump())
    except ValidationError:
        return False
    return True


def idle_keys(config: TrainConfig) -> set[str]:
    """The dotted keys that do nothing with such a configuration; a table would name them as if they did."""
    method, text, inner, loss = config.method, config.text, config.interaction, config.loss
    learned, matched, textless = method in LEARNED, method == "match", method in TEXTLESS
    contexts, mean = text.source == "contexts" and config.context.learn, config.head.kind == "mean"
    joint = loss.matches and loss.joint != 0
    heard, would = _heard(config), _heard(config, matches=True)
    unmatched = not would & {"texts", "head", "scale"} and not (loss.joint and "module" in would)  # by anything heard
    alone, scaled = "module" not in heard, loss.matches and "scale" in heard
    unasked = matched and inner.score == "joint" and not (loss.matches and heard & {"texts", "scale"})  # the head
    deaf = matched and not heard  # such as a scale, where another is tested with
    weightless = method.startswith("tip-adapter") and config.tip.alpha == 0  # the cached videos
    untrained = method == "zero-shot" or weightless
    idle = {
        "data.allow_empty": untrained,
        "data.views": untrained,
        "data.shots": deaf or untrained,
        "data.holdout": deaf or untrained,
        "text": textless,
        "text.sentence": text.source == "templates",
        "text.template": text.source == "contexts",
        "text.tune": not matched,
        "context": textless or text.source == "templates",
        "context.phrase": config.context.start == "random",
        "head": method not in ("match", "linear") or unasked,
        "head.layers": not config.head.kind.startswith("transf"),
        "head.heads": not config.head.kind.startswith("transf"),
        "head.dropout": config.head.kind != "transf_cls",
        "interaction": not matched,
        **{f"interaction.{key}": alone for key in InteractionConfig.model_fields if key not in ("kind", "score")},
        "interaction.kind": alone or not joint,  # without it `own` and `pairwise` are one
        "interaction.score": inner.kind == "none",
        "interaction.steps": alone or inner.text != "parsed",
        "scale": not matched,
        "scale.learn": not loss.matches or "scale" not in _heard(config, scale_learns=True),
        "loss": not matched or deaf,
        "loss.video_to_text": unmatched,
        "loss.text_to_video": unmatched,
        "loss.joint": not loss.matches,
        "loss.contrastive": alone and not config.learns_text,
        "loss.temperature": not loss.contrastive or (alone and not config.learns_text),
        "loss.pairs": not loss.contrastive or (alone and not config.learns_text),
        "loss.labels": loss.candidates == "all" or not loss.matches or unmatched,
        "loss.candidates": not loss.matches or unmatched,
        "optim": not learned or deaf or weightless,
        "optim.rate": not matched or not (contexts or (scaled and config.optim.scale_rate is None)),
        "optim.scale_rate": not matched or not scaled,
        "optim.module_rate": matched and mean and alone,
        "optim.weight_decay": method == "tip-adapter-f"
        or (matched and not config.learns_text and config.head.kind in ("mean", "conv1d") and alone),
        "optim.encoder_rate": not text.tune,
        "probe": method != "linear-probe",
        "tip": not method.startswith("tip-adapter"),
        "tip.beta": weightless,
        "select": not learned or deaf or weightless or config.optim.epochs == 1,
    }
    return _below(idle, TrainConfig)


def _heard(config: TrainConfig, scale_learns: bool = False, matches: bool = False) -> set[str]:
    """Of what learns, what the score hears: by itself, or through a loss that it shares with what is heard. As if the
    scale did learn, or as if videos and texts were matched."""
    inner, loss, scale = config.interaction, config.loss, config.scale
    matches = matches or loss.matches
    learns = {
        "texts": config.learns_text,
        "head": config.head.kind != "mean",
        "scale": scale.learn or scale_learns,
        "module": inner.kind != "none",
    }
    scored = {
        "texts": True,
        "head": inner.score != "joint",
        "scale": not scale.test,
        "module": inner.score != "video",
    }
    shared = [
        {"texts", "head", "scale"} if matches else set(),
        {"texts", "module", "scale"} if matches and loss.joint else set(),
        {"texts", "module"} if loss.contrastive else set(),
    ]
    heard = {part for part, does in learns.items() if does and scored[part]}
    for _ in learns:
        heard |= {part for parts in shared if parts & heard for part in parts if learns[part]}
    return heard


def extract_config(
    file: Path | None = None, overrides: Iterable[str] = (), settings: Settings | None = None
) -> ExtractConfig:
    """Defaults, changed by a file, by settings, by overrides. Whatever is set has to matter, or another cache would be
    expected than the one that comes; also where it is set to its default, as in `--frames 8 --fps 2`."""
    overrides = tuple(overrides)
    config = build(ExtractConfig, file, overrides, settings)
    idle = sorted(idle_of_extraction(config) & {key for key, _ in given(file, overrides, settings)})
    if idle:
        raise UsageError(f"config: {', '.join(idle)} would change nothing here; leave it out")
    return config


def idle_of_extraction(config: ExtractConfig) -> set[str]:
    """The dotted keys that do nothing with such a configuration."""
    sample = config.sample
    dense = sample.every is not None or sample.fps is not None
    idle = {
        "lists": config.dataset in ("folder", "toy"),  # the folders are the list
        "sample.frames": dense,
        "sample.cap": not dense,
        "sample.seed": max(sample.views, sample.test_views) == 1,  # one view looks at the centres
    }
    return _below(idle, ExtractConfig)


def _below(idle: dict[str, bool], cls: type[TrainConfig] | type[ExtractConfig]) -> set[str]:
    """The keys of `cls` at or under those that do nothing."""
    roots = [key for key, does_nothing in idle.items() if does_nothing]
    return {key for key in known_keys(cls) if any(f"{key}.".startswith(f"{root}.") for root in roots)}
