"""Loading models: the right activation or an error, the right weights or an error. Nothing is downloaded."""

import json
from pathlib import Path

import open_clip
import pytest
import torch
from open_clip.transformer import QuickGELU
from safetensors.torch import load_file, save_file

from plfeat.backbone import names
from plfeat.backbone.load import Backbone, hash_tensors, load, sides, token_table
from plfeat.backbone.plan import plan
from plfeat.errors import PlfeatError, UsageError
from plfeat.toy.shipped import WEIGHTS

TINY = """{"embed_dim": 16,
 "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
 "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}%s}"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A model built with GELU, like ViT-B-16, whose `trained-quick` weights were trained with QuickGELU."""
    return _ship(tmp_path, "tiny-clip", "", "trained-quick", quick=True)


def _ship(folder: Path, name: str, extra: str, tag: str, quick: bool) -> Path:
    config = folder / f"{name}.json"
    config.write_text(TINY % extra)
    names._shipped.pop(name, None)
    names.ship(config, tag, folder / f"{name}.safetensors")
    names.tags_of(name)[tag]["quick_gelu"] = quick
    open_clip.add_model_config(config)
    model = open_clip.create_model(name)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, folder / f"{name}.safetensors")
    return config


def _activations(backbone: Backbone) -> set[str]:
    return {type(m).__name__ for m in backbone.model.modules() if isinstance(m, QuickGELU | torch.nn.GELU)}


def _hashes(backbone: Backbone) -> tuple[str, str]:
    return backbone.about["image_sha256"], backbone.about["text_sha256"]


@pytest.mark.parametrize(
    ("name", "tag", "activation"),
    [
        ("ViT-B-16", "openai", "quick_gelu"),
        ("ViT-B-32", "openai", "quick_gelu"),
        ("ViT-L-14", "openai", "quick_gelu"),
        ("ViT-B-16-quickgelu", "openai", "quick_gelu"),
        ("ViT-B-16", "laion2b_s34b_b88k", "gelu"),
        ("ViT-B-32", "laion2b_s34b_b79k", "gelu"),
        ("ViT-B-16", "metaclip_400m", "quick_gelu"),
    ],
)
def test_the_activation_is_the_one_the_weights_were_trained_with(name: str, tag: str, activation: str) -> None:
    assert plan(name, tag).activation == activation


def test_every_tag_open_clip_knows_gets_its_own_activation_or_is_refused() -> None:
    refused = []
    for name, tag in open_clip.list_pretrained():
        wanted = open_clip.get_pretrained_cfg(name, tag).get("quick_gelu", False)
        if open_clip.get_model_config(name).get("quick_gelu", False) and not wanted:
            refused.append((name, tag))
            with pytest.raises(UsageError, match="built with QuickGELU"):
                plan(name, tag)
        else:
            assert plan(name, tag).quick_gelu == wanted, (name, tag)
    assert len(refused) <= 3


def test_quick_weights_are_loaded_into_a_quick_model_whatever_its_own_config_says(tiny: Path) -> None:
    assert not open_clip.get_model_config("tiny-clip").get("quick_gelu", False)
    backbone = load(plan("tiny-clip", "trained-quick"))
    assert _activations(backbone) == {"QuickGELU"}
    assert backbone.about["activation"] == "quick_gelu"


def test_the_same_weights_under_the_other_activation_give_other_features(tiny: Path) -> None:
    right = load(plan("tiny-clip", "trained-quick"))
    wrong = load(plan("tiny-clip", str(tiny.with_suffix(".safetensors"))))
    assert _hashes(right) == _hashes(wrong)
    assert right.about["activation"] != wrong.about["activation"]
    image = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert not torch.allclose(right.model.encode_image(image), wrong.model.encode_image(image), atol=1e-4)


def test_gelu_weights_in_a_model_that_is_built_quick_are_an_error(tmp_path: Path) -> None:
    _ship(tmp_path, "tiny-quick", ', "quick_gelu": true', "trained-gelu", quick=False)
    with pytest.raises(UsageError, match="built with QuickGELU but weights 'trained-gelu' were trained with GELU"):
        plan("tiny-quick", "trained-gelu")


def test_a_model_that_comes_out_with_another_activation_than_planned_is_an_error(tiny: Path, monkeypatch) -> None:
    build = open_clip.create_model
    monkeypatch.setattr(open_clip, "create_model", lambda name, **settings: build(name))  # what open_clip does unasked
    with pytest.raises(PlfeatError, match="expected activation quick_gelu, built gelu"):
        load(plan("tiny-clip", "trained-quick"))


def test_unknown_names_get_a_near_one() -> None:
    with pytest.raises(UsageError, match="unknown model 'vit-b-16'; did you mean 'ViT-B-16'"):
        plan("vit-b-16")
    with pytest.raises(UsageError, match="unknown pretrained tag of ViT-B-16 'opnai'; did you mean 'openai'"):
        plan("ViT-B-16", "opnai")


def test_openai_is_the_default_and_a_model_without_it_asks() -> None:
    assert plan("ViT-B-16").pretrained == "openai"
    with pytest.raises(UsageError, match=r"needs --pretrained: one of .*laion2b"):
        plan("ViT-g-14")


