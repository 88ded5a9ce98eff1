"""Class names and templates in, text.h5 out: the text half of a cache."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from plfeat.backbone.text import TextTower
from plfeat.errors import CacheError, PlfeatError, UsageError
from plfeat.files import sha256_of
from plfeat.flows.work import Kit
from plfeat.model.templates import TEMPLATES
from plfeat.records import Tick, silent
from plfeat.shards.hdf5 import pack
from plfeat.shards.reader import Cache
from plfeat.shards.text import NAME, Texts, read_texts, write_texts

_AT_ONCE = 256  # texts in one pass of the tower


def keep_texts(
    folder: Path, kit: Kit, classes: tuple[str, ...], wanted: tuple[str, ...] | None, tick: Tick = silent
) -> dict[str, Any]:
    """Makes text.h5 unless it is there; what the manifest says about it. Without `wanted`, whatever templates it has
    are right. A model whose text tower is not CLIP's has none."""
    path = folder / NAME
    try:
        there: Texts | None = read_texts(path)
    except (CacheError, OSError):
        there = None
    if there is None or there.bad() or there.classes != classes or (wanted is not None and there.templates != wanted):
        try:
            tower = TextTower(kit.backbone.model, kit.backbone.tokenizer)
        except UsageError as error:
            return {"name": None, "why": str(error)}
        there = make_texts(tower.to(kit.device), classes, wanted or TEMPLATES, kit.config.dtype, tick)
        if bad := there.bad():
            raise PlfeatError(f"text features of {kit.config.model}: {_not_numbers(bad, there)}; set dtype=float32")
        write_texts(path, there)
    return {"name": NAME, "sha256": sha256_of(path), "templates": len(there.templates)}


def texts_of(cache: Cache) -> Texts | None:
    """A cache's texts, as its manifest knows them; None if it never had any."""
    said = cache.manifest["text"]
    if not said["name"]:
        return None
    path = cache.path / said["name"]
    if not path.is_file() or sha256_of(path) != said["sha256"]:
        raise CacheError(f"{path}: missing, or not the file it was; run the same `plfeat extract` again")
    texts = read_texts(path)
    if bad := texts.bad():
        raise CacheError(f"{path}: {_not_numbers(bad, texts)}; run the same `plfeat extract` again")
    return texts


def make_texts(
    tower: TextTower, classes: tuple[str, ...], templates: tuple[str, ...], dtype: str, tick: Tick = silent
) -> Texts:
    sentences = [template.replace("{}", name) for name in classes for template in templates]
    tokens, embeddings, words, pooled, lengths = [], [], [], [], []
    for start in range(0, len(sentences), _AT_ONCE):
        tick("encoding texts", start, len(sentences))
        ids_NL, eot_N = tower.tokenize(sentences[start : start + _AT_ONCE])
        with torch.inference_mode():
            embedded_NLW = tower.embed(ids_NL)
            features = tower(embedded_NLW, eot_N)
        real_NL = torch.arange(ids_NL.shape[1]) <= eot_N[:, None]
        tokens.append(ids_NL[real_NL].numpy().astype(np.int32))
        embeddings.append(pack(embedded_NLW.cpu()[real_NL].numpy(), dtype))
        words.append(pack(features.words_NLW.cpu()[real_NL].numpy(), dtype))
        pooled.append(pack(features.sentence_ND.cpu().numpy(), dtype))
        lengths.append((eot_N + 1).numpy())
    tick("encoding texts", len(sentences), len(sentences))
    return Texts(
        token_S=np.concatenate(tokens),
        embedding_SW=np.concatenate(embeddings),
        word_SW=np.concatenate(words),
        sentence_ND=np.concatenate(pooled),
        text_ptr=np.cumsum(np.concatenate([[0], *lengths]), dtype=np.int64),
        classes=classes,
        templates=templates,
    )


def _not_numbers(bad: list[str], texts: Texts) -> str:
    return f"{len(bad)} of {len(texts.sentence_ND)} texts have values that are not numbers, the first is {bad[0]!r}"
