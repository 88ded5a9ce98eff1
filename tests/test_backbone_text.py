"""The text tower leaves work out, and equals open_clip's own over all tokens of every text: outputs and gradients."""

from collections.abc import Callable
from typing import Any

import open_clip
import pytest
import torch
from open_clip.transformer import Transformer
from torch.utils.flop_counter import FlopCounterMode

from plfeat.backbone.load import Backbone
from plfeat.backbone.text import TextTower, is_plain
from plfeat.errors import UsageError
from plfeat.flows.backbones import open_backbone

TINY_VISION = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
TINY_TEXT = {"width": 32, "heads": 2, "layers": 2, "vocab_size": 64}
Features = tuple[torch.Tensor, torch.Tensor]
Gradients = tuple[torch.Tensor, ...]
TEXTS = ["spinning star", "a video of a person who is shooting a goal (soccer).", "x"]


class _Table(torch.nn.Module):
    """Stands in for a token table, so that open_clip's own `encode_text` runs on our embeddings."""

    def __init__(self, embeddings: torch.Tensor) -> None:
        super().__init__()
        self.embeddings = embeddings

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.embeddings


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float(((found - expected).abs().max() / expected.abs().max()).detach())


@pytest.fixture(scope="module", params=["toy", "ViT-B-32"])
def backbone(request: pytest.FixtureRequest) -> Backbone:
    return open_backbone(request.param, None if request.param == "toy" else "random:0")


@pytest.fixture
def tower(backbone: Backbone) -> TextTower:
    return TextTower(backbone.model, backbone.tokenizer)


def tiny(quick_gelu: bool = False, **text: Any) -> TextTower:
    torch.manual_seed(2)
    return TextTower(open_clip.model.CLIP(32, TINY_VISION, {**TINY_TEXT, **text}, quick_gelu=quick_gelu), None)


def texts_of(tower: TextTower, prefix: int, asked: int = 4) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two members' prefixes and rests, cut at 24 tokens; EOTs from the rests' second token to their last."""
    torch.manual_seed(prefix)
    longest = 24 - prefix
    eot = prefix + torch.linspace(1, longest - 1, 2 * asked).long().view(2, asked)
    shapes = (2, prefix, tower.width), (2, asked, longest, tower.width)
    before, after = (torch.randn(shape).mul(0.1).requires_grad_() for shape in shapes)
    return before, after, eot


def joined(prefix: torch.Tensor, rest: torch.Tensor) -> torch.Tensor:
    return torch.cat([prefix[:, None].expand(-1, rest.shape[1], -1, -1), rest], dim=2).flatten(0, 1)


def by_open_clip(tower: TextTower, embeddings: torch.Tensor, eot: torch.Tensor, early: bool = False) -> Features:
    """Words and sentences from whole sequences through open_clip's own transformer."""
    length = embeddings.shape[1]
    placed = embeddings + tower.positional_embedding[:length]
    hidden = tower.transformer(placed, attn_mask=torch.full((length, length), -torch.inf).triu(1))
    words = tower.ln_final(hidden)
    return words, (hidden if early else words)[torch.arange(len(eot)), eot] @ tower.projection


def gradients(features: Features, eot: torch.Tensor, inputs: list[torch.Tensor]) -> Gradients:
    """Of a random sum over the sentences and the real words."""
    words, sentence = features
    real = torch.arange(words.shape[1]) <= eot[:, None]
    noise = torch.Generator().manual_seed(5)
    total = (sentence * torch.randn(sentence.shape, generator=noise)).sum()
    total = total + (words * torch.randn(words.shape, generator=noise))[real].sum() / words.shape[1]
    return torch.autograd.grad(total, inputs, retain_graph=True)


def assert_same(found: Features, expected: Features, eot: torch.Tensor, inputs: list[torch.Tensor]) -> None:
    real = torch.arange(expected[0].shape[1]) <= eot[:, None]
    assert relative(found[0][real], expected[0][real]) <= 1e-5
    assert relative(found[1], expected[1]) <= 1e-5
    pairs = zip(gradients(found, eot, inputs), gradients(expected, eot, inputs), strict=True)
    for one, other in pairs:
        assert float(other.abs().max()) > 0
        assert relative(one, other) <= 1e-5


def assert_sharing_changes_nothing(tower: TextTower, prefix: int, early: bool = False) -> None:
    before, after, eot = texts_of(tower, prefix)
    inputs = [before, after, *(weight for weight in tower.transformer.parameters() if weight.requires_grad)]
    shared = tower(after, eot, before, early=early)
    expected = by_open_clip(tower, joined(before, after), eot.flatten(), early)
    found = shared.words_NLW.flatten(0, 1), shared.sentence_ND.flatten(0, 1)
    assert_same(found, expected, eot.flatten(), inputs)
    alone = tower(after, eot, before, words=False, early=early).sentence_ND.flatten(0, 1)
    assert relative(alone, expected[1]) <= 1e-5
    found_gradients, expected_gradients = (
        torch.autograd.grad(sentence.square().sum(), inputs[:2]) for sentence in (alone, expected[1])
    )
    for one, other in zip(found_gradients, expected_gradients, strict=True):
        assert relative(one, other) <= 1e-5


