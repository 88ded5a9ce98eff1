"""A desk's texts: every class in every template as the text tower sees it alone; and the files of templates."""

from pathlib import Path

import numpy as np
import pytest
import torch

from plfeat.backbone.load import Backbone
from plfeat.backbone.tower import tower_of
from plfeat.desk import make_texts
from plfeat.errors import UsageError
from plfeat.flows.desks import read_templates
from plfeat.model.templates import TEMPLATES
from plfeat.shards.hdf5 import unpack
from plfeat.shards.texts import read_texts, text_bytes

WORDS, SOME = ("growing ring", "a very much longer class name than the others"), TEMPLATES[:3]


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_every_text_is_what_the_tower_gives_for_it_alone(toy_backbone: Backbone, tmp_path: Path, dtype: str) -> None:
    tower = tower_of(toy_backbone)
    made = make_texts(tower, WORDS, SOME, dtype)
    (tmp_path / made.name).write_bytes(text_bytes(made))
    texts = read_texts(tmp_path / made.name)
    assert (texts.classes, texts.templates, texts.tower) == (WORDS, SOME, tower.sha256)
    close = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 1e-2}[dtype]
    for label, name in enumerate(WORDS):
        for number, template in enumerate(SOME):
            ids, eot = tower.tokenize([template.replace("{}", name)])
            rows = texts.tokens(label, number)
            assert texts.token_S[rows].tolist() == ids[0, : int(eot[0]) + 1].tolist()
            with torch.no_grad():
                embedded = tower.embed(ids)
                alone = tower(embedded, eot)
            for stored, live in (
                (texts.embedding_SW[rows], embedded[0]),
                (texts.word_SW[rows], alone.words_NLW[0]),
                (texts.sentence_ND[label * len(SOME) + number], alone.sentence_ND[0]),
            ):
                np.testing.assert_allclose(unpack(stored), live.numpy(), rtol=close, atol=close)


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
