"""Videos against the texts of their classes: head, texts, interaction and losses of E members as one model.

Shapes: E members, B samples, T frames, U texts of the batch, P all texts, N videos, C classes, L words, D width.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from plfeat.device import chunk_bytes, full_precision, without_autocast
from plfeat.loss.contrast import contrastive_loss
from plfeat.loss.match import cosine, matching_loss
from plfeat.model.fuse import Fusion
from plfeat.model.graph import Graph
from plfeat.model.layers import Linear
from plfeat.model.parse import Parse, mean_of_words
from plfeat.model.release import ReleaseGraph, ReleaseParse
from plfeat.train.batches import Batch, widened
from plfeat.train.features import Features
from plfeat.train.sources import Read, Source

_KEPT = 32 << 20  # bytes of a chunk in training on a CPU, where the backward pass takes it three times more
_TEXTS = 512  # read in one pass of the tower


@dataclass(frozen=True)
class Coefficients:
    """The weights of the losses, `[E]` each, and how the losses are formed."""

    video_to_text: torch.Tensor
    text_to_video: torch.Tensor
    joint: torch.Tensor
    contrastive: torch.Tensor
    temperature: torch.Tensor
    labels: str
    pairs: str
    everything: bool  # a video is matched against every class, not against the batch's texts
    contrasts: bool  # whether any member has a contrastive loss


class Interaction(nn.Module):
    """Parsing, graph and fusion (eq. 12 to 22). With `own` a video is combined with the text of its own class only,
    otherwise with every text of the batch."""

    def __init__(
        self,
        parse: Parse | ReleaseParse | None,
        graph: Graph | ReleaseGraph,
        fuse: Fusion,
        to_embedding: Linear | None,
        text: str,
        asks_sentence: bool,
        own: bool,
        score: str,
        spread: bool = True,
    ) -> None:
        super().__init__()
        self.spread = spread  # whether frames are scaled to one size; the released code takes them as they are
        self.parse, self.graph, self.fuse, self.to_embedding = parse, graph, fuse, to_embedding
        self.text, self.asks_sentence, self.own, self.score = text, asks_sentence, own, score

    def read(self, read: Read) -> tuple[torch.Tensor, torch.Tensor | None]:
        """What the graph gets of each text `[E, U, D]`, and the attention over the text's words `[E, U, S, L]`."""
        if self.text == "sentence":
            return read.sentence_EUD, None
        words_EULW, real_EUL = read.words
        words_EULD = words_EULW if self.to_embedding is None else self.to_embedding(words_EULW)
        if self.parse is None:
            return mean_of_words(words_EULD, real_EUL), None
        return self.parse(read.sentence_EUD, words_EULD, real_EUL)

    def meet(
        self, frames_EBTD: torch.Tensor, text_EGUD: torch.Tensor, sentence_EGUD: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Combines videos with texts: unit joint features `[E, B, U, D]`, the attention over the frames, and the
        attention between frames."""
        seen, text_half, between = self.graph(unit_spread(frames_EBTD) if self.spread else frames_EBTD, text_EGUD)
        joint, over = self.fuse(seen, text_half, sentence_EGUD if self.asks_sentence else text_EGUD)
        return F.normalize(widened(joint), dim=-1), over, between


def unit_spread(frames: torch.Tensor) -> torch.Tensor:
    """Frames whose numbers have mean square 1, as words have after ln_final, whatever the backbone's own scale."""
    return F.normalize(frames, dim=-1) * frames.shape[-1] ** 0.5


class Matcher(nn.Module):
    def __init__(
        self,
        members: int,
        head: nn.Module,
        source: Source,
        interaction: Interaction | None,
        coefficients: Coefficients,
        start_scale: float,
        learn_scale: bool = True,
        test_scale: float | None = None,
    ) -> None:
        super().__init__()
        self.head, self.source, self.interaction, self.coefficients = head, source, interaction, coefficients
        self.log_scale_E = nn.Parameter(torch.full((members,), start_scale), requires_grad=learn_scale)
        self.test_scale = test_scale

    @property
    def per_class(self) -> int:
        return self.source.per_class

    def video(self, frames_EBTD: torch.Tensor, step: int | None = None) -> torch.Tensor:
        return F.normalize(widened(self.head(frames_EBTD, step)), dim=-1)

    def loss(self, frames_EBTD: torch.Tensor, batch: Batch) -> torch.Tensor:
        """`[E]` (eq. 25). Only the batch's texts are read, unless a video is matched against every class."""
        weigh, label_EB = self.coefficients, batch.label_EB
        texts_EU, own_EB = (self._all_texts(), label_EB) if weigh.everything else (batch.texts_EU, batch.own_EB)
        read = self.source(texts_EU)
        sentence_EUD = F.normalize(widened(read.sentence_EUD), dim=-1)
        total = self._match(cosine(self.video(frames_EBTD, batch.step), sentence_EUD), own_EB, label_EB)
        if self.interaction is None or (self.interaction.own and not weigh.contrasts):
            return total
        text_EUD, _ = self.interaction.read(read)
        if self.interaction.own:
            text, sentence = _pick(text_EUD, own_EB)[:, :, None], _pick(read.sentence_EUD, own_EB)[:, :, None]
            own_EBD = self.interaction.meet(frames_EBTD, text, sentence)[0][:, :, 0]
        else:
            joint_EBUD = self._meet_all(frames_EBTD, text_EUD, read.sentence_EUD)
            cosine_EBU = (joint_EBUD * sentence_EUD[:, None]).sum(dim=-1)
            total = total + weigh.joint * self._match(cosine_EBU, own_EB, label_EB)
            own_EBD = joint_EBUD.take_along_dim(own_EB[..., None, None], dim=2)[:, :, 0]
        if not weigh.contrasts:
            return total
        contrast = contrastive_loss(own_EBD, _pick(sentence_EUD, own_EB), label_EB, weigh.temperature, weigh.pairs)
        return total + weigh.contrastive * contrast

    def _meet_all(
        self,
        frames_EBTD: torch.Tensor,
        text_EUD: torch.Tensor,
        sentence_EUD: torch.Tensor,
        budget: int | None = None,
    ) -> torch.Tensor:
        """Joint features of every video with every text `[E, B, U, D]`. Where the values in between would take more
        than `budget` bytes, they are not kept for the backward pass but computed again, a few videos at a time."""
        assert self.interaction is not None
        device = frames_EBTD.device
        budget = budget or (_KEPT if device.type == "cpu" else chunk_bytes(device))
        texts = text_EUD[:, None], sentence_EUD[:, None]
        rows = budget // (self._one_pair(frames_EBTD) * text_EUD.shape[1])
        if rows >= frames_EBTD.shape[1]:
            return self.interaction.meet(frames_EBTD, *texts)[0]
        parts = [
            checkpoint(self.interaction.meet, some, *texts, use_reentrant=False, preserve_rng_state=False)[0]
            for some in frames_EBTD.split(max(1, rows), dim=1)
        ]
        return torch.cat(parts, dim=1)

    def _one_pair(self, frames_EBTD: torch.Tensor) -> int:
        """About how many bytes the values between one video and one text take, with their joint feature."""
        assert self.interaction is not None
        members, _, frames, width = frames_EBTD.shape
        return int(4 * members * frames * (2 * width + 2 * self.interaction.fuse.score.weight.shape[-1]))

    def _match(self, cosine_EBU: torch.Tensor, own_EB: torch.Tensor, label_EB: torch.Tensor) -> torch.Tensor:
        weigh, logits = self.coefficients, self.scale * cosine_EBU
        if weigh.everything:
            own = logits.log_softmax(dim=-1).take_along_dim(own_EB[..., None], dim=-1)
            return -weigh.video_to_text * own.mean(dim=(1, 2))
        with without_autocast(logits.device):
            logits_EBB = logits @ _chosen(own_EB, logits.shape[-1], logits.dtype).mT
        return matching_loss(logits_EBB, label_EB, weigh.video_to_text, weigh.text_to_video, weigh.labels)

    @property
    def scale(self) -> torch.Tensor:
        return self.log_scale_E.exp()[:, None, None]

    def _all_texts(self) -> torch.Tensor:
        return torch.arange(self.source.texts).expand(len(self.log_scale_E), -1)

    @torch.no_grad()
    def score(self, features_NVTD: Features, budget: int | None = None) -> torch.Tensor:
        """Class probabilities `[E, N, C]`: cosines averaged over the views, probabilities over a class's texts. What a
        chunk of videos and texts needs stays within `budget` bytes, or is one video and one text."""
        with full_precision(features_NVTD.device):
            return self._score(features_NVTD, budget or chunk_bytes(features_NVTD.device))

    def _score(self, features_NVTD: Features, budget: int) -> torch.Tensor:
        sentence_EPD, text_EPD, raw_EPD = self._read_all()
        members, (views, frames, width) = len(sentence_EPD), features_NVTD.shape[1:]
        one_video = 4 * members * views * frames * width * 8  # the heads hold a few copies, widened four times
        parts = []
        for rows in features_NVTD.split(max(1, budget // one_video)):
            frames_EBTD = widened(rows.flatten(0, 1)).expand(members, -1, -1, -1)
            cosine_EBP = self._cosines(frames_EBTD, sentence_EPD, text_EPD, raw_EPD, budget)
            logits_EBP = (self.test_scale or self.scale) * cosine_EBP.unflatten(1, (len(rows), views)).mean(dim=2)
            parts.append(logits_EBP.unflatten(2, (-1, self.per_class)).softmax(dim=2).mean(dim=3))
        return torch.cat(parts, dim=1)

    def _cosines(
        self,
        frames_EBTD: torch.Tensor,
        sentence_EPD: torch.Tensor,
        text_EPD: torch.Tensor | None,
        raw_EPD: torch.Tensor,
        budget: int,
    ) -> torch.Tensor:
        """The cosines `[E, B, P]` that are scored: of videos, of joint features, or the mean of both."""
        kind = self.interaction.score if self.interaction else "video"
        if kind == "video":
            return self.video(frames_EBTD) @ sentence_EPD.mT
        assert self.interaction is not None
        assert text_EPD is not None
        one_pair = self._one_pair(frames_EBTD)
        texts = max(1, min(text_EPD.shape[1], budget // one_pair))
        rows = max(1, budget // (one_pair * texts))
        joint = torch.cat(
            [
                torch.cat([self._joint_cosine(some, *chunk) for some in frames_EBTD.split(rows, dim=1)], dim=1)
                for chunk in zip(*(t.split(texts, dim=1) for t in (text_EPD, raw_EPD, sentence_EPD)), strict=True)
            ],
            dim=2,
        )
        return joint if kind == "joint" else (joint + self.video(frames_EBTD) @ sentence_EPD.mT) / 2

    def _joint_cosine(
        self, frames_EBTD: torch.Tensor, text_EUD: torch.Tensor, raw_EUD: torch.Tensor, sentence_EUD: torch.Tensor
    ) -> torch.Tensor:
        assert self.interaction is not None
        joint_EBUD = self.interaction.meet(frames_EBTD, text_EUD[:, None], raw_EUD[:, None])[0]
        return (joint_EBUD * sentence_EUD[:, None]).sum(dim=-1)

    def _read_all(self) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """For every text: its unit sentence, what the graph gets of it, its sentence as it is."""
        sentences, texts = [], []
        for some in self._all_texts().split(max(1, _TEXTS // len(self.log_scale_E)), dim=1):
            read = self.source(some)
            sentences.append(read.sentence_EUD)
            if self.interaction is not None and self.interaction.score != "video":
                texts.append(self.interaction.read(read)[0])
        raw_EPD = torch.cat(sentences, dim=1)
        return F.normalize(raw_EPD, dim=-1), torch.cat(texts, dim=1) if texts else None, raw_EPD


def _pick(values_EUD: torch.Tensor, own_EB: torch.Tensor) -> torch.Tensor:
    """The value of every sample's own text, `[E, B, D]`."""
    with without_autocast(values_EUD.device):
        return _chosen(own_EB, values_EUD.shape[1], values_EUD.dtype) @ values_EUD


def _chosen(own_EB: torch.Tensor, texts: int, dtype: torch.dtype) -> torch.Tensor:
    """`[E, B, U]`: 1 where a sample's own text stands. A product with it gives the same numbers as indexing. But the
    gradient of an index is a sum whose order on a GPU is not fixed where samples share a text; the gradient of a
    product has one order."""
    return (own_EB[..., None] == torch.arange(texts, device=own_EB.device)).to(dtype)
