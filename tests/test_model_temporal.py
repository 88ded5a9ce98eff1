"""ActionCLIP's heads: what each can see of time, and each against a second opinion."""

import equations
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from plfeat.model.draws import Draws
from plfeat.model.layers import Linear
from plfeat.model.temporal import LSTM, Conv1D, Encoder, Mean, Transformer

SEEDS = (3, 8)
D = 8


def frames(seed: int = 0, length: int = 5) -> torch.Tensor:
    return torch.randn(2, 3, length, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


HEADS = {
    "mean": lambda seeds: Mean(),
    "conv1d": lambda seeds: Conv1D(Draws(seeds), D),
    "lstm": lambda seeds: LSTM(Draws(seeds), D),
    "transf": lambda seeds: Transformer(Draws(seeds), D, 5, layers=2, heads=2),
    "transf_cls": lambda seeds: Encoder(Draws(seeds), D, 5, layers=2, heads=2),
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
    for step in (None, 3):
        torch.testing.assert_close(both(x, step)[1], alone(x[1:], step)[0])


@pytest.mark.parametrize("kind", HEADS)
def test_transf_cls_alone_drops_numbers_and_only_while_it_learns(kind: str) -> None:
    head, x = HEADS[kind](SEEDS).double(), frames()
    test, first, again, second = (head(x, step) for step in (None, 0, 0, 1))
    assert torch.equal(first, again)
    assert torch.equal(head(x), test)
    for other in (first, second):
        assert torch.equal(other, test) == (kind != "transf_cls")
    assert torch.equal(first, second) == (kind != "transf_cls")


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


def test_the_transformer_is_torchs_attention_and_layer_norm() -> None:
    head, x = Transformer(Draws(SEEDS), D, 5, layers=2, heads=2).double(), frames()
    for block in head.blocks:  # layer norms that do something
        for norm in (block.ln_1, block.ln_2):
            norm.gain.data += frames(3)[:, 0, 0]
            norm.bias.data += frames(4)[:, 0, 0]
    for member in range(2):
        y = x[member] + head.position[member]
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
        torch.testing.assert_close(head(x)[member], (x[member] + y).mean(dim=1))


def theirs(head: Encoder, member: int, heads: int, inner: int = 2048) -> nn.Module:
    """torch's encoder with a member's weights, as ActionCLIP builds it, but without dropout."""
    layer = nn.TransformerEncoderLayer(D, heads, inner, dropout=0.0, batch_first=True)
    encoder = nn.TransformerEncoder(layer, len(head.layers), nn.LayerNorm(D), enable_nested_tensor=False).double()
    pairs = {
        "self_attn.in_proj_": "attention_in.",
        "self_attn.out_proj.": "attention_out.",
        "linear1.": "mlp_in.",
        "linear2.": "mlp_out.",
    }
    named = {f"{one}{end}": f"{two}{end}" for one, two in pairs.items() for end in ("weight", "bias")}
    named |= {f"norm{i}.{one}": f"ln_{i}.{two}" for i in (1, 2) for one, two in (("weight", "gain"), ("bias", "bias"))}
    own = {name: value[member].detach() for name, value in head.named_parameters()}
    state = {
        f"layers.{i}.{one}": own[f"layers.{i}.{two}"] for i in range(len(head.layers)) for one, two in named.items()
    }
    encoder.load_state_dict(state | {"norm.weight": own["ln.gain"], "norm.bias": own["ln.bias"]})
    return encoder


def test_transf_cls_is_torchs_encoder_as_actionclip_builds_it() -> None:
    head, x = Encoder(Draws(SEEDS), D, 5, layers=3, heads=4).double(), frames()
    for name, value in head.named_parameters():  # norms and offsets that do something
        if value.dim() == 2 and name != "token":
            value.data += 0.3 * torch.randn(value.shape, generator=torch.Generator().manual_seed(5))
    for member in range(2):
        tokens = torch.cat([head.token[member].expand(3, 1, D), x[member]], dim=1) + head.position[member]
        torch.testing.assert_close(head(x)[member], theirs(head, member, heads=4)(tokens)[:, 0], rtol=1e-10, atol=1e-12)


def test_transf_cls_drops_where_torch_drops() -> None:
    """torch's encoder draws its own numbers; over many the mean and the spread of what comes out have to agree."""
    head = Encoder(Draws(SEEDS), D, 5, layers=1, heads=2, dropout=0.4, inner=16).double()
    for layer in (part for part in head.modules() if isinstance(part, Linear)):
        layer.weight.data *= 30 if layer.weight.shape[-2:] in ((16, D), (D, 16)) else 5  # so that every place is heard
    encoder = theirs(head, 0, heads=2, inner=16).train()
    for part in encoder.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.4
        if isinstance(part, nn.MultiheadAttention):
            part.dropout = 0.4
    x = frames()[:, :1].expand(-1, 8000, -1, -1)
    tokens = torch.cat([head.token[0].expand(8000, 1, D), x[0]], dim=1) + head.position[0]
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        expected, found = encoder(tokens)[:, 0], head(x, 0)[0]
    torch.testing.assert_close(found.mean(dim=0), expected.mean(dim=0), rtol=0, atol=0.05)
    torch.testing.assert_close(found.std(dim=0), expected.std(dim=0), rtol=0.05, atol=0)


def test_transf_cls_starts_as_actionclip_starts_it() -> None:
    """Small numbers, none beyond twice their spread; queries, keys and values by Xavier's rule, alike in every layer,
    since torch copies one layer before ActionCLIP sets the rest."""
    head = Encoder(Draws(SEEDS), 64, 8, layers=3, heads=8)
    for name, value in head.state_dict().items():
        if "attention_in.weight" in name:
            assert float(value.abs().max()) <= (6 / (64 + 3 * 64)) ** 0.5
            assert float(value.std()) == pytest.approx((2 / (64 + 3 * 64)) ** 0.5, rel=0.05)
            assert torch.equal(value, head.layers[0].attention_in.weight)
        elif name.endswith("weight") or name in ("position", "token"):
            assert float(value.abs().max()) <= 0.04
            assert float(value.std()) == pytest.approx(0.0173, rel=0.1)
        else:
            assert torch.equal(value, torch.full_like(value, float(name.endswith("gain"))))
    one, other = (head.layers[i].mlp_in.weight for i in (0, 1))
    assert not torch.equal(one, other)
