"""Cached features in, trained prompts out: all members of a fleet as one batched model. A single run is a fleet of one.

The text tower is frozen and shared; a member owns its contexts, its temperature and its order of the data. The members'
losses are summed, and since they share no trainable number each gets exactly the gradient it would get alone.

Shapes: E members, N videos, V views, T frames, B samples, C classes, U classes in the batch, D embedding width.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from plfeat.backbone.text import TextTower
from plfeat.config import ContextConfig, TrainConfig
from plfeat.errors import DataError, UsageError
from plfeat.loss.match import matching_loss
from plfeat.metrics.classify import top_k_hits
from plfeat.model.prompt import PromptLearner, starting_contexts
from plfeat.records import FrameSet, Tick
from plfeat.train.schedule import rate_factor


class Fleet(nn.Module):
    """PromptLearner contexts over a frozen text tower, matched with mean-pooled frames."""

    def __init__(self, tower: TextTower, prompts: PromptLearner, start_scale: float) -> None:
        super().__init__()
        self.tower = tower.requires_grad_(False)
        self.prompts = prompts
        members = len(prompts.contexts)
        self.log_scale_E = nn.Parameter(torch.full((members,), start_scale))

    def text(self, classes_U: torch.Tensor) -> torch.Tensor:
        """Unit sentence features `[E, U, D]`."""
        embeddings_EULW, eot_U = self.prompts(classes_U)
        members, asked = embeddings_EULW.shape[:2]
        features = self.tower(embeddings_EULW.flatten(0, 1), eot_U.repeat(members))
        return F.normalize(features.sentence_ND, dim=-1).unflatten(0, (members, asked))

    def loss(
        self, video_EBD: torch.Tensor, label_EB: torch.Tensor, video_to_text: float, text_to_video: float
    ) -> torch.Tensor:
        """`[E]`; only the classes in the batch are encoded."""
        classes_U, which_EB = torch.unique(label_EB, return_inverse=True)
        text_EUD = self.text(classes_U)
        text_EBD = text_EUD.gather(1, which_EB[..., None].expand(-1, -1, text_EUD.shape[-1]))
        logits_EBB = self.log_scale_E.exp()[:, None, None] * video_EBD @ text_EBD.mT
        return matching_loss(logits_EBB, label_EB, video_to_text, text_to_video)

    @torch.no_grad()
    def score(self, video_ND: torch.Tensor) -> torch.Tensor:
        """Class probabilities `[E, N, C]`."""
        text_ECD = self.text(torch.arange(len(self.prompts.eot_C)))
        return (self.log_scale_E.exp()[:, None, None] * (video_ND @ text_ECD.mT)).softmax(dim=-1)


@dataclass(frozen=True)
class Epoch:
    """One line of a training curve, a value per member."""

    epoch: int
    loss_E: list[float]
    val_top1_E: list[float] | None


def build_fleet(
    tower: TextTower, classes: tuple[str, ...], context: ContextConfig, seeds: tuple[int, ...], start_scale: float
) -> Fleet:
    """`start_scale` is the logarithm of CLIP's own scale."""
    ids, eot_C = tower.tokenize([f"{name}." for name in classes])
    longest = int(eot_C.max()) + 1 + context.tokens
    if longest > tower.context_length:
        raise UsageError(
            f"context.tokens={context.tokens} makes the longest prompt {longest} tokens; "
            f"this text tower reads {tower.context_length}"
        )
    phrase_PW = torch.empty(0, tower.width)
    if context.start == "phrase":
        phrase, end = tower.tokenize([context.phrase])
        phrase_PW = tower.token_embedding(phrase[0, 1 : int(end)]).detach()
    own = len(classes) if context.sharing == "class" else 1
    contexts = starting_contexts(seeds, own, context.tokens, context.spread, phrase_PW, tower.width)
    return Fleet(tower, PromptLearner(contexts, tower.token_embedding(ids).detach(), eot_C), start_scale)


def parameter_groups(fleet: Fleet, weight_decay: float) -> list[dict[str, object]]:
    """Every trainable parameter, in exactly one group. The temperatures are not decayed."""
    return [
        {"params": [fleet.prompts.contexts], "weight_decay": weight_decay},
        {"params": [fleet.log_scale_E], "weight_decay": 0.0},
    ]


def pool(frames: FrameSet) -> torch.Tensor:
    """Video features `[N, D]`: the unit mean of each view's frames, averaged over the views. Matching that average
    gives the average of the views' similarities."""
    return F.normalize(torch.from_numpy(frames.features_NVTD).float().mean(dim=2), dim=-1).mean(dim=1)


def train_fleet(fleet: Fleet, train: FrameSet, val: FrameSet | None, config: TrainConfig, tick: Tick) -> list[Epoch]:
    """Trains in place; returns the curve. The last epoch is what counts: nothing is selected."""
    video_ND, label_N = pool(train), torch.from_numpy(train.label_N)
    watched = (pool(val), val.label_N) if val else None
    optim = config.optim
    batch = min(optim.batch, len(label_N))
    orders = [torch.Generator().manual_seed(seed) for seed in config.seeds]
    optimiser = torch.optim.AdamW(parameter_groups(fleet, optim.weight_decay), lr=optim.rate)
    per_epoch = len(list(_starts(len(label_N), batch)))
    if per_epoch == 0:
        raise DataError(
            f"{len(label_N)} training video has features; at least 2 are needed to match against each other"
        )
    steps, step = optim.epochs * per_epoch, 0
    warmup = min(optim.warmup_epochs * per_epoch, steps // 2)
    curve = []
    for epoch in range(optim.epochs):
        order_EN = torch.stack([torch.randperm(len(label_N), generator=order) for order in orders])
        total_E = torch.zeros(len(orders))
        for start in _starts(len(label_N), batch):
            for group in optimiser.param_groups:
                group["lr"] = optim.rate * rate_factor(step, steps, warmup)
            which_EB = order_EN[:, start : start + batch]
            loss_E = fleet.loss(
                video_ND[which_EB], label_N[which_EB], config.loss.video_to_text, config.loss.text_to_video
            )
            optimiser.zero_grad(set_to_none=True)
            loss_E.sum().backward()
            optimiser.step()
            total_E += loss_E.detach()
            step += 1
        tops = None
        if watched:
            tops = [float(top_k_hits(scores, watched[1], 1).mean()) for scores in fleet.score(watched[0]).numpy()]
        curve.append(Epoch(epoch + 1, (total_E / per_epoch).tolist(), tops))
        tick("training prompts", epoch + 1, optim.epochs)
    return curve


def _starts(count: int, batch: int) -> Iterator[int]:
    """Where batches begin; a last batch of one sample has nothing to be matched against and is left out."""
    return (start for start in range(0, count, batch) if count - start >= 2)
