"""A plan in, a frozen open_clip model with everything that identifies it out: the right weights and activation, or an
error.
"""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.factory import load_checkpoint
from open_clip.transform import PreprocessCfg
from open_clip.transformer import QuickGELU
from safetensors import safe_open
from torch import nn

from plfeat.backbone import hub
from plfeat.backbone.names import INCLUDED, seed_of
from plfeat.backbone.plan import Plan
from plfeat.errors import PlfeatError, first_line

TABLE_SEED = "token_table_seed"
"""Metadata key of a safetensors file whose frozen token table is made from this seed instead of stored."""


@dataclass(frozen=True)
class Backbone:
    """A frozen open_clip model in eval mode, its tokenizer, and `about`: the facts that go into a fingerprint.

    `config` is what open_clip builds the model from; `table_seed` what its token table is made from, where that was
    never trained."""

    model: nn.Module
    tokenizer: Any
    preprocess: PreprocessCfg
    about: dict[str, Any]
    config: dict[str, Any]
    table_seed: int | None = None


def load(chosen: Plan) -> Backbone:
    """Build the model with the plan's activation, load its weights, freeze it."""
    own = chosen.pretrained == INCLUDED or chosen.pretrained.startswith("random:")
    weights = None if own else _weights_file(chosen)  # first, since it is what may not be there
    tokenizer = _tokenizer(chosen)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(chosen.pretrained))
        logging.disable(logging.WARNING)  # open_clip warns that the weights, which come next, are not there yet
        try:
            model = _build(chosen)
        finally:
            logging.disable(logging.NOTSET)
    found = "quick_gelu" if any(isinstance(module, QuickGELU) for module in model.modules()) else "gelu"
    if found != chosen.activation:
        raise PlfeatError(
            f"model {chosen.name} with weights {chosen.pretrained!r}: expected activation {chosen.activation}, "
            f"built {found}; these weights would give wrong features"
        )
    table_seed = None if weights is None else _load_weights(model, chosen, weights)
    for name, value in model.named_parameters():
        if not value.isfinite().all():
            raise PlfeatError(
                f"model {chosen.name} with weights {chosen.pretrained!r}: {name} has values that are not numbers; the "
                "weights are damaged, get them again"
            )
    model.requires_grad_(False)
    model.eval()
    image, text = sides(model)
    about = {
        "model": chosen.name,
        "pretrained": chosen.pretrained if own or chosen.tag else "file",
        "image_sha256": hash_tensors(image),
        "text_sha256": hash_tensors(text),
        "activation": found,
    }
    config = chosen.config | {"quick_gelu": chosen.quick_gelu}
    return Backbone(model, tokenizer, chosen.preprocess, about, config, table_seed)


def _build(chosen: Plan) -> nn.Module:
    if chosen.pretrained != INCLUDED:
        return open_clip.create_model(chosen.name, force_quick_gelu=chosen.quick_gelu, pretrained_text=False)
    try:
        return open_clip.create_model(chosen.source, require_pretrained=True)
    except Exception as error:  # a foreign or damaged file can fail in any way
        raise PlfeatError(
            f"model {chosen.name}: its weights cannot be had or do not fit ({first_line(error)[:120]})"
        ) from error


def sides(model: nn.Module) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """A model's state in two: what the features of pictures depend on, which is the vision tower; and all the rest, the
    scale and the bias between pictures and texts included. Whoever tunes the text side has the same features."""
    state = model.state_dict()
    image = {name: value for name, value in state.items() if name.startswith("visual.")}
    return image, {name: value for name, value in state.items() if name not in image}


def hash_tensors(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over names, types, shapes and values, whatever file they came from."""
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def token_table(seed: int, rows: int, width: int) -> torch.Tensor:
    """A frozen table of N(0, 0.08^2) tokens. RandomState, because numpy promises never to change its stream."""
    return torch.from_numpy(0.08 * np.random.RandomState(seed).standard_normal((rows, width))).float()


def _load_weights(model: nn.Module, chosen: Plan, path: str) -> int | None:
    """What the token table was made from, if the file has a seed instead of the table."""
    try:
        missing, unexpected = load_checkpoint(model, path, strict=False)
    except Exception as error:  # a foreign or damaged file can fail in any way
        raise PlfeatError(f"weights {path} cannot be read as {chosen.name} ({type(error).__name__})") from error
    seed = _table_seed(path) if "token_embedding.weight" in missing else None
    if seed is not None:
        table = model.get_parameter("token_embedding.weight")
        table.data.copy_(token_table(seed, *table.shape))
        missing.remove("token_embedding.weight")
    if missing or unexpected:
        raise PlfeatError(
            f"weights {path} do not fit model {chosen.name}: {len(missing)} tensors missing, "
            f"{len(unexpected)} unexpected, for example {[*missing, *unexpected][0]}"
        )
    return seed


def _table_seed(path: str) -> int | None:
    if not path.endswith(".safetensors"):
        return None
    with safe_open(path, framework="pt") as file:
        seed = (file.metadata() or {}).get(TABLE_SEED)
    return None if seed is None else int(seed)


def _weights_file(chosen: Plan) -> str:
    if not chosen.tag:
        return chosen.pretrained
    return hub.weights(f"weights {chosen.pretrained!r} of {chosen.name}", chosen.tag)


def _tokenizer(chosen: Plan) -> Any:
    try:
        return open_clip.get_tokenizer(chosen.source)
    except ModuleNotFoundError as error:
        raise PlfeatError(
            f"model {chosen.name}: its tokenizer needs the package {error.name}; pip install {error.name}"
        ) from error
