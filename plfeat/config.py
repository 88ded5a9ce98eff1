"""What a user may set: frozen, typed, validated once; unknown keys are refused with the nearest known one.

A configuration comes from defaults, then a YAML file, then `a.b=c` overrides. Builders receive plain values from it.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from plfeat.errors import UsageError, first_line, unknown

Count = Annotated[int, Field(ge=1, le=1_000_000, strict=True)]
Weight = Annotated[float, Field(ge=0, le=1e6)]


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SampleConfig(Config):
    """Which frames of a video are looked at. One view: the centres of `frames` equal segments. Several: a random frame
    of each segment, every view with its own seed. Dense: every n-th frame or so many a second, at most `cap`."""

    frames: Count = 8
    views: Count = 1  # of a training video
    test_views: Count = 1  # of any other
    seed: int = Field(0, ge=0, lt=1 << 63, strict=True)
    every: Count | None = None
    fps: float | None = Field(None, gt=0, le=1e4)
    cap: Count = 512

    @model_validator(mode="after")
    def _one_kind(self) -> "SampleConfig":
        if self.every is not None and self.fps is not None:
            raise ValueError("every and fps are two ways to say how densely; choose one")
        if (self.every or self.fps) and max(self.views, self.test_views) > 1:
            raise ValueError("dense sampling has one view; leave views and test_views at 1")
        return self


class ExtractConfig(Config):
    """Everything that decides what the features are, and nothing that only decides how fast they come."""

    dataset: str
    lists: Path | None = None  # where the annotation files lie, if not with the videos
    names: Path | None = None  # a table of own class names
    fold: int = Field(1, ge=1, le=3, strict=True)  # which of the published splits, where there are several
    model: str = "ViT-B-16"
    pretrained: str | None = None
    weights: Path | None = None  # a file instead of a tag
    activation: Literal["gelu", "quick_gelu"] | None = None  # what the weights in that file were trained with
    sample: SampleConfig = SampleConfig()
    augment: Literal["none", "flip", "rand", "rand+flip"] = "none"  # of training views, when there are several
    decoder: Literal["decord", "pyav"] | None = None
    fallback: bool = False  # a video that one decoder cannot read may be read by the other
    also: tuple[Literal["pre", "patch"], ...] = ()
    dtype: Literal["float16", "bfloat16", "float32"] = "float16"
    device: str | None = Field(None, pattern=r"^(cpu|cuda(:\d+)?)$")
    compute: Literal["float32", "float16", "bfloat16"] | None = None  # float32 on a CPU, float16 on a GPU
    compile: bool = False
    batch: Count | None = None  # frames in one pass; 256 on a GPU, 32 on a CPU
    shard: Count = 2048

    @model_validator(mode="before")
    @classmethod
    def _toy_by_toy(cls, given: Any) -> Any:
        """The toy videos are made for the toy model."""
        if isinstance(given, dict) and given.get("dataset") == "toy":
            return {"model": "toy"} | given
        return given

    @model_validator(mode="after")
    def _possible(self) -> "ExtractConfig":
        if self.augment != "none" and self.sample.views == 1:
            raise ValueError("augment changes training views; ask for several with sample.views (--views)")
        if self.weights is not None and self.pretrained is not None:
            raise ValueError("pretrained and weights both say which weights; choose one")
        if len(set(self.also)) < len(self.also):
            raise ValueError("also names something twice")
        return self


class ContextConfig(Config):
    """The learned words in front of a class name (eq. 1)."""

    tokens: Count = 16
    sharing: Literal["class", "shared"] = "class"
    start: Literal["phrase", "random"] = "phrase"
    phrase: str = "a video of action"
    spread: float = Field(0.02, gt=0, le=1e3)


class LossConfig(Config):
    """Coefficients of the matching losses (eq. 23)."""

    video_to_text: Weight = 1.0
    text_to_video: Weight = 1.0

    @model_validator(mode="after")
    def _something(self) -> "LossConfig":
        if self.video_to_text == self.text_to_video == 0:
            raise ValueError("with both coefficients 0 there is nothing to learn")
        return self


class OptimConfig(Config):
    """AdamW, warm-up, half a cosine. The warm-up never takes more than half of the epochs."""

    rate: float = Field(2e-3, gt=0, le=1e3)
    weight_decay: Weight = 0.2
    batch: Count = Field(64, ge=2)
    epochs: Count = 50
    warmup_epochs: int = Field(5, ge=0, strict=True)


class TrainConfig(Config):
    context: ContextConfig = ContextConfig()
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    seeds: tuple[Annotated[int, Field(ge=0, lt=1 << 63, strict=True)], ...] = Field((0, 1, 2), min_length=1)

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed stands twice")
        return seeds


AnyConfig = TypeVar("AnyConfig", bound=Config)


def build(
    cls: type[AnyConfig],
    file: Path | None = None,
    overrides: Iterable[str] = (),
    settings: dict[str, Any] | None = None,
    **more: Any,
) -> AnyConfig:
    """A `cls` from `file`, then `settings` by dotted key, then `overrides` like `optim.rate=1e-3`; later ones win."""
    tree = _read(file) if file is not None else {}
    for key, value in ((settings or {}) | more).items():
        tree = _merge(tree, _nest(key.split("."), value))
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"override {override!r} is not of the form key=value, for example optim.rate=1e-3")
        tree = _merge(tree, _nest(key.strip().split("."), _scalar(value)))
    try:
        _refuse_unknown_keys(cls, tree)
        return cls.model_validate(tree)
    except RecursionError as error:
        raise UsageError("config: a section contains itself") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        raise UsageError(f"config {where}: {said}, found {str(first['input'])[:60]!r}") from error


def known_keys(cls: type[Config], prefix: str = "") -> Iterator[str]:
    """Every dotted key that `cls` understands."""
    for name, field in cls.model_fields.items():
        yield prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, Config):
            yield from known_keys(field.annotation, f"{prefix}{name}.")


def changes(config: Config) -> dict[str, Any]:
    """The dotted keys in which `config` differs from the defaults, with its values."""
    defaults = dict(_leaves(type(config)().model_dump(mode="json")))
    return {key: value for key, value in _leaves(config.model_dump(mode="json")) if value != defaults[key]}


def _refuse_unknown_keys(cls: type[Config], tree: dict[str, Any]) -> None:
    known = set(known_keys(cls))
    for key, _ in _leaves(tree):
        if key not in known:
            raise unknown("config key", key, known)


def _nest(path: list[str], value: Any) -> dict[str, Any]:
    return {path[0]: _nest(path[1:], value) if path[1:] else value}


def _leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _merge(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _scalar(text: str) -> Any:
    """YAML, so a list is written `[1,2]`. YAML 1.1 reads `1e-3` as text; pydantic makes it a number."""
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"config value {text[:60]!r} is not valid YAML") from error


def _read(file: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"config file {file} does not exist") from None
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise UsageError(f"config file {file} cannot be read as YAML: {first_line(error)}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict) or not all(isinstance(key, str) for key in tree):
        raise UsageError(f"config file {file}: expected keys and values, found {type(tree).__name__}")
    return tree
