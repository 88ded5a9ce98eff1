"""Frames in, a video out: ActionCLIP's heads behind the image tower.

Mean has no order; Conv1D sees two neighbours, LSTM the past, the Transformers everything and where it stands.
Shapes: E members, B samples, T frames, D width.
"""

import torch
import torch.nn.functional as F
from torch import nn

from plfeat.model.draws import Draws
from plfeat.model.layers import LayerNorm, Linear


class Mean(nn.Module):
    def forward(self, frames_EBTD: torch.Tensor) -> torch.Tensor:
        return frames_EBTD.mean(dim=2)


class Conv1D(nn.Module):
    """Each channel by itself, over three frames, onto the frames: it starts by shifting a quarter of the channels on,
    a quarter back, and leaving the rest."""

    def __init__(self, draws: Draws, width: int) -> None:
        super().__init__()
        kernel = torch.zeros(3, width)
        kernel[0, : width // 4] = 1
        kernel[2, width // 4 : width // 2] = 1
        kernel[1, width // 2 :] = 1
        self.kernel = nn.Parameter(kernel.repeat(draws.members, 1, 1))

    def forward(self, frames_EBTD: torch.Tensor) -> torch.Tensor:
        before, here, after = self.kernel[:, :, None, None].unbind(dim=1)
        length = frames_EBTD.shape[2]
        padded = F.pad(frames_EBTD, (0, 0, 1, 1))
        moved = before * padded[:, :, :length] + here * frames_EBTD + after * padded[:, :, 2:]
        return (frames_EBTD + moved).mean(dim=2)


class LSTM(nn.Module):
    """One layer, forwards, onto the frames. Gates in torch's order: input, forget, cell, output."""

    def __init__(self, draws: Draws, width: int) -> None:
        super().__init__()
        bound = width**-0.5
        self.weight_input = nn.Parameter(draws.uniform("weight_input", 4 * width, width, bound=bound))
        self.weight_hidden = nn.Parameter(draws.uniform("weight_hidden", 4 * width, width, bound=bound))
        self.bias_input = nn.Parameter(draws.uniform("bias_input", 4 * width, bound=bound))
        self.bias_hidden = nn.Parameter(draws.uniform("bias_hidden", 4 * width, bound=bound))

    def forward(self, frames_EBTD: torch.Tensor) -> torch.Tensor:
        from_input = frames_EBTD @ self.weight_input[:, None].mT + (self.bias_input + self.bias_hidden)[:, None, None]
        hidden = torch.zeros_like(frames_EBTD[:, :, 0])
        cell, states = hidden, []
        for frame in from_input.unbind(dim=2):
            gate_in, forget, new, gate_out = torch.baddbmm(frame, hidden, self.weight_hidden.mT).chunk(4, dim=-1)
            cell = forget.sigmoid() * cell + gate_in.sigmoid() * new.tanh()
            hidden = gate_out.sigmoid() * cell.tanh()
            states.append(hidden)
        return (frames_EBTD + torch.stack(states, dim=2)).mean(dim=2)


class Block(nn.Module):
    """A pre-LN Transformer block with CLIP's starting values."""

    def __init__(self, draws: Draws, width: int, heads: int, layers: int) -> None:
        super().__init__()
        onto = width**-0.5 * (2 * layers) ** -0.5
        self.heads = heads
        self.ln_1 = LayerNorm(draws.members, width)
        self.attention_in = Linear(draws, "attention_in", width, 3 * width, std=width**-0.5)
        self.attention_out = Linear(draws, "attention_out", width, width, std=onto)
        self.ln_2 = LayerNorm(draws.members, width)
        self.mlp_in = Linear(draws, "mlp_in", width, 4 * width, std=(2 * width) ** -0.5)
        self.mlp_out = Linear(draws, "mlp_out", 4 * width, width, std=onto)

    def forward(self, x_EBTD: torch.Tensor) -> torch.Tensor:
        x = x_EBTD + self.attention_out(self._attend(self.attention_in(self.ln_1(x_EBTD))))
        inner = self.mlp_in(self.ln_2(x))
        return x + self.mlp_out(inner * torch.sigmoid(1.702 * inner))

    def _attend(self, qkv_EBTD: torch.Tensor) -> torch.Tensor:
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(2, 3) for part in qkv_EBTD.chunk(3, dim=-1))
        return F.scaled_dot_product_attention(query, key, value).transpose(2, 3).flatten(-2)


class Transformer(nn.Module):
    """Transf: blocks over positioned frames, onto the frames, then their mean. Transf_cls: a token in front, whose
    final state is the video, and nothing else."""

    def __init__(self, draws: Draws, width: int, frames: int, layers: int, heads: int, cls: bool = False) -> None:
        super().__init__()
        assert width % heads == 0, "heads divide the width"
        self.position = nn.Parameter(draws.normal("position", frames + cls, width, std=0.02))
        self.token = nn.Parameter(draws.normal("token", width, std=0.02)) if cls else None
        self.blocks = nn.ModuleList(Block(draws.at(f"blocks.{i}"), width, heads, layers) for i in range(layers))

    def forward(self, frames_EBTD: torch.Tensor) -> torch.Tensor:
        x = frames_EBTD
        if self.token is not None:
            x = torch.cat([self.token[:, None, None].expand(-1, x.shape[1], -1, -1), x], dim=2)
        x = x + self.position[:, None]
        for block in self.blocks:
            x = block(x)
        return (frames_EBTD + x).mean(dim=2) if self.token is None else x[:, :, 0]
