"""Configurations in, an untrained fleet of learners out. The only place that knows which setting makes which part."""

import copy
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from plfeat.backbone.text import TextTower
from plfeat.config import HeadConfig, InteractionConfig, LossConfig, TrainConfig
from plfeat.errors import UsageError
from plfeat.model import temporal
from plfeat.model.draws import Draws
from plfeat.model.fuse import Fusion
from plfeat.model.graph import Graph
from plfeat.model.layers import Linear
from plfeat.model.parse import Parse
from plfeat.model.prompt import PromptLearner, starting_contexts
from plfeat.model.release import ReleaseGraph, ReleaseParse
from plfeat.records import FrameSet
from plfeat.shards.hdf5 import unpack
from plfeat.shards.texts import Texts
from plfeat.shards.views import Views
from plfeat.train.features import Mapped
from plfeat.train.fleet import Learner, Samples
from plfeat.train.matcher import Coefficients, Interaction, Matcher
from plfeat.train.others import LinearClassifier, TipAdapter
from plfeat.train.sources import Fixed, Prompts, Source, Templates, fixed, tokenize_names

OWN = {
    "optim": {"rate", "module_rate", "encoder_rate", "scale_rate", "weight_decay"},
    "loss": {"video_to_text", "text_to_video", "joint", "contrastive", "temperature"},
}
"""What members of one fleet may differ in, besides their seeds. Everything else is the fleet's architecture."""

_AT_ONCE = 4096  # videos whose keys are made in one piece


class TextSide(Protocol):
    """Where the tower and the texts come from, when they are asked for."""

    @property
    def tower(self) -> TextTower: ...
    @property
    def log_scale(self) -> float: ...
    def texts(self, words: tuple[str, ...], templates: tuple[str, ...], /) -> Texts | None: ...


@dataclass(frozen=True)
class Bare:
    """A tower alone: texts are read when they are needed, and not kept."""

    tower: TextTower

    @property
    def log_scale(self) -> float:
        return float(self.tower.log_scale)

    def texts(self, words: tuple[str, ...], templates: tuple[str, ...], /) -> None:
        return None


@dataclass(frozen=True)
class Material:
    """What is given before training: text side, class words, templates, the frames' shape. What reads no text opens no
    tower."""

    text: TextSide
    classes: tuple[str, ...]
    templates: tuple[str, ...]
    frames: int
    width: int
    scale: float | None = None  # the logarithm of CLIP's scale, where it is another than the tower's

    @property
    def tower(self) -> TextTower:
        return self.text.tower

    @property
    def start_scale(self) -> float:
        return self.text.log_scale if self.scale is None else self.scale

    @property
    def known(self) -> Texts | None:
        """The templates, already read."""
        return self.text.texts(self.classes, self.templates)


def architecture(config: TrainConfig) -> dict[str, Any]:
    """What members must share to be one model."""
    tree = config.model_dump(mode="json", exclude={"seeds"})
    for section, own in OWN.items():
        tree[section] = {key: value for key, value in tree[section].items() if key not in own}
    return tree


def build_source(config: TrainConfig, draws: Draws, material: Material) -> Source:
    """Texts that can change are read again in every step, others are read once."""
    if config.text.source == "templates":
        return _templates(config, material)
    tower = _tower(config, material)
    learner = _prompts(config, draws, material)
    learner.contexts.requires_grad_(config.context.learn)
    source = Prompts(tower, learner, _wants_words(config), config.text.sentence == "before")
    same = bool((learner.contexts == learner.contexts[:1]).all())
    if config.context.learn or config.text.tune or not same:
        return source
    learner.contexts.data = learner.contexts.data[:1]
    return fixed(source)


def build_learner(members: list[TrainConfig], material: Material, device: torch.device) -> Learner:
    """One model for all members. The text tower is shared, unless it is tuned: then there is one member."""
    config = members[0]
    if any(architecture(member) != architecture(config) for member in members):
        raise UsageError("members of one fleet may differ in seeds, rates, weight decay and loss coefficients only")
    if config.text.tune and len(members) > 1:
        raise UsageError("a tuned text tower belongs to one member; train members with text.tune one at a time")
    draws = Draws(tuple(member.seeds[0] for member in members))
    head = build_head(config.head, draws.at("head"), material)
    if config.method == "linear":
        return LinearClassifier(draws, head, material.width, len(material.classes)).to(device)
    source = build_source(config, draws.at("prompt"), material)
    interaction = build_interaction(config.interaction, draws.at("interaction"), material)
    coefficients = _coefficients([member.loss for member in members], device)
    scale = material.start_scale, config.scale.learn, config.scale.test
    return Matcher(len(members), head, source, interaction, coefficients, *scale).to(device)


