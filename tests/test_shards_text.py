"""text.h5: what the frozen text tower says of every class in every template, token by token."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from plfeat.backbone.text import TextTower
from plfeat.config import ExtractConfig
from plfeat.errors import CacheError, UsageError
from plfeat.flows.extract import extract
from plfeat.flows.given import read_templates
from plfeat.means import Means
from plfeat.flows.texts import keep_texts, make_texts
from plfeat.flows.work import gather
from plfeat.model.templates import TEMPLATES
from plfeat.records import silent
from plfeat.settings import build
from plfeat.shards.hdf5 import unpack
from plfeat.shards.reader import Cache, open_cache
from plfeat.shards.text import read_texts, write_texts

CLASSES, SOME = ("growing ring", "a very much longer class name than the others"), TEMPLATES[:3]


def test_sixteen_templates_put_the_name_in_front_in_the_middle_and_at_the_end() -> None:
    assert len(set(TEMPLATES)) == 16
    assert all(template.count("{}") == 1 for template in TEMPLATES)
    places = {template.rstrip(".").index("{}") / max(1, len(template.rstrip(".")) - 2) for template in TEMPLATES}
    assert {0.0, 1.0} < places
    assert any(0 < place < 1 for place in places)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_every_text_is_what_the_tower_gives_for_it_alone(toy_tower: TextTower, tmp_path: Path, dtype: str) -> None:
    write_texts(tmp_path / "text.h5", make_texts(toy_tower, CLASSES, SOME, dtype))
    texts = read_texts(tmp_path / "text.h5")
    assert (texts.classes, texts.templates) == (CLASSES, SOME)
    close = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 1e-2}[dtype]
    for label, name in enumerate(CLASSES):
        for number, template in enumerate(SOME):
            ids, eot = toy_tower.tokenize([template.replace("{}", name)])
            rows = texts.tokens(label, number)
            assert texts.token_S[rows].tolist() == ids[0, : int(eot[0]) + 1].tolist()
            with torch.no_grad():
                embedded = toy_tower.embed(ids)
                alone = toy_tower(embedded, eot)
            for stored, live in (
                (texts.embedding_SW[rows], embedded[0]),
                (texts.word_SW[rows], alone.words_NLW[0]),
                (texts.sentence_ND[label * len(SOME) + number], alone.sentence_ND[0]),
            ):
                np.testing.assert_allclose(unpack(stored), live.numpy(), rtol=close, atol=close)


def test_a_cache_holds_its_texts_and_other_templates_leave_the_features_alone(
    small_cache: Cache, small_folder: Path, tmp_path: Path
) -> None:
    assert small_cache.manifest["text"]["templates"] == 16
    texts = read_texts(small_cache.path / "text.h5")
    assert texts.classes == small_cache.classes
    folder = tmp_path / "toy" / small_cache.path.name
    shutil.copytree(small_cache.path, folder)
    config = build(ExtractConfig, dataset="toy", shard=8)
    done = extract(config, small_folder, tmp_path, silent, Means(templates=("{} on video",)))
    assert done.path == folder
    assert done.reused == done.shards
    assert read_texts(folder / "text.h5").templates == ("{} on video",)
    before = (folder / "text.h5").stat().st_mtime_ns
    extract(config, small_folder, tmp_path, silent)  # who asks for nothing gets what is there
    assert (folder / "text.h5").stat().st_mtime_ns == before
    assert open_cache(folder).manifest["text"]["templates"] == 1


def test_a_damaged_text_file_is_made_again(tmp_path: Path) -> None:
    kit = gather(build(ExtractConfig, dataset="toy"))
    for content in (b"", b"rubbish", None):
        if content is not None:
            (tmp_path / "text.h5").write_bytes(content)
            with pytest.raises(CacheError):
                read_texts(tmp_path / "text.h5")
        about = keep_texts(tmp_path, kit, CLASSES, SOME)
        assert about["templates"] == 3
        assert read_texts(tmp_path / "text.h5").templates == SOME


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a video\n", ":1: expected one {}"),
        ("# only a remark\n", "at least one sentence"),
        ("{}\n{} {}\n", ":2: expected one {}"),
        ("{}\n{}\n", "none twice"),
    ],
)
def test_a_wrong_file_of_templates_is_a_usage_error(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "t.txt").write_text(content)
    with pytest.raises(UsageError, match=said.replace("{", r"\{").replace("}", r"\}")):
        read_templates(tmp_path / "t.txt")
    with pytest.raises(UsageError, match="cannot be read"):
        read_templates(tmp_path / "none.txt")
