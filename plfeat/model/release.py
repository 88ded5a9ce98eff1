"""What the released PromptLearner code does where it differs from the paper, for the preset `release`.

Three things are left out: its dropout, its weight norm, and its softmax over the samples of the batch (here: over the
words), which would make a video's score depend on its neighbours. (The ReLU and offset of its fusion are in `fuse`.)
Shapes and results are those of `parse` and `graph`.
"""

import torch
import torch.nn.functional as F
from torch import nn

from plfeat.model.draws import Draws
from plfeat.model.layers import Linear, masked_softmax


class ReleaseParse(nn.Module):
    """The question comes from the words, not the sentence; a word is gated by the state instead of compared with it."""

    def __init__(self, draws: Draws, width: int, hidden: int, steps: int) -> None:
        super().__init__()
        self.attend = Linear(draws, "attend", width, hidden)
        self.attend_score = Linear(draws, "attend_score", hidden, 1, bias=False)
        self.first = nn.ModuleList(Linear(draws, f"first.{t}", width, hidden) for t in range(steps))
        self.second = nn.ModuleList(Linear(draws, f"second.{t}", hidden, hidden) for t in range(steps))
        self.state = Linear(draws, "state", hidden + width, width)
        self.gate = Linear(draws, "gate", 2 * width, hidden)
        self.score = Linear(draws, "score", hidden, 1, bias=False)
        self.start = nn.Parameter(draws.uniform("start", width, bound=width**-0.5))

    def forward(
        self, sentence_EUD: torch.Tensor, words_EULD: torch.Tensor, real_EUL: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        words_EULD = words_EULD.masked_fill(~real_EUL[..., None], 0)
        weight = masked_softmax(self.attend_score(self.attend(words_EULD).tanh())[..., 0], real_EUL)
        question = (weight[..., None] * words_EULD).sum(dim=2)
        found = self.start[:, None].expand_as(question)
        steps = []
        for first, second in zip(self.first, self.second, strict=True):
            state = self.state(torch.cat([second(first(question).tanh()), found], dim=-1))
            gated = torch.cat([state[:, :, None] * words_EULD, words_EULD], dim=-1)
            attention = masked_softmax(self.score(self.gate(gated).tanh())[..., 0], real_EUL)
            found = (attention[..., None] * words_EULD).sum(dim=2)
            steps.append(attention)
        return found, torch.stack(steps, dim=2)


class ReleaseGraph(nn.Module):
    """Two "directions" over the same edges, many heads; a frame is its own neighbour too, and the first `cap` frames
    are everybody's."""

    def __init__(
        self,
        draws: Draws,
        video_width: int,
        text_width: int,
        hidden: int,
        heads: int = 16,
        directions: int = 2,
        cap: int = 20,
    ) -> None:
        super().__init__()
        assert video_width % heads == 0, "heads divide the width"
        self.heads, self.cap, self.video_width = heads, cap, video_width
        share, bound = video_width // heads, video_width**-0.5
        self.join = Linear(draws, "join", video_width + text_width, video_width)
        ways = range(directions)
        self.query = nn.ModuleList(Linear(draws, f"query.{d}", video_width, video_width) for d in ways)
        self.key = nn.ModuleList(Linear(draws, f"key.{d}", video_width, video_width) for d in ways)
        self.mix = nn.ParameterList(draws.uniform(f"mix.{d}", heads, share, video_width, bound=bound) for d in ways)
        self.mix_bias = nn.ParameterList(draws.uniform(f"mix_bias.{d}", video_width, bound=bound) for d in ways)

    def forward(self, frames_EBTD: torch.Tensor, text_EGUD: torch.Tensor) -> tuple[torch.Tensor, None, torch.Tensor]:
        samples, frames = frames_EBTD.shape[1:3]
        texts = text_EGUD.shape[2]
        pairs = torch.cat(
            [
                frames_EBTD[:, :, None].expand(-1, -1, texts, -1, -1),
                text_EGUD[:, :, :, None].expand(-1, samples, -1, frames, -1),
            ],
            dim=-1,
        )
        joined = self.join(pairs)
        total, looks = joined, []
        for query, key, mix, mix_bias in zip(self.query, self.key, self.mix, self.mix_bias, strict=True):
            asks = query(joined).unflatten(-1, (self.heads, -1)).transpose(-2, -3)
            answers = key(joined[:, :, :, : self.cap]).unflatten(-1, (self.heads, -1)).transpose(-2, -3)
            look = (asks @ answers.mT / (self.video_width / self.heads) ** 0.5).softmax(dim=-1)
            seen_EBUHTD = look @ joined[:, :, :, None, : self.cap]
            mixed = torch.einsum("ebuhtd,ehod->ebutho", seen_EBUHTD, mix).flatten(-2)
            total = total + mixed + mix_bias[:, None, None, None]
            looks.append(F.pad(look.mean(dim=3), (0, frames - look.shape[-1])))
        return frames_EBTD[:, :, None] + total.relu(), None, torch.stack(looks).mean(dim=0)
