"""What a user may set: frozen, typed, validated once. Builders receive plain values from it; `settings` makes it."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Count = Annotated[int, Field(ge=1, le=1_000_000, strict=True)]
Weight = Annotated[float, Field(ge=0, le=1e6)]
Rate = Annotated[float, Field(gt=0, le=1e3)]
Finite = Annotated[float, Field(ge=-1e3, le=1e3)]


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SampleConfig(Config):
    """Which frames of a video are looked at: always the centres of `frames` equal segments. Several views: besides, a
    random frame of each segment, every view with its own seed. Dense: besides, every n-th frame or so many a second, at
    most `cap`."""

    frames: Count = 8
    views: Count = 1  # of a training video; 1 is the centre alone, more are random views beside it
    test_views: Count = 1  # of any other
    seed: int = Field(0, ge=0, lt=1 << 63, strict=True)
    every: Count | None = None
    fps: float | None = Field(None, gt=0, le=1e4)
    cap: Count = 512

    @model_validator(mode="after")
    def _one_kind(self) -> "SampleConfig":
        if self.every is not None and self.fps is not None:
            raise ValueError("every and fps are two ways to say how densely; choose one")
        return self


class PreprocessConfig(Config):
    """On what pictures weights were trained that do not say so themselves: those in a file, or in a folder without
    preprocess_cfg. As a tag of that model (or MODEL:TAG); what is set besides `like` comes before it."""

    like: str | None = None
    mean: tuple[Finite, Finite, Finite] | None = None  # of red, green and blue, from 0 to 1
    std: tuple[Rate, Rate, Rate] | None = None
    interpolation: Literal["bicubic", "bilinear", "nearest"] | None = None
    resize: Literal["shortest", "squash"] | None = None  # the shortest side, then the centre; or the whole, squashed

    @property
    def said(self) -> dict[str, Any]:
        return self.model_dump(exclude_none=True)


class ExtractConfig(Config):
    """Everything that decides which videos there are and what their features are, and nothing that only decides how
    fast they come."""

    dataset: str
    lists: Path | None = None  # where the annotation files lie, if not with the videos
    names: Path | None = None  # a table of own class names
    name: str | None = None  # what the list is called, if not like the dataset, the folder or the file
    pool: str | None = None  # whose videos these are among; unless named, the one that knows them
    split: str | None = None  # 70/10/20: percent of the videos to train, validate and test on
    folds: int | None = Field(None, ge=2, le=100, strict=True)  # as many test on a share each
    tower: bool = True  # the text tower is kept in the store
    model: str = "ViT-B-16"
    pretrained: str | None = None
    weights: Path | None = None  # a file instead of a tag
    activation: Literal["gelu", "quick_gelu"] | None = None  # what the weights in that file were trained with
    preprocess: PreprocessConfig = PreprocessConfig()  # and on what pictures
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
    shard: Count | None = None  # videos that are made together; unset, as many as make 256 frames, 16,384 on a GPU

    @model_validator(mode="before")
    @classmethod
    def _toy_by_toy(cls, given: Any) -> Any:
        """The toy videos are made for the toy model."""
        if isinstance(given, dict) and given.get("dataset") == "toy":
            return {"model": "toy"} | given
        return given

    @model_validator(mode="after")
    def _possible(self) -> "ExtractConfig":
        if self.split is not None and self.folds is not None:
            raise ValueError("split and folds are two ways to divide the videos; choose one")
        if self.augment != "none" and self.sample.views == 1:
            raise ValueError("augment changes training views; ask for several with sample.views (--views)")
        if self.weights is not None and self.pretrained is not None:
            raise ValueError("pretrained and weights both say which weights; choose one")
        if len(set(self.also)) < len(self.also):
            raise ValueError("also names something twice")
        return self


class DataConfig(Config):
    """Which of the cached training videos are learned from, and which of a video's views are looked at: unset, as many
    random ones as every video has, else the one of the segments' centres."""

    shots: Count | None = None  # so many of each class, drawn by seed
    holdout: float = Field(0.0, ge=0, le=0.9)  # this share of each class is kept back for validation
    allow_empty: bool = False  # classes without a training video
    frames: Count | None = None  # of a view, where the store has several numbers
    views: Count | None = None  # of a training video; 1 is the centre
    test_views: Count | None = None  # of any other


