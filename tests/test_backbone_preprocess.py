"""On what pictures weights were trained: known of a tag, inferred for a file where all tags agree, asked where not."""

import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
from open_clip.constants import IMAGENET_MEAN, IMAGENET_STD, OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.transform import PreprocessCfg

from plfeat.backbone import names
from plfeat.backbone.plan import plan
from plfeat.errors import PlfeatError, UsageError

HALF = (0.5, 0.5, 0.5)
OPENAI = (OPENAI_DATASET_MEAN, OPENAI_DATASET_STD, "bicubic", "shortest")


def facts(look: PreprocessCfg) -> tuple[Any, ...]:
    return tuple(look.mean), tuple(look.std), look.interpolation, look.resize_mode


@pytest.fixture
def file(tmp_path: Path) -> str:
    """Planning does not open it."""
    path = tmp_path / "weights.pt"
    path.write_bytes(b"x")
    return str(path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("PE-Core-B-16", (HALF, HALF, "bilinear", "squash")),
        ("ViT-B-16-SigLIP2", (HALF, HALF, "bicubic", "squash")),
        ("ViT-L-14-CLIPA", (IMAGENET_MEAN, IMAGENET_STD, "bilinear", "squash")),
        ("MobileCLIP-B", ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "bilinear", "shortest")),
        ("ViT-B-16-quickgelu", OPENAI),
    ],
)
def test_weights_from_a_file_get_the_preprocess_on_which_all_tags_agree(
    name: str, expected: tuple[Any, ...], file: str
) -> None:
    assert facts(plan(name, file).preprocess) == expected


def test_a_file_never_gets_a_preprocess_that_a_tag_of_its_activation_does_not_have(file: str) -> None:
    """Over all models of open_clip: what a file gets is what every tag of that activation has, or it is a question."""
    asked = set()
    for name in set(open_clip.list_models()) - set(names._shipped):
        tags = open_clip.list_pretrained_tags_by_model(name)
        for activation in ("gelu", "quick_gelu"):
            alike = [tag for tag in tags if _activation(name, tag) == activation] or tags
            looks = {_of_tag(name, tag) for tag in alike}
            if len(looks) == 1:
                assert {facts(plan(name, file, activation).preprocess)} == looks, (name, activation)
                continue
            with pytest.raises(UsageError, match="--preprocess"):
                plan(name, file, activation)
            if tags:
                asked.add((name, activation))
    assert asked >= {("ViT-H-14", "quick_gelu"), ("ViT-L-14", "gelu")}
    assert len(asked) <= 10  # most users are never asked


def _activation(name: str, tag: str) -> str:
    return "quick_gelu" if open_clip.get_pretrained_cfg(name, tag).get("quick_gelu") else "gelu"


def _of_tag(name: str, tag: str) -> tuple[Any, ...]:
    record = open_clip.get_pretrained_cfg(name, tag)
    return tuple(record["mean"]), tuple(record["std"]), record["interpolation"], record["resize_mode"]


def test_where_tags_differ_the_question_names_both_ways_out_and_only_what_differs(file: str) -> None:
    with pytest.raises(UsageError, match="its tags differ in mean, std") as caught:
        plan("ViT-L-14", file, "gelu")
    said = str(caught.value)
    assert "--preprocess laion2b_s32b_b82k (mean 0.5 0.5 0.5, std 0.5 0.5 0.5)" in said
    assert "--set 'preprocess.mean=[R,G,B]' --set 'preprocess.std=[R,G,B]'" in said
    assert "resize" not in said


def test_either_way_out_is_one(file: str) -> None:
    half = (HALF, HALF, "bicubic", "shortest")
    as_laion, as_openai = ({"like": tag} for tag in ("laion2b_s32b_b82k", "openai"))
    assert facts(plan("ViT-L-14", file, "gelu", as_laion).preprocess) == half
    assert facts(plan("ViT-L-14", file, "gelu", as_openai).preprocess) == OPENAI
    assert facts(plan("ViT-L-14", file, "gelu", {"mean": HALF, "std": HALF}).preprocess) == half
    squash = plan("ViT-H-14", file, "quick_gelu", {"resize": "squash"}).preprocess
    assert facts(squash) == (*OPENAI[:3], "squash")


