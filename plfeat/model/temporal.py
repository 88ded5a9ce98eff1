"""Frames in, a video out: ActionCLIP's heads behind the image tower.

Mean ignores the order of the frames; Conv1D sees two neighbours of a frame, LSTM all frames before it, the Transformers
all frames and their places. One head has dropout, so all are told the training step; at test there is none.
Shapes: E members, B samples, T frames, D width.
"""

import torch
import torch.nn.functional as F
from torch import nn

from plfeat.model.draws import Draws
from plfeat.model.dropout import Dropout
from plfeat.model.layers import LayerNorm, Linear

_STD = 0.02  # of Transf_cls's starting values


class Mean(nn.Module):
    def forward(self, frames_EBTD: torch.Tensor, step: int | None = None) -> torch.Tensor:
        return frames_EBTD.mean(dim=2)


class Conv1D(nn.Module):
    """Each channel by itself, over three frames; the result is added to the frames. It starts as a shift: a quarter of
    the channels one frame on, a quarter one frame back, the rest not at all. ActionCLIP's code has the same kernel, but
    reads `[T, D]` as if it were `[D, T]`, so that channels and frames mix; here it runs along time."""

    def __init__(self, draws: Draws, width: int) -> None:
        super().__init__()
        kernel = torch.zeros(3, width)
        kernel[0, : width // 4] = 1
        kernel[2, width // 4 : width // 2] = 1
        kernel[1, width // 2 :] = 1
        self.kernel = nn.Parameter(kernel.repeat(draws.members, 1, 1))

    def forward(self, frames_EBTD: torch.Tensor, step: int | None = None) -> torch.Tensor:
        before, here, after = self.kernel[:, :, None, None].unbind(dim=1)
        length = frames_EBTD.shape[2]
        padded = F.pad(frames_EBTD, (0, 0, 1, 1))
        moved = before * padded[:, :, :length] + here * frames_EBTD + after * padded[:, :, 2:]
        return (frames_EBTD + moved).mean(dim=2)


class LSTM(nn.Module):
    """One layer, forwards; the result is added to the frames. Gates in torch's order: input, forget, cell, output."""

    def __init__(self, draws: Draws, width: int) -> None:
        super().__init__()
        bound = width**-0.5
        self.weight_input = nn.Parameter(draws.uniform("weight_input", 4 * width, width, bound=bound))
        self.weight_hidden = nn.Parameter(draws.uniform("weight_hidden", 4 * width, width, bound=bound))
        self.bias_input = nn.Parameter(draws.uniform("bias_input", 4 * width, bound=bound))
        self.bias_hidden = nn.Parameter(draws.uniform("bias_hidden", 4 * width, bound=bound))

    def forward(self, frames_EBTD: torch.Tensor, step: int | None = None) -> torch.Tensor:
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
        # members and samples as one axis: no fused attention takes tensors of five axes
        query, key, value = (part.flatten(0, 1) for part in _by_head(qkv_EBTD, self.heads))
        seen_NTD = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(-2)
        return seen_NTD.unflatten(0, qkv_EBTD.shape[:2])


class Transformer(nn.Module):
    """Transf: blocks over frames with positions, added to the frames; then the mean of the frames."""

    def __init__(self, draws: Draws, width: int, frames: int, layers: int, heads: int) -> None:
        super().__init__()
        assert width % heads == 0, "heads divide the width"
        self.position = nn.Parameter(draws.normal("position", frames, width, std=0.02))
        self.blocks = nn.ModuleList(Block(draws.at(f"blocks.{i}"), width, heads, layers) for i in range(layers))

    def forward(self, frames_EBTD: torch.Tensor, step: int | None = None) -> torch.Tensor:
        x = frames_EBTD + self.position[:, None]
        for block in self.blocks:
            x = block(x)
        return (frames_EBTD + x).mean(dim=2)


class EncoderLayer(nn.Module):
    """torch's own `TransformerEncoderLayer` with its defaults: the norms behind the sums, ReLU, dropout in four places.
    Starts as ActionCLIP starts it; `alike` makes the attention's inputs start alike in all layers, as copies do."""

    def __init__(self, draws: Draws, alike: Draws, width: int, heads: int, dropout: float, inner: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_in = Linear(alike, "attention_in", width, 3 * width)
        self.attention_out = Linear(draws, "attention_out", width, width, std=_STD)
        self.ln_1 = LayerNorm(draws.members, width)
        self.mlp_in = Linear(draws, "mlp_in", width, inner, std=_STD)
        self.mlp_out = Linear(draws, "mlp_out", inner, width, std=_STD)
        self.ln_2 = LayerNorm(draws.members, width)
        self.drop_look, self.drop_seen, self.drop_inner, self.drop_out = (
            Dropout(draws, name, dropout) for name in ("drop_look", "drop_seen", "drop_inner", "drop_out")
        )
        with torch.no_grad():
            assert self.attention_in.bias is not None
            self.attention_in.weight.mul_(1.5**0.5)  # Xavier's bound for one matrix of queries, keys and values
            self.attention_in.bias.zero_()
            for layer in (self.attention_out, self.mlp_in, self.mlp_out):
                layer.weight.fmod_(2 * _STD)

    def forward(self, x_EBTD: torch.Tensor, step: int | None) -> torch.Tensor:
        query, key, value = _by_head(self.attention_in(x_EBTD), self.heads)
        look_EBHTT = (query @ key.mT / query.shape[-1] ** 0.5).softmax(dim=-1)
        seen_EBTD = (self.drop_look(look_EBHTT, step) @ value).transpose(2, 3).flatten(-2)
        x = self.ln_1(x_EBTD + self.drop_seen(self.attention_out(seen_EBTD), step))
        inner = self.drop_inner(self.mlp_in(x).relu(), step)
        return self.ln_2(x + self.drop_out(self.mlp_out(inner), step))


class Encoder(nn.Module):
    """Transf_cls: a token in front of the frames, all with positions. The token's final state, after one more norm, is
    the video."""

    def __init__(
        self,
        draws: Draws,
        width: int,
        frames: int,
        layers: int,
        heads: int,
        dropout: float = 0.1,
        inner: int = 2048,  # torch's default, whatever the width
    ) -> None:
        super().__init__()
        assert width % heads == 0, "heads divide the width"
        self.position = nn.Parameter(draws.normal("position", frames + 1, width, std=_STD).fmod(2 * _STD))
        self.token = nn.Parameter(draws.normal("token", width, std=_STD).fmod(2 * _STD))
        self.layers = nn.ModuleList(
            EncoderLayer(draws.at(f"layers.{i}"), draws, width, heads, dropout, inner) for i in range(layers)
        )
        self.ln = LayerNorm(draws.members, width)

    def forward(self, frames_EBTD: torch.Tensor, step: int | None = None) -> torch.Tensor:
        token = self.token[:, None, None].expand(-1, frames_EBTD.shape[1], -1, -1)
        x = torch.cat([token, frames_EBTD], dim=2) + self.position[:, None]
        for layer in self.layers:
            x = layer(x, step)
        return self.ln(x[:, :, 0])


def _by_head(qkv_EBTD: torch.Tensor, heads: int) -> tuple[torch.Tensor, ...]:
    """Queries, keys and values `[E, B, H, T, D / H]`."""
    return tuple(part.unflatten(-1, (heads, -1)).transpose(2, 3) for part in qkv_EBTD.chunk(3, dim=-1))
