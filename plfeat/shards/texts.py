"""text/<hash>.h5: class names in template sentences, as a frozen text tower sees them, token by token. The hash is of
the tower, the names and the templates.

Text n is class `n // P` in template `n % P` of P. Its tokens are the rows `text_ptr[n]` to `text_ptr[n+1]`, the last of
which is the EOT. Learned contexts take a prompt's beginning and end from `embedding`; parsing reads `word`; zero-shot
reads `sentence`.

Shapes: N texts, S tokens of all texts, C classes, P templates, W text width, D embedding width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plfeat.errors import CacheError
from plfeat.files import sha256_of_json
from plfeat.shards.hdf5 import FLOATS, Layout, as_bytes, decoded, fixed_width, read_arrays, seal, unpack
from plfeat.shards.schema import FORMAT

LAYOUT: Layout = {
    "token": ("int32", "S"),
    "embedding": (FLOATS, "SW"),
    "word": (FLOATS, "SW"),
    "sentence": (FLOATS, "ND"),
    "text_ptr": ("int64", "Q"),  # Q = N + 1
    "class": ("S", "C"),
    "template": ("S", "P"),
}


_MOST = 1 << 34  # bytes of an array


@dataclass(frozen=True)
class Texts:
    token_S: NDArray[np.int32]
    embedding_SW: NDArray[Any]  # before positions are added
    word_SW: NDArray[Any]  # after ln_final, before the projection
    sentence_ND: NDArray[Any]  # the EOT's word, projected, not normalised
    text_ptr: NDArray[np.int64]
    classes: tuple[str, ...]
    templates: tuple[str, ...]
    tower: str  # SHA-256 of the text tower

    @property
    def name(self) -> str:
        return text_name(self.tower, self.classes, self.templates)

    def bad(self) -> list[str]:
        """The sentences with values that are not numbers, or without any length."""
        bad_S = ~(np.isfinite(unpack(self.embedding_SW)) & np.isfinite(unpack(self.word_SW))).all(axis=1)
        sentence_ND = unpack(self.sentence_ND)
        bad_N = ~np.isfinite(sentence_ND).all(axis=1) | (sentence_ND == 0).all(axis=1)
        bad_N |= np.logical_or.reduceat(bad_S, self.text_ptr[:-1])
        said = (template.replace("{}", name) for name in self.classes for template in self.templates)
        return [sentence for sentence, is_bad in zip(said, bad_N.tolist(), strict=True) if is_bad]

    def tokens(self, label: int, template: int = 0) -> slice:
        """The rows of one text."""
        text = label * len(self.templates) + template
        return slice(int(self.text_ptr[text]), int(self.text_ptr[text + 1]))


def text_name(tower: str, classes: Sequence[str], templates: Sequence[str]) -> str:
    return f"{sha256_of_json([tower, list(classes), list(templates)])[:16]}.h5"


def text_bytes(texts: Texts) -> bytes:
    arrays = {
        "token": texts.token_S.astype(np.int32),
        "embedding": texts.embedding_SW,
        "word": texts.word_SW,
        "sentence": texts.sentence_ND,
        "text_ptr": texts.text_ptr.astype(np.int64),
        "class": fixed_width(texts.classes),
        "template": fixed_width(texts.templates),
    }
    words = {"tower": texts.tower}
    return as_bytes(arrays, FORMAT, words | {"seal": seal(words, arrays)})


def read_texts(path: Path) -> Texts:
    arrays, words = read_arrays(path, LAYOUT, FORMAT, ("tower", "seal"), most=_MOST)
    if seal({"tower": words["tower"]}, arrays) != words["seal"]:
        raise CacheError(f"{path}: its contents do not have the seal stored with them")
    pointers, count = arrays["text_ptr"], len(arrays["class"]) * len(arrays["template"])
    tokens = len(arrays["token"])
    whole = len(pointers) == len(arrays["sentence"]) + 1 == count + 1 > 1 and pointers[0] == 0
    if not whole or pointers[-1] != tokens or pointers.max() > tokens or (np.diff(pointers) < 1).any():
        raise CacheError(f"{path}: text_ptr does not divide the tokens among {count} texts")
    texts = Texts(
        token_S=arrays["token"],
        embedding_SW=arrays["embedding"],
        word_SW=arrays["word"],
        sentence_ND=arrays["sentence"],
        text_ptr=pointers,
        classes=decoded(arrays["class"], path),
        templates=decoded(arrays["template"], path),
        tower=words["tower"],
    )
    if texts.name != path.name:
        raise CacheError(f"{path}: its tower, classes and templates are not those that its name is the hash of")
    return texts
