"""A text tower in a file of its own is the tower that it was saved from, and a forged one is a line."""

import json
import pickle
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from open_clip import CustomTextCLIP
from safetensors import safe_open
from safetensors.torch import save_file

from plfeat.backbone.load import Backbone, hash_tensors, load, sides
from plfeat.backbone.plan import plan
from plfeat.backbone.text import TextTower
from plfeat.backbone.tower import open_tower, save_tower, tower_facts, tower_of
from plfeat.errors import CacheError, UsageError
from plfeat.toy import shipped

TEXTS = ["spinning star", "a video of a person who is shooting a goal (soccer).", "x"]
VISION = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
TEXT: dict[str, Any] = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
OWN: dict[str, dict[str, Any]] = {
    "custom": {"custom_text": True},
    "short": {"text_cfg": TEXT | {"context_length": 32}},
    "quick": {"quick_gelu": True},
    "biased": {"custom_text": True, "init_logit_bias": -10, "text_cfg": TEXT | {"proj_bias": True}},
    "unprojected": {"text_cfg": TEXT | {"proj_type": "none"}},
    "walked by open_clip": {"text_cfg": TEXT | {"qk_norm": True, "tokenizer_kwargs": {"clean": "canonicalize"}}},
}


def random(folder: Path, name: str, settings: dict[str, Any]) -> Backbone:
    """Of a folder of its own, as `local-dir:` names it; with random weights."""
    config = {"embed_dim": 32, "vision_cfg": VISION, "text_cfg": TEXT} | settings
    whole = {"model_cfg": config, "preprocess_cfg": {"mean": [0.5] * 3}}
    place = folder / name.replace(" ", "-")
    place.mkdir()
    (place / "open_clip_config.json").write_text(json.dumps(whole))
    kind = CustomTextCLIP if config.pop("custom_text", False) else open_clip.CLIP
    torch.manual_seed(4)
    torch.save(kind(**config).state_dict(), place / "open_clip_pytorch_model.bin")
    return load(plan(f"local-dir:{place}"))


@pytest.fixture(scope="module", params=["toy", "ViT-B-32", "PE-Core-T-16-384", *OWN])
def backbone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    shipped.offer()
    if request.param in OWN:
        return random(tmp_path_factory.mktemp("model"), request.param, OWN[request.param])
    return load(plan(request.param, None if request.param == "toy" else "random:0"))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """The file of a small tower, whose model is gone."""
    save_tower(tmp_path / "tower.safetensors", random(tmp_path, "small", {}))
    for file in (tmp_path / "small").iterdir():
        file.unlink()
    return tmp_path / "tower.safetensors"


def learned(tower: TextTower) -> tuple[torch.Tensor, ...]:
    """What a tower says of texts, with words and without; and what a prompt that is learned over it would learn."""
    ids, eot = tower.tokenize(TEXTS)
    embeddings = tower.embed(ids).requires_grad_()
    said, sentence = tower(embeddings, eot), tower(embeddings, eot, words=False).sentence_ND
    total = said.sentence_ND.square().sum() + sentence.square().sum() + said.words_NLW.square().mean()
    return ids, said.sentence_ND, said.words_NLW, sentence, torch.autograd.grad(total, embeddings)[0]