@pytest.mark.parametrize("damage", ["garbage", "another model", "one tensor less"])
def test_weights_that_do_not_fit_are_refused(tiny: Path, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "other.safetensors"
    state = load_file(tiny.with_suffix(".safetensors"))
    if damage == "garbage":
        path.write_bytes(b"not weights at all")
    elif damage == "another model":
        save_file({"a": torch.zeros(3)}, path)
    else:
        state.pop("ln_final.weight")
        save_file(state, path)
    with pytest.raises(PlfeatError, match=r"other\.safetensors"):
        load(plan("tiny-clip", str(path)))


def test_random_weights_are_the_seeds_and_leave_the_global_generator_alone(tiny: Path) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    one, again, two = (load(plan("tiny-clip", f"random:{seed}")) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert _hashes(one) == _hashes(again)
    assert not set(_hashes(one)) & set(_hashes(two))
    with pytest.raises(UsageError, match="random:SEED"):
        load(plan("tiny-clip", "random:x"))


def test_every_tensor_is_in_one_of_the_two_hashes_and_only_there(tiny: Path) -> None:
    model = load(plan("tiny-clip", "random:0")).model
    image, text = sides(model)
    assert not image.keys() & text.keys()
    assert image.keys() | text.keys() == model.state_dict().keys()
    assert {"logit_scale", "text_projection", "token_embedding.weight"} <= text.keys()
    before = hash_tensors(image), hash_tensors(text)
    for name, value in model.state_dict().items():
        was = value.clone()
        value.view(-1)[-1] += 1e-3
        changed = hash_tensors(sides(model)[0]) != before[0], hash_tensors(sides(model)[1]) != before[1]
        assert changed == (name in image, name in text), name
        value.copy_(was)


def test_what_pictures_look_like_depends_on_the_image_side_alone(tiny: Path) -> None:
    model = load(plan("tiny-clip", "random:0")).model
    picture = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    image, text = sides(model)
    before = model.encode_image(picture)
    for value in text.values():
        value.normal_()
    assert torch.equal(model.encode_image(picture), before)
    for name, value in image.items():
        was = value.clone()
        value.normal_()
        assert not torch.equal(model.encode_image(picture), before), name
        value.copy_(was)


def test_a_bias_between_pictures_and_texts_belongs_to_the_texts() -> None:
    class Biased(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.visual, self.text = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
            self.logit_scale, self.logit_bias = (torch.nn.Parameter(torch.ones(())) for _ in range(2))

    image, text = sides(Biased())
    assert image.keys() == {"visual.weight", "visual.bias"}
    assert text.keys() == {"text.weight", "text.bias", "logit_scale", "logit_bias"}


def test_a_loaded_model_is_frozen_and_in_eval_mode(toy_backbone: Backbone) -> None:
    assert not toy_backbone.model.training
    assert not any(p.requires_grad for p in toy_backbone.model.parameters())


def test_the_toy_clip_is_an_ordinary_open_clip_model_of_five_megabytes_at_most(toy_backbone: Backbone) -> None:
    assert type(toy_backbone.model) is open_clip.CLIP
    assert isinstance(toy_backbone.tokenizer, open_clip.SimpleTokenizer)
    assert WEIGHTS.stat().st_size <= 5_000_000
    assert list(names.tags_of("toy")) == ["sprites"]
    assert "toy" in open_clip.list_models()


def test_the_frozen_token_table_has_not_drifted() -> None:
    table = token_table(49408, 49408, 128)
    assert table[[0, 49407], [0, 127]].tolist() == pytest.approx([-0.017749122, 0.136481890], rel=1e-6)
    assert float(table.std()) == pytest.approx(0.08, rel=1e-3)


def test_weights_from_a_file_have_to_say_their_activation_where_both_exist(tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    file.write_bytes(b"x")
    with pytest.raises(UsageError, match="--activation quick_gelu"):
        plan("ViT-B-32", str(file))
    assert plan("ViT-B-32", str(file), "quick_gelu").activation == "quick_gelu"
    assert plan("ViT-B-32", str(file), "gelu").activation == "gelu"
    assert plan("ViT-B-32-quickgelu", str(file)).activation == "quick_gelu"


def test_a_folder_brings_its_own_model_and_weights(toy_backbone: Backbone, tmp_path: Path) -> None:
    config = {"model_cfg": open_clip.get_model_config("toy"), "preprocess_cfg": {"mean": [0.5, 0.5, 0.5]}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    torch.save(toy_backbone.model.state_dict(), tmp_path / "open_clip_pytorch_model.bin")
    found = load(plan(f"local-dir:{tmp_path}"))
    assert _hashes(found) == _hashes(toy_backbone)
    assert found.about["pretrained"] == "included"
    assert tuple(found.preprocess.mean) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("name", "pretrained", "error", "said"),
    [
        ("local-dir:", None, UsageError, "expected a name, local-dir:PATH or hf-hub:ORG/REPO"),
        ("ftp:somewhere", None, UsageError, "expected a name"),
        ("local-dir:nowhere", None, PlfeatError, "no readable open_clip_config.json"),
        ("local-dir:nowhere", "openai", UsageError, "brings its own weights"),
    ],
)
def test_a_model_elsewhere_that_cannot_be_had_is_one_line(
    name: str, pretrained: str | None, error: type[PlfeatError], said: str
) -> None:
    with pytest.raises(error, match=said):
        plan(name, pretrained)