def products(work: Callable[[], Any]) -> int:
    """Multiplications and additions in the layers that work row by row, which are `addmm` forward and `mm` backward."""
    with FlopCounterMode(display=False) as counter:
        work()
    counts = counter.get_flop_counts()["Global"]
    return sum(count for name, count in counts.items() if name in (torch.ops.aten.mm, torch.ops.aten.addmm))


def test_the_truncated_tower_equals_encode_text(backbone: Backbone, tower: TextTower) -> None:
    tokens = backbone.tokenizer(TEXTS)
    assert tokens.shape == (3, 77)
    whole = backbone.model.token_embedding(tokens).detach().requires_grad_()
    own_table = backbone.model.token_embedding
    backbone.model.token_embedding = _Table(whole)
    expected = backbone.model.encode_text(tokens)
    backbone.model.token_embedding = own_table
    torch.testing.assert_close(expected, backbone.model.encode_text(tokens), rtol=0, atol=0)

    ids, eot = tower.tokenize(TEXTS)
    assert ids.shape[1] == int(eot.max()) + 1 < 25
    cut = own_table(ids).detach().requires_grad_()
    found = tower(cut, eot).sentence_ND

    direction = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    (expected * direction).sum().backward()
    (found * direction).sum().backward()
    assert whole.grad is not None
    assert cut.grad is not None
    assert float(whole.grad[:, ids.shape[1] :].abs().max()) == 0  # nothing after the EOT matters
    output_error = relative(found, expected)
    gradient_error = relative(cut.grad, whole.grad[:, : ids.shape[1]])
    assert output_error <= 1e-5
    assert gradient_error <= 1e-5


def test_words_are_the_states_after_ln_final_and_the_last_one_projected_is_the_sentence(toy_backbone: Backbone) -> None:
    tower = TextTower(toy_backbone.model, toy_backbone.tokenizer)
    features = tower.encode(TEXTS)
    _, eot = tower.tokenize(TEXTS)
    last = features.words_NLW[torch.arange(3), eot]
    torch.testing.assert_close(last @ toy_backbone.model.text_projection, features.sentence_ND)
    torch.testing.assert_close(features.sentence_ND, toy_backbone.model.encode_text(toy_backbone.tokenizer(TEXTS)))


def test_a_text_does_not_depend_on_the_texts_beside_it(toy_tower: TextTower) -> None:
    together = toy_tower.encode(TEXTS).sentence_ND
    alone = torch.cat([toy_tower.encode([text]).sentence_ND for text in TEXTS])
    torch.testing.assert_close(together, alone)


def test_a_tower_that_is_not_causal_is_refused() -> None:
    with pytest.raises(UsageError, match="not CLIP's"):
        tiny(no_causal_mask=True, pool_type="last")


def test_a_tower_read_at_a_class_token_behind_the_eot_is_refused() -> None:
    coca = open_clip.model.CustomTextCLIP(32, TINY_VISION, {**TINY_TEXT, "embed_cls": True})
    with pytest.raises(UsageError, match="not CLIP's"):
        TextTower(coca, None)


@pytest.mark.parametrize("prefix", [1, 17])
def test_a_shared_prefix_computed_once_equals_whole_texts(tower: TextTower, prefix: int) -> None:
    assert_sharing_changes_nothing(tower, prefix)


def test_a_sentence_read_before_ln_final_can_be_shared_too(toy_tower: TextTower) -> None:
    assert_sharing_changes_nothing(toy_tower, 17, early=True)


@pytest.mark.parametrize("padded", [False, True])
def test_texts_with_and_without_padding_equal_open_clip(tower: TextTower, padded: bool) -> None:
    embeddings = torch.randn(5, 19, tower.width).mul(0.1).requires_grad_()
    eot = torch.tensor([18, 3, 18, 0, 11] if padded else [18, 17, 18, 18, 16])
    expected = by_open_clip(tower, embeddings, eot)
    found = tower(embeddings, eot)
    assert_same((found.words_NLW, found.sentence_ND), expected, eot, [embeddings])
    alone = tower(embeddings, eot, words=False)
    assert alone.kept_NLW is None
    assert relative(alone.sentence_ND, expected[1]) <= 1e-5


@pytest.mark.parametrize("prefix", [1, 17])
def test_a_trained_towers_weights_get_the_gradients_of_whole_texts(prefix: int) -> None:
    tower = tiny()
    assert all(weight.requires_grad for weight in tower.transformer.parameters())
    assert_sharing_changes_nothing(tower, prefix)


