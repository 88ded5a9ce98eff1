"""Frames and what a text asks for in, frames that have looked at each other out (eq. 18 to 21).

A vertex is v'_k = [v_k ; y] (18). Written out, (19) is a product of sums of a frame's part and the text's part,
and what does not depend on the neighbour j leaves the softmax (20) unchanged; of W_q v'_i . W_k v'_j there remains
    W_q^v v_i . W_k^v v_j  +  W_q^y y . W_k^v v_j,
so every frame is projected once, whatever the number of texts it meets. In (21) the text's half of the sum is y again.

Shapes: E members, B samples, U texts, G groups of texts (1: every sample meets all of them; B: each meets its own),
T frames, D width.
"""

import torch
from torch import nn

from plfeat.model.draws import Draws
from plfeat.model.layers import Linear, masked_softmax


class Graph(nn.Module):
    def __init__(self, draws: Draws, video_width: int, text_width: int, hidden: int) -> None:
        super().__init__()
        self.video_width = video_width
        self.query = Linear(draws, "query", video_width + text_width, hidden, bias=False)  # W_q
        self.key = Linear(draws, "key", video_width + text_width, hidden, bias=False)  # W_k

    def forward(
        self, frames_EBTD: torch.Tensor, text_EGUD: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The vertices' frame half `[E, B, U, T, D]`, their text half `[E, G, U, D]`, and who looked at whom,
        `[E, B, U, T, T]`."""
        frames = frames_EBTD.shape[2]
        query_v, query_y = self.query.weight.split([self.video_width, text_EGUD.shape[-1]], dim=-1)
        key_v = self.key.weight[:, None, :, : self.video_width]
        key_EBTH = frames_EBTD @ key_v.mT
        between_EBTT = (frames_EBTD @ query_v[:, None].mT) @ key_EBTH.mT
        asked_EBUT = (text_EGUD @ query_y[:, None].mT) @ key_EBTH.mT
        others = ~torch.eye(frames, dtype=torch.bool, device=frames_EBTD.device)
        alpha = masked_softmax(between_EBTT[:, :, None] + asked_EBUT[:, :, :, None], others)
        seen_EBUTD = (alpha.flatten(2, 3) @ frames_EBTD).unflatten(2, alpha.shape[2:4])
        # the largest tensor of all; not added in place, since autograd copies the whole where a view is written to
        seen_EBUTD = (seen_EBUTD + frames_EBTD[:, :, None]).relu_()
        text_half = text_EGUD if frames == 1 else 2 * text_EGUD
        return seen_EBUTD, text_half.relu(), alpha