def test_a_tower_out_of_its_file_is_the_same_to_the_last_bit(
    backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, own = tmp_path / "tower.safetensors", tower_of(backbone)
    save_tower(path, backbone)
    for place, name in ((open_clip, "create_model"), (open_clip, "get_tokenizer"), (socket, "socket")):
        monkeypatch.setattr(place, name, None)  # neither names, nor tags, nor a network
    before = torch.get_rng_state()
    found = open_tower(path)
    assert torch.equal(before, torch.get_rng_state())
    for one, other in zip(learned(found), learned(own), strict=True):
        assert torch.equal(one, other)
    assert (found.sha256, found.log_scale) == (own.sha256, own.log_scale)
    assert found.sha256 == backbone.about["text_sha256"]
    assert found.log_scale == float(backbone.model.logit_scale)  # type: ignore[arg-type]
    assert found.context_length == own.context_length == found.tokenizer.context_length
    assert not found.training
    assert not any(weight.requires_grad for weight in found.parameters())
    assert [name for name, _ in found.named_parameters()] == [name for name, _ in own.named_parameters()]


def test_the_same_tower_is_the_same_file(backbone: Backbone, tmp_path: Path) -> None:
    paths = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    for path in paths:
        save_tower(path, backbone)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_file_says_what_it_holds_and_has_no_pictures_weights(backbone: Backbone, tmp_path: Path) -> None:
    path = tmp_path / "tower.safetensors"
    save_tower(path, backbone)
    about = tower_facts(path)
    assert about["model"] == backbone.about["model"]
    assert about["config"]["text_cfg"] == backbone.config["text_cfg"]
    assert about["text_sha256"] == backbone.about["text_sha256"]
    with safe_open(path, framework="pt") as file:
        assert not [name for name in file.keys() if name.startswith("visual")]  # noqa: SIM118


def test_the_toys_token_table_is_made_again_instead_of_stored(toy_backbone: Backbone, tmp_path: Path) -> None:
    path = tmp_path / "tower.safetensors"
    save_tower(path, toy_backbone)
    assert path.stat().st_size < 3_000_000 < toy_backbone.model.token_embedding.weight.numel() * 2
    weight = open_tower(path).token_embedding.weight
    assert torch.equal(weight, toy_backbone.model.token_embedding.weight)
    weight += 1
    assert not torch.equal(open_tower(path).token_embedding.weight, weight)


def test_a_token_table_that_was_tuned_is_stored(tmp_path: Path) -> None:
    shipped.offer()
    tuned = load(plan("toy"))
    tuned.model.token_embedding.weight[5] += 1
    tuned.about["text_sha256"] = hash_tensors(sides(tuned.model)[1])
    save_tower(tmp_path / "tower.safetensors", tuned)
    weight = open_tower(tmp_path / "tower.safetensors").token_embedding.weight
    assert torch.equal(weight, tuned.model.token_embedding.weight)


def test_weights_of_half_precision_take_half_the_room(tmp_path: Path) -> None:
    halved = random(tmp_path, "halved", {})
    save_tower(tmp_path / "whole.safetensors", halved)
    for value in sides(halved.model)[1].values():
        value.copy_(value.half())
    halved.about["text_sha256"] = hash_tensors(sides(halved.model)[1])
    save_tower(tmp_path / "half.safetensors", halved)
    sizes = [(tmp_path / name).stat().st_size for name in ("half.safetensors", "whole.safetensors")]
    assert sizes[0] / sizes[1] == pytest.approx(0.5, abs=0.01)
    for one, other in zip(learned(open_tower(tmp_path / "half.safetensors")), learned(tower_of(halved)), strict=True):
        assert torch.equal(one, other)


def test_a_text_tower_that_prompts_cannot_be_learned_over_is_not_saved(tmp_path: Path) -> None:
    bidirectional = random(tmp_path, "last", {"text_cfg": TEXT | {"no_causal_mask": True, "pool_type": "last"}})
    with pytest.raises(UsageError, match="not CLIP's"):
        save_tower(tmp_path / "tower.safetensors", bidirectional)


def test_a_tokenizer_with_files_of_its_own_is_refused_by_name(tmp_path: Path) -> None:
    class Foreign:
        pass

    whole = random(tmp_path, "foreign", {})
    whole.config["text_cfg"]["hf_tokenizer_name"] = "some/where"
    foreign = Backbone(whole.model, Foreign(), whole.preprocess, whole.about, whole.config)
    with pytest.raises(UsageError, match=r"its tokenizer \(some/where\) is not open_clip's own"):
        save_tower(tmp_path / "tower.safetensors", foreign)
    assert not (tmp_path / "tower.safetensors").exists()


def test_a_model_that_its_configuration_does_not_describe_is_refused(tmp_path: Path) -> None:
    other = random(tmp_path, "other", {})
    other.config["text_cfg"]["layers"] = 2
    with pytest.raises(UsageError, match="not what open_clip builds from its configuration"):
        save_tower(tmp_path / "tower.safetensors", other)


def forged(path: Path, change: Callable[[dict[str, Any], dict[str, torch.Tensor]], Any], honest: bool = True) -> None:
    """The file again, with something changed; `honest` hashes the tensors anew."""
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["plfeat"])
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    change(about, tensors)
    if honest:
        about["text_sha256"] = hash_tensors({name: value.float() for name, value in tensors.items()})
    save_file(tensors, path, metadata={"plfeat": json.dumps(about)})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda about, tensors: tensors.pop("ln_final.bias"), "ln_final.bias"),
        (lambda about, tensors: tensors.update(more=torch.zeros(2)), "not those of its configuration: more"),
        (lambda about, tensors: tensors.update({"ln_final.bias": torch.zeros(3)}), "ln_final.bias is torch.float32"),
        (
            lambda about, tensors: tensors.update({"ln_final.bias": torch.zeros(32).long()}),
            "ln_final.bias is torch.int",
        ),
        (lambda about, tensors: tensors["ln_final.bias"].fill_(torch.nan), "values that are not numbers"),
        (lambda about, tensors: tensors["logit_scale"].fill_(torch.inf), "values that are not numbers"),
        (lambda about, tensors: about.update(plfeat_format=2), "not a file of plfeat's format 3"),
        (lambda about, tensors: about.pop("config"), "does not say config"),
        (lambda about, tensors: about.update(activation="quick_gelu"), "its activation"),
        (lambda about, tensors: about["config"].pop("text_cfg"), "not that of a CLIP"),
        (lambda about, tensors: about["config"].update(custom_text="os.system"), "not that of a CLIP"),
        (lambda about, tensors: about["config"].update(multimodal_cfg={}), "not that of a CLIP"),
        (lambda about, tensors: about["config"].update(embed_dim="32"), "no text tower that can be used"),
        (lambda about, tensors: about["config"]["text_cfg"].update(hf_model_name="/etc"), "files of Hugging Face"),
        (lambda about, tensors: about["config"]["text_cfg"].update(hf_tokenizer_name="a/b"), "files of Hugging Face"),
        (lambda about, tensors: about["config"]["text_cfg"].update(layers=10**9), "fewer weights than"),
        (lambda about, tensors: about["config"]["text_cfg"].update(width=10**9), "no text tower that can be used"),
        (lambda about, tensors: about["config"]["text_cfg"].update(unheard=1), "unheard"),
        (lambda about, tensors: about["config"]["text_cfg"].update(pool_type="last"), "not CLIP's"),
        (lambda about, tensors: about["config"]["text_cfg"].update(norm_kwargs={"device": "x"}), "no text tower"),
        (lambda about, tensors: about["tokenizer"].update(bpe_path="/etc/passwd"), "tokenizer is not open_clip's own"),
        (lambda about, tensors: about["tokenizer"].update(clean="eval"), "tokenizer is not open_clip's own"),
        (lambda about, tensors: about["tokenizer"].update(vocabulary_sha256="0"), "another vocabulary"),
        (
            lambda about, tensors: (
                about.update(token_table_seed=1),
                about["config"]["text_cfg"].update(vocab_size=10**12),
                tensors.pop("token_embedding.weight"),
            ),
            "its token table has 1000000000000 rows",
        ),
    ],
)
def test_a_forged_tower_is_one_line(small: Path, change: Callable[..., Any], said: str) -> None:
    forged(small, change)
    with pytest.raises(CacheError, match=said) as caught:
        open_tower(small)
    assert len(str(caught.value).splitlines()) == 1
    assert str(caught.value).startswith(f"{small}: no text tower that can be used (")


def test_one_weight_that_is_another_is_seen(small: Path) -> None:
    open_tower(small)
    forged(small, lambda about, tensors: tensors["ln_final.bias"].add_(1e-3), honest=False)
    with pytest.raises(CacheError, match="not those that its header was written for"):
        open_tower(small)


def _as_a_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"a": 1}))


def _cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _with_a_huge_header(path: Path) -> None:
    path.write_bytes(struct.pack("<Q", 1 << 40) + b"{}")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _without_our_header(path: Path) -> None:
    save_file({"a": torch.zeros(1)}, path)


def _nested_without_end(path: Path) -> None:
    save_file({"a": torch.zeros(1)}, path, metadata={"plfeat": "[" * 100_000})


def _a_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def _a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    "damage",
    [
        _as_a_pickle,
        _cut_off,
        _with_a_huge_header,
        _empty,
        _without_our_header,
        _nested_without_end,
        _a_link,
        _a_folder,
        Path.unlink,
    ],
)
def test_what_is_no_towers_file_is_one_line(small: Path, damage: Callable[[Path], None]) -> None:
    damage(small)
    with pytest.raises(CacheError, match="no text tower that can be used") as caught:
        open_tower(small)
    assert len(str(caught.value).splitlines()) == 1
