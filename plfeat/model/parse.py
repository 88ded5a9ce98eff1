"""A sentence and its words in, what the sentence asks for out: semantic parsing in steps (eq. 12 to 17).

Shapes: E members, U texts, L words, S steps, D width.
"""

import torch
from torch import nn

from plfeat.model.draws import Draws
from plfeat.model.layers import Linear, masked_softmax


class Parse(nn.Module):
    """Each step asks a question (12), looks at what the step before found (13, 14), and takes the words' mean under the
    attention that follows (15 to 17). Before the first step nothing has been found: y^0 = 0."""

    def __init__(self, draws: Draws, width: int, hidden: int, steps: int) -> None:
        super().__init__()
        self.question = nn.ModuleList(Linear(draws, f"question.{t}", width, hidden) for t in range(steps))  # W^t, b^t
        self.state = Linear(draws, "state", hidden + width, hidden)  # W_u, b_u
        self.from_state = Linear(draws, "from_state", hidden, hidden, bias=False)  # W_s0
        self.from_word = Linear(draws, "from_word", width, hidden, bias=False)  # W_s1
        self.score = Linear(draws, "score", hidden, 1, bias=False)  # W_s2

    def forward(
        self, sentence_EUD: torch.Tensor, words_EULD: torch.Tensor, real_EUL: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The last step's `[E, U, D]`, and every step's attention over the words `[E, U, S, L]`."""
        words_EULD = words_EULD.masked_fill(~real_EUL[..., None], 0)
        seen = self.from_word(words_EULD)
        found = torch.zeros_like(words_EULD[:, :, 0])
        steps = []
        for question in self.question:
            state = self.state(torch.cat([question(sentence_EUD), found], dim=-1)).relu()
            score = self.score(torch.tanh(self.from_state(state)[:, :, None] + seen))[..., 0]
            attention = masked_softmax(score, real_EUL)
            found = (attention[..., None] * words_EULD).sum(dim=2)
            steps.append(attention)
        return found, torch.stack(steps, dim=2)


def mean_of_words(words_EULD: torch.Tensor, real_EUL: torch.Tensor) -> torch.Tensor:
    """The plainest reading of a sentence (Table 2): the mean of its real words."""
    total = words_EULD.masked_fill(~real_EUL[..., None], 0).sum(dim=2)
    return total / real_EUL.sum(dim=2, keepdim=True).clamp_min(1)
