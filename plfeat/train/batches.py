"""Which samples form the batches of an epoch: a pure function of seeds, epoch and labels, so that nothing about it has
to be saved.

Shapes: E members, N training videos of a member, S steps, B samples, V views, K texts a class, U texts of a batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from plfeat.device import sent
from plfeat.model.draws import Draws


@dataclass(frozen=True)
class Batch:
    """All on the device that trains, except `texts_EU`: the length of the texts decides the shape of what is computed,
    and reading it from a GPU would make the CPU wait."""

    video_EB: torch.Tensor  # rows of the training videos
    view_EB: torch.Tensor
    label_EB: torch.Tensor
    texts_EU: torch.Tensor  # the batch's texts, each once; padded by repeating one, where members differ in number
    own_EB: torch.Tensor  # where a sample's own text stands among them
    step: int = 0  # since training began


def widened(features: torch.Tensor) -> torch.Tensor:
    """Features as they are stored to features as they are computed with: half precision becomes single."""
    return features if features.dtype == torch.float64 else features.float()


def steps_of(videos: int, batch: int) -> int:
    """How many batches an epoch has. A last batch of one sample is left out: there is nothing to match it against."""
    whole, rest = divmod(videos, batch)
    return whole + (rest >= 2)


def epoch_plan(
    seeds: tuple[int, ...],
    epoch: int,
    chosen_EN: torch.Tensor,
    label_N: torch.Tensor,
    batch: int,
    views: int,
    per_class: int,
    device: torch.device,
) -> Iterator[Batch]:
    """The epoch's batches. `chosen_EN` are the rows a member learns from, `label_N` the labels of all rows."""
    draws, videos = Draws(seeds).at(f"epoch.{epoch}"), chosen_EN.shape[1]
    video_EN = chosen_EN.gather(1, draws.order("order", videos))
    view_EN = draws.integers("view", videos, below=views)
    text_EN = label_N[video_EN] * per_class + draws.integers("template", videos, below=per_class)
    whole, done = videos // batch * batch, epoch * steps_of(videos, batch)
    for start, end in ((0, whole), (whole, videos)):
        if end - start < 2:
            continue
        size = min(batch, end - start)
        video_ESB, view_ESB, text_ESB = (
            part[:, start:end].unflatten(1, (-1, size)) for part in (video_EN, view_EN, text_EN)
        )
        texts_ESU, own_ESB, used = distinct(text_ESB)
        moved = [sent(part, device) for part in (video_ESB, view_ESB, text_ESB // per_class, own_ESB)]
        for step, count in enumerate(used.amax(dim=0).tolist()):
            video_EB, view_EB, label_EB, own_EB = (part[:, step] for part in moved)
            yield Batch(video_EB, view_EB, label_EB, texts_ESU[:, step, :count], own_EB, done + step)
        done += len(used[0])


def distinct(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Along the last axis: every value once, in ascending order and then repeating the first; where each value stands
    among them; how many there are."""
    ordered, order = values.sort(dim=-1)
    is_new = torch.ones_like(ordered)
    is_new[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    rank = is_new.cumsum(dim=-1) - 1
    once = ordered[..., :1].repeat(*[1] * (ordered.dim() - 1), ordered.shape[-1]).scatter(-1, rank, ordered)
    return once, torch.empty_like(rank).scatter(-1, order, rank), rank[..., -1] + 1
