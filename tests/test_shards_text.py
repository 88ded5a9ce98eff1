"""text/: what the frozen text tower says of every class in every template, token by token."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from stores import texts

from plfeat.errors import CacheError
from plfeat.model.templates import TEMPLATES
from plfeat.shards.hdf5 import STORED_AS, as_bytes, pack, seal, unpack
from plfeat.shards.schema import FORMAT
from plfeat.shards.texts import Texts, read_texts, text_bytes, text_name

WORDS, SENTENCES = ("growing ring", "ein größerer Ring", "x"), ("{}", "a video of {}.")


def test_sixteen_templates_put_the_name_in_front_in_the_middle_and_at_the_end() -> None:
    assert len(set(TEMPLATES)) == 16
    assert all(template.count("{}") == 1 for template in TEMPLATES)
    places = {template.rstrip(".").index("{}") / max(1, len(template.rstrip(".")) - 2) for template in TEMPLATES}
    assert {0.0, 1.0} < places
    assert any(0 < place < 1 for place in places)


def written(folder: Path, made: Texts) -> Path:
    path = folder / made.name
    path.write_bytes(text_bytes(made))
    return path


@pytest.mark.parametrize("dtype", STORED_AS)
def test_what_is_written_is_read_back(tmp_path: Path, dtype: str) -> None:
    made = texts(WORDS, SENTENCES)
    rows = ("embedding_SW", "word_SW", "sentence_ND")
    made = replace(made, **{name: pack(getattr(made, name).astype(np.float32), dtype) for name in rows})
    found = read_texts(written(tmp_path, made))
    assert (found.classes, found.templates, found.tower) == (WORDS, SENTENCES, made.tower)
    assert found.token_S[found.tokens(2, 1)].tolist() == [10, 11]
    for name in rows:
        assert getattr(found, name).tobytes() == getattr(made, name).tobytes()
        assert unpack(getattr(found, name)).dtype == (np.float16 if dtype == "float16" else np.float32)
    assert found.bad() == []


def test_texts_are_called_after_their_tower_their_words_and_their_templates() -> None:
    names = {
        text_name(tower, words, sentences)
        for tower in ("ab" * 32, "cd" * 32)
        for words in (WORDS, WORDS[::-1])
        for sentences in (SENTENCES, SENTENCES[:1])
    }
    assert len(names) == 8


@pytest.mark.parametrize("rows", ["embedding_SW", "word_SW", "sentence_ND"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_sentences_that_are_no_numbers_are_named(rows: str, value: float) -> None:
    made = texts(WORDS, SENTENCES)
    content = getattr(made, rows).copy()
    content[-1, 0] = value
    assert replace(made, **{rows: content}).bad() == ["a video of x."]


def test_a_sentence_without_length_is_named() -> None:
    made = texts(WORDS, SENTENCES)
    sentence_ND = made.sentence_ND.copy()
    sentence_ND[0] = 0
    assert replace(made, sentence_ND=sentence_ND).bad() == ["growing ring"]


def test_the_file_of_other_texts_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, texts(WORDS, SENTENCES))
    path.write_bytes(text_bytes(texts(WORDS[::-1], SENTENCES)))
    with pytest.raises(CacheError, match="its name is the hash of"):
        read_texts(path)


FORGED = {
    "no texts at all": lambda arrays: {"class": arrays["class"][:0], "sentence": arrays["sentence"][:0]},
    "one text too few": lambda arrays: {"sentence": arrays["sentence"][1:], "text_ptr": arrays["text_ptr"][1:]},
    "pointers that fall": lambda arrays: {"text_ptr": arrays["text_ptr"][[0, 2, 1, 3, 4, 5, 6]]},
    "a text without tokens": lambda arrays: {"text_ptr": arrays["text_ptr"][[0, 1, 1, 3, 4, 5, 6]]},
    "pointers beyond the tokens": lambda arrays: {"text_ptr": arrays["text_ptr"] * 3},
    "tokens that are fractions": lambda arrays: {"token": arrays["token"].astype(np.float32)},
    "a name that is no UTF-8": lambda arrays: {"class": np.array([b"\xff", b"a", b"b"])},
    "other rows than tokens": lambda arrays: {"word": arrays["word"][1:]},
}


@pytest.mark.parametrize("kind", FORGED)
def test_texts_that_cannot_be_are_refused(tmp_path: Path, kind: str) -> None:
    path = written(tmp_path, texts(WORDS, SENTENCES))
    with h5py.File(path) as file:
        arrays = {name: file[name][()] for name in file}
    arrays |= FORGED[kind](arrays)
    words = {"tower": "ab" * 32}
    path.write_bytes(as_bytes(arrays, FORMAT, words | {"seal": seal(words, arrays)}))
    with pytest.raises(CacheError):
        read_texts(path)


@pytest.mark.parametrize("content", [b"", b"rubbish", None])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = written(tmp_path, texts(WORDS, SENTENCES))
    path.write_bytes(path.read_bytes()[:-10] if content is None else content)
    with pytest.raises(CacheError):
        read_texts(path)