def tip_keys(train: Samples, chosen_EN: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What Tip-Adapter starts from: each member's own training videos `[E, K, D]`, as they were cached, and labels."""
    features = train.features_NVTD
    key_ND = torch.cat([keys(some) for some in features.split(_AT_ONCE)])
    return key_ND[chosen_EN.to(features.device)], train.label_N[chosen_EN]


def build_tip(
    members: list[TrainConfig], material: Material, keys_EKD: torch.Tensor, label_EK: torch.Tensor
) -> TipAdapter:
    device = keys_EKD.device
    return TipAdapter(
        keys_EKD,
        label_EK.to(device),
        ensemble(build_source(members[0], Draws((0,)), material)).to(device),
        float(torch.tensor(material.start_scale).exp()),
        *members[0].tip.unchosen,
    ).to(device)


def ensemble(source: Source) -> torch.Tensor:
    """Unit text features `[C, D]`: the mean of a class's unit sentences, as CLIP does with several templates."""
    sentence_PD = fixed(source).sentence_PD
    return F.normalize(F.normalize(sentence_PD, dim=-1).unflatten(0, (-1, source.per_class)).mean(dim=1), dim=-1)


def build_head(config: HeadConfig, draws: Draws, material: Material) -> nn.Module:
    width = material.width
    if config.kind == "mean":
        return temporal.Mean()
    if config.kind == "conv1d":
        return temporal.Conv1D(draws, width)
    if config.kind == "lstm":
        return temporal.LSTM(draws, width)
    heads = config.heads or default_heads(config, width)
    if width % heads:
        raise UsageError(f"head.heads={heads} does not divide the features' width {width}")
    if config.kind == "transf_cls":
        return temporal.Encoder(draws, width, material.frames, config.layers, heads, config.dropout)
    return temporal.Transformer(draws, width, material.frames, config.layers, heads)


def default_heads(config: HeadConfig, width: int) -> int:
    """ActionCLIP's code has eight; elsewhere one for every 64 numbers of width, as in CLIP."""
    return 8 if config.kind == "transf_cls" else max(1, width // 64)


def build_interaction(config: InteractionConfig, draws: Draws, material: Material) -> Interaction | None:
    if config.kind == "none":
        return None
    width, words = material.width, material.tower.width
    parse: Parse | ReleaseParse | None = None
    if config.text == "parsed":
        kind = ReleaseParse if config.released else Parse
        parse = kind(draws.at("parse"), width, config.hidden, config.steps)
    graph: Graph | ReleaseGraph
    if config.released:
        heads = next(heads for heads in (16, 8, 4, 2, 1) if width % heads == 0)
        graph = ReleaseGraph(draws.at("graph"), width, width, config.hidden, heads)
    else:
        graph = Graph(draws.at("graph"), width, width, config.hidden)
    node_text = 0 if config.released else width
    return Interaction(
        parse,
        graph,
        Fusion(draws.at("fuse"), width, node_text, width, config.hidden, width, config.last_relu, config.released),
        Linear(draws, "to_embedding", words, width) if words != width and config.text != "sentence" else None,
        text=config.text,
        asks_sentence=config.released,
        own=config.kind == "own",
        score=config.score,
        spread=not config.released,
    )


def known_texts(texts: Texts, words: bool) -> Fixed:
    """The cached texts, as far as templates are read: sentences, and if wanted the words between [SOS] and [EOT]."""
    sentence_PD = torch.tensor(unpack(texts.sentence_ND)).float()
    if not words:
        return Fixed(sentence_PD, None, None, len(texts.templates))
    ptr = torch.tensor(texts.text_ptr)
    length_P = ptr.diff()
    place_L = torch.arange(int(length_P.max()))
    row_PL = (ptr[:-1, None] + place_L).clamp_max(len(texts.token_S) - 1)
    words_SW = torch.tensor(unpack(texts.word_SW)).float()
    real_PL = (place_L > 0) & (place_L < length_P[:, None] - 1)
    return Fixed(sentence_PD, words_SW[row_PL], real_PL, len(texts.templates))


def pools(config: TrainConfig) -> bool:
    """Whether only the mean of a view's frames is ever looked at."""
    return config.head.kind == "mean" and config.interaction.kind == "none"


def resident(frames: FrameSet, config: TrainConfig, device: torch.device) -> Samples:
    """Features where they are trained on. Where only the frames' mean is ever looked at, only that is kept."""
    label_N = torch.from_numpy(frames.label_N)
    if isinstance(frames.features_NVTD, Views):
        return Samples(Mapped(frames.features_NVTD, device, pools(config)), label_N)
    assert isinstance(frames.features_NVTD, np.ndarray)
    features = torch.from_numpy(frames.features_NVTD).to(device)
    if pools(config) and features.shape[2] > 1:
        features = features.mean(dim=2, keepdim=True, dtype=torch.float32)  # never all of them, widened
    return Samples(features, label_N)


def pool(features_NVTD: torch.Tensor) -> torch.Tensor:
    """Video features `[N, D]`: the unit mean of each view's frames, averaged over the views. Matching that average
    gives the average of the views' similarities."""
    return F.normalize(features_NVTD.mean(dim=2, dtype=torch.float32), dim=-1).mean(dim=1)


def keys(features_NVTD: torch.Tensor) -> torch.Tensor:
    """What Tip-Adapter keeps of training videos `[N, D]`: averaged over frames and views, and only then of length 1."""
    return F.normalize(features_NVTD.float().mean(dim=2).mean(dim=1), dim=-1)


def _prompts(config: TrainConfig, draws: Draws, material: Material) -> PromptLearner:
    tower, context = material.tower, config.context
    ids, eot_C = tokenize_names(tower, material.classes, context.position)
    longest = int(eot_C.max()) + 1 + context.tokens
    if longest > tower.context_length:
        raise UsageError(
            f"context.tokens={context.tokens} makes the longest prompt {longest} tokens; "
            f"this text tower reads {tower.context_length}"
        )
    phrase_PW = torch.empty(0, tower.width)
    if context.start == "phrase":
        phrase, end = tower.tokenize([context.phrase])
        phrase_PW = tower.embed(phrase[0, 1 : int(end)]).detach().cpu()
    own = len(material.classes) if context.sharing == "class" else 1
    contexts = starting_contexts(draws, own, context.tokens, context.spread, phrase_PW, context.position)
    return PromptLearner(contexts, tower.embed(ids).detach().cpu(), eot_C, context.position)


def _wants_words(config: TrainConfig) -> bool:
    return config.interaction.kind != "none" and config.interaction.text != "sentence"


def _tower(config: TrainConfig, material: Material) -> TextTower:
    """The frozen tower; or a copy of it, which is tuned. The token table of the copy stays frozen: prompts hold rows of
    it."""
    if not config.text.tune:
        return material.tower.requires_grad_(False)
    tower = copy.deepcopy(material.tower).requires_grad_(True)
    tower.token_embedding.requires_grad_(False)
    return tower


def _templates(config: TrainConfig, material: Material) -> Source:
    given = config.text.template
    if given is None and not config.text.tune and (known := material.known) is not None:
        return known_texts(known, _wants_words(config))
    tower, templates = _tower(config, material), material.templates if given is None else (given,)
    texts = [template.replace("{}", name) for name in material.classes for template in templates]
    ids_PL, eot_P = tower.tokenize(texts)
    source = Templates(tower, ids_PL, eot_P, len(templates), _wants_words(config))
    return source if config.text.tune else fixed(source)


def _coefficients(losses: list[LossConfig], device: torch.device) -> Coefficients:
    def each(name: str) -> torch.Tensor:
        return torch.tensor([float(getattr(loss, name)) for loss in losses], device=device)

    return Coefficients(
        video_to_text=each("video_to_text"),
        text_to_video=each("text_to_video"),
        joint=each("joint"),
        contrastive=each("contrastive"),
        temperature=each("temperature"),
        labels=losses[0].labels,
        pairs=losses[0].pairs,
        everything=losses[0].candidates == "all",
        contrasts=any(loss.contrastive != 0 for loss in losses),
    )