class TextConfig(Config):
    """Where a class's sentence comes from."""

    source: Literal["contexts", "templates"] = "contexts"
    template: str | None = None  # one sentence instead of the templates
    tune: bool = False  # the text tower learns too; its members are trained one by one
    sentence: Literal["after", "before"] = "after"  # the EOT's state after ln_final, or before it as released

    @field_validator("template")
    @classmethod
    def _has_a_place(cls, template: str | None) -> str | None:
        if template is not None and template.count("{}") != 1:
            raise ValueError("expected one {} for the class name")
        return template


class ContextConfig(Config):
    """The learned words around a class name (eq. 1)."""

    tokens: Count = 16
    sharing: Literal["class", "shared"] = "class"
    position: Literal["end", "middle", "front"] = "end"  # of the class name
    start: Literal["phrase", "random"] = "phrase"
    phrase: str = "a video of action"
    spread: float = Field(0.02, gt=0, le=1e3)
    learn: bool = True


class HeadConfig(Config):
    """From frames to a video; `layers` and `heads` are those of the Transformers."""

    kind: Literal["mean", "conv1d", "lstm", "transf", "transf_cls"] = "mean"
    layers: Count = 6
    heads: Count | None = None  # one for every 64 numbers of width; transf_cls 8
    dropout: float = Field(0.1, ge=0, lt=1)  # of transf_cls, while it learns


class InteractionConfig(Config):
    """The graph interaction module. `own`: a video meets the text of its own label, while training only (as printed).
    `pairwise`: it meets every class, and the joint feature can be scored without a label."""

    kind: Literal["none", "own", "pairwise"] = "none"
    text: Literal["parsed", "mean", "sentence"] = "parsed"  # what of the text goes into the graph (Table 2)
    steps: Count = 3
    hidden: Count = 512
    last_relu: bool = True
    released: bool = False  # parsing, graph and fusion as the released code has them, and frames as they come
    score: Literal["video", "joint", "mean"] = "video"

    @model_validator(mode="after")
    def _possible(self) -> "InteractionConfig":
        if self.kind == "none" and self.score != "video":
            raise ValueError(f"score={self.score} needs an interaction module; choose interaction.kind=pairwise")
        return self


class ScaleConfig(Config):
    """What cosines are multiplied by. It starts as the backbone has it; how fast it learns is `optim.scale_rate`."""

    learn: bool = True
    test: float | None = Field(None, gt=0, le=1e6)  # at test; unset, what it has become


class LossConfig(Config):
    """Coefficients of the losses (eq. 23 to 25). `joint` is for the pairwise joint features."""

    video_to_text: Weight = 1.0
    text_to_video: Weight = 1.0
    joint: Weight = 0.0
    contrastive: Weight = 0.0
    temperature: float = Field(0.07, gt=0, le=1e3)  # of the contrastive loss
    labels: Literal["rows", "softmax"] = "rows"
    pairs: Literal["sentence", "all"] = "sentence"
    candidates: Literal["batch", "all"] = "batch"  # what a video is matched against: its batch's texts, or every class

    @property
    def matches(self) -> bool:
        """Videos and texts, and joint features and texts: their two coefficients are the same."""
        return bool(self.video_to_text or self.text_to_video)

    @model_validator(mode="after")
    def _something(self) -> "LossConfig":
        if self.video_to_text == self.text_to_video == self.contrastive == 0:
            raise ValueError("with every coefficient 0 there is nothing to learn")
        if self.candidates == "all" and self.text_to_video:
            raise ValueError("text_to_video matches texts with the batch's videos; with candidates=all it has to be 0")
        return self


WARMUP = 5  # epochs, unless said otherwise