def test_what_is_said_comes_before_what_is_inferred(file: str) -> None:
    look = plan("PE-Core-B-16", file, preprocess={"like": "ViT-B-16:openai", "resize": "squash"}).preprocess
    assert facts(look) == (*OPENAI[:3], "squash")


def test_a_model_without_known_weights_asks_instead_of_guessing(file: str) -> None:
    assert open_clip.list_pretrained_tags_by_model("ViT-S-16") == []
    with pytest.raises(UsageError, match=r"--preprocess MODEL:TAG \(ViT-B-16:openai .*preprocess\.resize=shortest"):
        plan("ViT-S-16", file)
    assert facts(plan("ViT-S-16", file, preprocess={"like": "ViT-B-16:openai"}).preprocess) == OPENAI


@pytest.mark.parametrize(
    ("name", "like", "said"),
    [
        ("ViT-L-14", "opnai", "did you mean 'openai'"),
        ("ViT-S-16", "openai", "knows no tags of such a model; say --preprocess MODEL:TAG"),
        ("ViT-S-16", "ViT-B16:openai", "unknown model in --preprocess 'ViT-B16'; did you mean 'ViT-B-16'"),
        ("ViT-S-16", "ViT-B-16:opnai", "unknown tag of ViT-B-16 in --preprocess 'opnai'; did you mean 'openai'"),
    ],
)
def test_an_unknown_tag_to_be_like_gets_a_near_one(name: str, like: str, said: str, file: str) -> None:
    activation = "gelu" if name == "ViT-L-14" else None
    with pytest.raises(UsageError, match=said):
        plan(name, file, activation, {"like": like})


def test_weights_that_say_it_themselves_take_no_other_word_for_it() -> None:
    with pytest.raises(UsageError, match="--preprocess: weights 'openai' of ViT-B-16 say themselves"):
        plan("ViT-B-16", "openai", preprocess={"like": "openai"})
    with pytest.raises(
        UsageError, match="--activation gelu: weights 'openai' of ViT-B-16 were trained with quick_gelu"
    ):
        plan("ViT-B-16", "openai", "gelu")


def test_random_weights_look_like_any_of_their_model_and_never_ask() -> None:
    assert facts(plan("PE-Core-B-16", "random:0").preprocess) == (HALF, HALF, "bilinear", "squash")
    assert facts(plan("ViT-L-14", "random:0").preprocess) == OPENAI


def _folder(place: Path, model: str, **more: object) -> str:
    place.mkdir()
    (place / "open_clip_config.json").write_text(json.dumps({"model_cfg": open_clip.get_model_config(model), **more}))
    return f"local-dir:{place}"


@pytest.mark.parametrize("more", [{}, {"preprocess_cfg": None}, {"preprocess_cfg": {}}])
def test_a_folder_that_does_not_say_it_is_taken_as_models_built_like_it(tmp_path: Path, more: dict[str, Any]) -> None:
    found = plan(_folder(tmp_path / "pe", "PE-Core-B-16", **more)).preprocess
    assert facts(found) == (HALF, HALF, "bilinear", "squash")
    with pytest.raises(UsageError, match=r"has no preprocess_cfg: its tags differ .*--preprocess ViT-L-14:laion2b"):
        plan(_folder(tmp_path / "l", "ViT-L-14", **more))
    with pytest.raises(UsageError, match=r"has no preprocess_cfg: open_clip knows no weights of such a model"):
        plan(_folder(tmp_path / "s", "ViT-S-16", **more))
    like = {"like": "ViT-L-14:laion2b_s32b_b82k"}
    assert facts(plan(f"local-dir:{tmp_path / 'l'}", preprocess=like).preprocess)[:2] == (HALF, HALF)


def test_a_folder_that_says_it_is_believed_and_what_it_leaves_out_is_open_clips_default(tmp_path: Path) -> None:
    own = {"mean": HALF, "std": HALF}
    found = plan(_folder(tmp_path / "pe", "PE-Core-B-16", preprocess_cfg=own)).preprocess
    assert facts(found) == (HALF, HALF, "bicubic", "shortest")


def test_a_folder_that_says_nonsense_is_told_of_it(tmp_path: Path) -> None:
    name = _folder(tmp_path / "pe", "PE-Core-B-16", preprocess_cfg={"mean": "x"})
    with pytest.raises(
        PlfeatError, match=r"no readable open_clip_config\.json \(mean is 'x', expected three numbers\)"
    ):
        plan(name)