@pytest.mark.parametrize("text", [{"ls_init_value": 0.3}, {"heads": 8}, {"width": 48, "heads": 3}])
@pytest.mark.parametrize("quick_gelu", [False, True])
def test_every_plain_block_is_shared_as_it_is_built(quick_gelu: bool, text: dict[str, Any]) -> None:
    tower = tiny(quick_gelu, **text)
    assert tower.shares
    assert_sharing_changes_nothing(tower, 5)


def test_blocks_that_take_tokens_first_are_shared() -> None:
    tower = tiny()
    turned = Transformer(32, 2, 2, batch_first=False)
    turned.load_state_dict(tower.transformer.state_dict())
    tower.transformer = turned
    assert tower.shares
    assert_sharing_changes_nothing(tower, 5)


def _with_dropout(tower: TextTower) -> None:
    tower.transformer.resblocks[1].attn.dropout = 0.5
    tower.eval()


def _with_extra_keys(tower: TextTower) -> None:
    tower.transformer.resblocks[1].attn.add_zero_attn = True


def _with_a_hook(tower: TextTower) -> None:
    tower.transformer.resblocks[1].attn.register_forward_hook(lambda module, given, out: (out[0] * 2, out[1]))


def _with_another_block(tower: TextTower) -> None:
    class Doubled(type(tower.transformer.resblocks[0])):  # type: ignore[misc]
        def forward(self, *given: Any, **named: Any) -> torch.Tensor:
            return 2 * super().forward(*given, **named)

    tower.transformer.resblocks[1].__class__ = Doubled


@pytest.mark.parametrize("change", [_with_dropout, _with_extra_keys, _with_a_hook, _with_another_block])
def test_a_block_with_more_to_it_runs_as_open_clip_runs_it(change: Callable[[TextTower], None]) -> None:
    tower = tiny()
    change(tower)
    assert is_plain(tower.transformer.resblocks[0])
    assert not is_plain(tower.transformer.resblocks[1])
    assert not tower.shares
    assert_sharing_changes_nothing(tower, 5)


@pytest.mark.parametrize("text", [{"qk_norm": True}, {"scale_attn": True}])
def test_open_clips_custom_blocks_run_as_open_clip_runs_them(text: dict[str, Any]) -> None:
    tower = tiny(**text)
    assert not tower.shares
    assert_sharing_changes_nothing(tower, 5)


def test_checkpointed_blocks_are_left_to_open_clip() -> None:
    tower = tiny()
    tower.transformer.grad_checkpointing = True
    assert not tower.shares


def test_an_eot_outside_the_rest_is_our_own_mistake(toy_tower: TextTower) -> None:
    before, after, eot = texts_of(toy_tower, 17)
    for wrong in (16, 24):
        eot[0, 0] = wrong
        with pytest.raises(AssertionError, match="every EOT stands in its text"):
            toy_tower(after, eot, before)


@pytest.mark.parametrize("shares", [True, False])
def test_texts_along_two_axes_are_those_along_one(shares: bool) -> None:
    tower = tiny(qk_norm=not shares)
    assert tower.shares == shares
    before, after, eot = texts_of(tower, 5)
    embeddings = joined(before, after)
    along_one, along_two = tower(embeddings, eot.flatten()), tower(embeddings.unflatten(0, eot.shape), eot)
    assert torch.equal(along_two.sentence_ND.flatten(0, 1), along_one.sentence_ND)
    assert torch.equal(along_two.words_NLW.flatten(0, 1), along_one.words_NLW)


def test_a_prefix_is_computed_once_a_member_and_padding_not_at_all(toy_tower: TextTower) -> None:
    before, after, eot = texts_of(toy_tower, 17, asked=8)
    block = toy_tower.transformer.resblocks[0]
    matrices = (block.attn.in_proj_weight, block.attn.out_proj.weight, block.mlp.c_fc.weight, block.mlp.c_proj.weight)
    a_row = 2 * len(toy_tower.transformer.resblocks) * sum(matrix.numel() for matrix in matrices)
    a_sentence = 2 * toy_tower.projection.numel()
    rows = 2 * 17 + int((eot - 16).sum())
    assert products(lambda: toy_tower(after, eot, before)) == rows * a_row + 16 * a_sentence


def test_the_backward_of_a_frozen_tower_does_nothing_for_its_weights(toy_tower: TextTower) -> None:
    before, after, eot = texts_of(toy_tower, 17)
    sentence: list[torch.Tensor] = []
    forward = products(lambda: sentence.append(toy_tower(after, eot, before).sentence_ND))
    assert products(lambda: sentence[0].sum().backward()) == forward > 0
