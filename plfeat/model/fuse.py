"""The graph's frames and a text in; one joint feature out (eq. 22, in the manner of BUTD).

Shapes: E members, B samples, U texts, G groups of texts (see graph), T frames, D width, O output width.
"""

import torch
from torch import nn

from plfeat.model.draws import Draws
from plfeat.model.layers import Linear


class Fusion(nn.Module):
    """Frames are weighed by w . (ReLU(Wv v*) o ReLU(Wq y)); their mean then meets the text once more.
    A vertex v* is `[frame half ; text half]`, the latter possibly missing. Without the last ReLU, J can be negative.
    `score_relu`: the weights go through an offset and a ReLU, as in the released code."""

    def __init__(
        self,
        draws: Draws,
        video_width: int,
        node_text_width: int,
        text_width: int,
        hidden: int,
        out: int,
        last_relu: bool = True,
        score_relu: bool = False,
    ) -> None:
        super().__init__()
        self.video_width = video_width
        self.last_relu = last_relu
        self.node = Linear(draws, "node", video_width + node_text_width, hidden)
        self.text = Linear(draws, "text", text_width, hidden)
        self.score = Linear(draws, "score", hidden, 1, bias=score_relu)
        self.node_out = Linear(draws, "node_out", video_width + node_text_width, out)
        self.text_out = Linear(draws, "text_out", text_width, out)

    def forward(
        self, frames_EBUTD: torch.Tensor, node_text_EGUD: torch.Tensor | None, text_EGUD: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """J `[E, B, U, O]` and the attention over the frames `[E, B, U, T]`."""
        seen = self._halves(self.node, frames_EBUTD, node_text_EGUD, frames_axis=True).relu_()
        asked = self.text(text_EGUD).relu()
        score = (seen @ (self.score.weight[:, 0, None, None] * asked)[..., None])[..., 0]
        if self.score.bias is not None:
            score = (score + self.score.bias[..., None, None]).relu()
        beta_EBUT = score.softmax(dim=-1)
        pooled_EBUD = (beta_EBUT[..., None, :] @ frames_EBUTD)[..., 0, :]
        video = self._halves(self.node_out, pooled_EBUD, node_text_EGUD)
        joint = self.text_out(text_EGUD).relu() * (video.relu() if self.last_relu else video)
        return joint, beta_EBUT

    def _halves(
        self, layer: Linear, frames: torch.Tensor, text_EGUD: torch.Tensor | None, frames_axis: bool = False
    ) -> torch.Tensor:
        """A layer over `[frames ; text]`. The text's half is the same for every frame and enters once."""
        assert layer.bias is not None
        lead = (len(frames), *[1] * (frames.dim() - 2), -1)
        out = (frames.flatten(1, -2) @ layer.weight[..., : self.video_width].mT).unflatten(1, frames.shape[1:-1])
        rest = layer.bias.view(lead)
        if text_EGUD is not None:
            text = text_EGUD @ layer.weight[:, None, :, self.video_width :].mT
            rest = rest + (text[:, :, :, None] if frames_axis else text)
        return out + rest
