"""Names of models and weights, found without torch: they are open_clip's own."""

import json
from pathlib import Path

import open_clip
import pytest
from open_clip.pretrained import _PRETRAINED

from plfeat.backbone import names
from plfeat.errors import PlfeatError, UsageError
from plfeat.toy import shipped


def test_models_and_weights_are_those_that_open_clip_lists() -> None:
    shipped.offer()
    own = set(names._shipped)
    assert [name for name in names.models() if name not in own] == sorted(set(open_clip.list_models()) - own)
    assert names._table() == _PRETRAINED
    assert names._table() is not _PRETRAINED
    for name in set(names.models()) - own:
        assert list(names.tags_of(name)) == open_clip.list_pretrained_tags_by_model(name)
        assert names.built_quick(name) == open_clip.get_model_config(name).get("quick_gelu", False)


def test_a_release_that_writes_its_table_otherwise_is_asked_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "constants.py").write_text("")
    (tmp_path / "pretrained.py").write_text("def _tables():\n    return {}\n")
    names._table.cache_clear()
    monkeypatch.setattr(names, "_open_clip", lambda: tmp_path)
    assert names._table() == _PRETRAINED
    names._table.cache_clear()


def test_what_open_clip_would_take_is_taken(tmp_path: Path) -> None:
    (tmp_path / "open_clip_config.json").write_text(json.dumps({}))
    assert names.choose("ViT-B-16") == "openai"
    assert names.choose("EVA01-g-14") == "laion400m_s11b_b41k"
    assert names.choose("ViT-B-16", "random:7") == "random:7"
    assert names.choose("ViT-B-16", __file__) == __file__
    assert names.choose(f"local-dir:{tmp_path}") == names.choose("hf-hub:some/where") == names.INCLUDED


@pytest.mark.parametrize(
    ("name", "pretrained", "kind", "said"),
    [
        ("ViT-B16", None, UsageError, "did you mean 'ViT-B-16'"),
        ("ViT-B-16", "openay", UsageError, "did you mean 'openai'"),
        ("convnext_base_w", None, UsageError, "needs --pretrained: one of laion2b_s13b_b82k"),
        ("ViT-B-16", "random:²", UsageError, "random:SEED"),
        ("local-dir:nowhere", None, PlfeatError, "no readable open_clip_config.json"),
        ("local-dir:nowhere", "openai", UsageError, "brings its own weights"),
        ("s3:nowhere", None, UsageError, "expected a name, local-dir:PATH or hf-hub:ORG/REPO"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_loaded(
    name: str, pretrained: str | None, kind: type[PlfeatError], said: str
) -> None:
    with pytest.raises(kind, match=said):
        names.choose(name, pretrained)


@pytest.mark.parametrize(
    ("pretrained", "random"),
    [("random:0", True), ("random:17", True), ("random:x", False), ("openai", False), (None, False)],
)
def test_weights_that_mean_nothing_are_known_by_their_name(pretrained: str | None, random: bool) -> None:
    assert names.is_random(pretrained) == random
