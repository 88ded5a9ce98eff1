"""ActionCLIP's heads: what each can see of time, and each against a second opinion."""

import equations
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from plfeat.model.draws import Draws
from plfeat.model.temporal import LSTM, Conv1D, Mean, Transformer

SEEDS = (3, 8)
D = 8


def frames(seed: int = 0, length: int = 5) -> torch.Tensor:
    return torch.randn(2, 3, length, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


HEADS = {
    "mean": lambda seeds: Mean(),
    "conv1d": lambda seeds: Conv1D(Draws(seeds), D),
    "lstm": lambda seeds: LSTM(Draws(seeds), D),
    "transf": lambda seeds: Transformer(Draws(seeds), D, 5, layers=2, heads=2),
    "transf_cls": lambda seeds: Transformer(Draws(seeds), D, 5, layers=2, heads=2, cls=True),
}


@pytest.mark.parametrize("kind", HEADS)
def test_a_head_depends_on_order_unless_it_is_the_mean(kind: str) -> None:
    head = HEADS[kind](SEEDS).double()
    x = frames()
    same = torch.allclose(head(x), head(x.flip(2)))
    assert same == (kind == "mean")


@pytest.mark.parametrize("kind", HEADS)
def test_members_do_not_see_each_other(kind: str) -> None:
    both, alone = HEADS[kind](SEEDS).double(), HEADS[kind]((8,)).double()
    x = frames()
    torch.testing.assert_close(both(x)[1], alone(x[1:])[0])


def test_conv1d_moves_along_time_channel_by_channel() -> None:
    head = Conv1D(Draws(SEEDS), D).double()
    with torch.no_grad():
        head.kernel += frames(1, 3)[:, 0]
    x = frames()
    for member in range(2):
        for sample in range(3):
            expected = equations.conv1d(x[member, sample].numpy(), head.kernel[member].detach().numpy())
            np.testing.assert_allclose(head(x)[member, sample].detach().numpy(), expected, rtol=1e-12)
    weight = head.kernel[0].detach().T[:, None]  # [D, 1, 3], as torch's own convolution wants it
    moved = F.conv1d(x[0].transpose(1, 2), weight, padding=1, groups=D).transpose(1, 2)
    torch.testing.assert_close(head(x)[0], (x[0] + moved).mean(dim=1))


def test_conv1d_starts_as_a_shift() -> None:
    """A quarter of the channels takes the frame before, a quarter the one after: what is lost falls off the ends."""
    x = frames(2)
    found = Conv1D(Draws(SEEDS), D).double()(x)
    expected = 2 * x.mean(dim=2)
    expected[..., : D // 4] -= x[:, :, -1, : D // 4] / 5
    expected[..., D // 4 : D // 2] -= x[:, :, 0, D // 4 : D // 2] / 5
    torch.testing.assert_close(found, expected)


def test_the_lstm_is_torchs() -> None:
    head, x = LSTM(Draws(SEEDS), D).double(), frames()
    for member in range(2):
        theirs = nn.LSTM(D, D, batch_first=True).double()
        with torch.no_grad():
            theirs.weight_ih_l0.copy_(head.weight_input[member])
            theirs.weight_hh_l0.copy_(head.weight_hidden[member])
            theirs.bias_ih_l0.copy_(head.bias_input[member])
            theirs.bias_hh_l0.copy_(head.bias_hidden[member])
        states, _ = theirs(x[member])
        torch.testing.assert_close(head(x)[member], (x[member] + states).mean(dim=1))


@pytest.mark.parametrize("cls", [False, True])
def test_the_transformer_is_torchs_attention_and_layer_norm(cls: bool) -> None:
    head, x = Transformer(Draws(SEEDS), D, 5, layers=2, heads=2, cls=cls).double(), frames()
    for block in head.blocks:  # layer norms that do something
        for norm in (block.ln_1, block.ln_2):
            norm.gain.data += frames(3)[:, 0, 0]
            norm.bias.data += frames(4)[:, 0, 0]
    for member in range(2):
        y = x[member]
        if cls:
            y = torch.cat([head.token[member].expand(3, 1, D), y], dim=1)
        y = y + head.position[member]
        for block in head.blocks:
            attention = nn.MultiheadAttention(D, 2, batch_first=True).double()
            with torch.no_grad():
                attention.in_proj_weight.copy_(block.attention_in.weight[member])
                attention.in_proj_bias.copy_(block.attention_in.bias[member])
                attention.out_proj.weight.copy_(block.attention_out.weight[member])
                attention.out_proj.bias.copy_(block.attention_out.bias[member])
            z = F.layer_norm(y, (D,), block.ln_1.gain[member], block.ln_1.bias[member])
            y = y + attention(z, z, z, need_weights=False)[0]
            z = F.layer_norm(y, (D,), block.ln_2.gain[member], block.ln_2.bias[member])
            z = F.linear(z, block.mlp_in.weight[member], block.mlp_in.bias[member])
            y = y + F.linear(z * torch.sigmoid(1.702 * z), block.mlp_out.weight[member], block.mlp_out.bias[member])
        expected = y[:, 0] if cls else (x[member] + y).mean(dim=1)
        torch.testing.assert_close(head(x)[member], expected)