class OptimConfig(Config):
    """AdamW, warm-up, half a cosine. The warm-up takes at most half of the epochs, a batch at most all videos."""

    rate: Rate = 2e-3  # of the contexts
    module_rate: Rate = 5e-4  # of the head and the interaction module
    encoder_rate: Rate = 5e-6  # of a tuned text tower
    scale_rate: Rate | None = None  # of the cosines' scale; unset, that of the contexts
    weight_decay: Weight = 0.2  # of matrices and contexts; not of Tip-Adapter's keys, nor of Conv1D's kernel
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    batch: Annotated[int, Field(ge=2, le=1_000_000, strict=True)] = 64
    epochs: Count = 50
    warmup_epochs: int | None = Field(None, ge=0, strict=True)  # 5, or half of the epochs where these are fewer than 10
    compute: Literal["float32", "bfloat16"] | None = None  # of a step; bfloat16 on a GPU, float32 on a CPU

    @property
    def rate_of_scale(self) -> float:
        return self.rate if self.scale_rate is None else self.scale_rate

    @property
    def warmup(self) -> float:
        """In epochs."""
        return min(WARMUP if self.warmup_epochs is None else self.warmup_epochs, self.epochs / 2)


class ProbeConfig(Config):
    refit: bool = False  # its strength chosen, the probe learns from the split val too, as CLIP's authors have it


class TipConfig(Config):
    """Tip-Adapter's two numbers. Unset, Tip-Adapter chooses them on validation videos, or takes 1 and 5.5 where there
    are none; Tip-Adapter-F learns with 1 and 5.5."""

    alpha: Weight | None = None
    beta: Weight | None = None

    @property
    def unchosen(self) -> tuple[float, float]:
        """Where nothing is chosen on validation videos."""
        return 1.0 if self.alpha is None else self.alpha, 5.5 if self.beta is None else self.beta


LEARNED = ("match", "linear", "tip-adapter-f")
"""The methods that are trained by gradient, as a fleet."""
TEXTLESS = ("linear", "linear-probe", "nearest-mean")


class TrainConfig(Config):
    preset: str = "prompts"  # what a table calls it
    method: Literal["match", "linear", "tip-adapter-f", "zero-shot", "nearest-mean", "linear-probe", "tip-adapter"] = (
        "match"
    )
    data: DataConfig = DataConfig()
    text: TextConfig = TextConfig()
    context: ContextConfig = ContextConfig()
    head: HeadConfig = HeadConfig()
    interaction: InteractionConfig = InteractionConfig()
    scale: ScaleConfig = ScaleConfig()
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    probe: ProbeConfig = ProbeConfig()
    tip: TipConfig = TipConfig()
    select: Literal["last", "best"] = "last"  # the epoch that counts; best on validation, never on test
    seeds: tuple[Annotated[int, Field(ge=0, lt=1 << 63, strict=True)], ...] = Field((0, 1, 2), min_length=1)

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed stands twice")
        return seeds

    @property
    def reads_templates(self) -> bool:
        """The sixteen, or those of --templates."""
        return self.text.source == "templates" and self.text.template is None and self.method not in TEXTLESS

    @property
    def learns_text(self) -> bool:
        return self.text.tune or (self.text.source == "contexts" and self.context.learn)

    @model_validator(mode="after")
    def _consistent(self) -> "TrainConfig":
        kind, loss = self.interaction.kind, self.loss
        if loss.candidates == "all" and self.text.source == "templates" and self.text.template is None:
            raise ValueError("loss.candidates=all wants one text a class; set text.template or learn contexts")
        if kind == "none" and (loss.contrastive or loss.joint):
            raise ValueError(
                "loss.contrastive and loss.joint are losses of the interaction module; set interaction.kind"
            )
        if kind == "own" and (loss.joint or (not loss.contrastive and self.interaction.score != "video")):
            raise ValueError("interaction.kind=own learns from loss.contrastive alone; loss.joint needs pairwise")
        if kind == "pairwise" and not (loss.contrastive or loss.joint):
            raise ValueError("interaction.kind=pairwise learns from loss.joint or loss.contrastive; both are 0")
        learns = self.learns_text or self.head.kind != "mean" or kind != "none" or self.scale.learn
        if self.method == "match" and not learns:
            raise ValueError("with mean frames, fixed texts and scale.learn=false nothing learns; see preset zero-shot")
        hears_module = self.interaction.score != "video" or self.learns_text
        if self.method == "match" and not loss.matches and not hears_module:
            raise ValueError(
                "with loss.video_to_text and loss.text_to_video at 0 nothing that is scored would learn; let contexts "
                "learn, or score the joint feature"
            )
        return self
