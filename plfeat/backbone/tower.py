"""A backbone's text tower in a file of its own, and back: without a network, weights of pictures, or the name of any.

The file is safetensors: the text side of the model's state, and in the header what open_clip builds it from. What half
precision holds exactly is kept in it, and a token table that was made from a seed is made again. Such a file may come
from anybody. What it says is checked before anything is built, and it can name no class, no path and no other file.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip import CLIP, CustomTextCLIP, SimpleTokenizer
from safetensors import safe_open
from safetensors.torch import save_file

from plfeat.backbone.load import Backbone, hash_tensors, sides, token_table
from plfeat.backbone.text import TextTower
from plfeat.errors import CacheError, UsageError, first_line
from plfeat.files import publish

FORMAT = 3
CLEANING = ("lower", "whitespace", "canonicalize")
"""What open_clip's tokenizer can do to a text before it reads it."""

_TABLE = "token_embedding.weight"
_LONGEST_HEADER = 1 << 20  # bytes; a tower of 24 blocks has 40 thousand
_READ = ("embed_dim", "text_cfg", "quick_gelu", "init_logit_bias", "nonscalar_logit_scale")
_BLIND = {"image_size": 1, "patch_size": 1, "layers": 1, "width": 1, "head_width": 1}

Tensors = dict[str, torch.Tensor]


def tower_of(backbone: Backbone) -> TextTower:
    """The text tower of a loaded model, which knows its hash."""
    return TextTower(backbone.model, backbone.tokenizer, backbone.about["text_sha256"])


def save_tower(path: Path, backbone: Backbone) -> None:
    """The same tower gives the same bytes. A tower that cannot be had again from a file is a UsageError."""
    tower, (_, text) = tower_of(backbone), sides(backbone.model)
    config = backbone.config | {"custom_text": type(backbone.model) is CustomTextCLIP}
    about: dict[str, Any] = {
        "plfeat_format": FORMAT,
        "model": backbone.about["model"],
        "activation": backbone.about["activation"],
        "config": config,
        "tokenizer": _tokenizer_facts(backbone),
        "context_length": tower.context_length,
        "log_scale": tower.log_scale,
        "text_sha256": tower.sha256,
    }
    if type(backbone.model) not in (CLIP, CustomTextCLIP) or _looks(_skeleton(config)) != _looks(text):
        raise UsageError(f"model {about['model']}: its text tower is not what open_clip builds from its configuration")
    seed = backbone.table_seed
    if seed is not None and torch.equal(text[_TABLE], token_table(seed, *text[_TABLE].shape)):
        about["token_table_seed"] = seed
        del text[_TABLE]
    with publish(path) as part:
        content = json.dumps(about, sort_keys=True, allow_nan=False)
        save_file({name: _halved(value) for name, value in text.items()}, part, metadata={"plfeat": content})


def open_tower(path: Path) -> TextTower:
    """The tower that was saved there, with the same outputs to the last bit; frozen, and of nothing but the file."""
    with _doubted(path):
        return _build(path, _header(path))


def tower_facts(path: Path) -> dict[str, Any]:
    """What a tower's file says about itself, without its weights."""
    with _doubted(path):
        return _header(path)


@contextmanager
def _doubted(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # a foreign or damaged file can fail in any way
        reason = first_line(error)[:200]
        raise CacheError(f"{path}: no text tower that can be used ({reason}); extract again") from error


def _header(path: Path) -> dict[str, Any]:
    if path.is_symlink() or not path.is_file():
        raise ValueError("there is no such file")
    with path.open("rb") as start:
        if int.from_bytes(start.read(8), "little") > _LONGEST_HEADER:
            raise ValueError("not a safetensors file, or one with a header too long for a tower")
    with safe_open(path, framework="pt") as file:
        about = json.loads((file.metadata() or {}).get("plfeat", "{}"))
    if not isinstance(about, dict) or about.get("plfeat_format") != FORMAT:
        raise ValueError(f"not a file of plfeat's format {FORMAT}")
    wanted = {"model": str, "activation": str, "config": dict, "tokenizer": dict, "text_sha256": str}
    for fact, kind in wanted.items():
        if not isinstance(about.get(fact), kind):
            raise ValueError(f"its header does not say {fact}")
    return about


def _build(path: Path, about: dict[str, Any]) -> TextTower:
    tokenizer = _tokenizer(about["tokenizer"])
    with safe_open(path, framework="pt") as file:
        _check_config(about, tensors=len(file.keys()))
        model = _skeleton(about["config"])
        wanted: Tensors = model.state_dict()
        made = {_TABLE: _made_table(about, wanted, tokenizer)} if "token_table_seed" in about else {}
        odd = sorted((wanted.keys() - made.keys()) ^ set(file.keys()))
        if odd:
            raise ValueError(f"its tensors are not those of its configuration: {', '.join(odd[:3])}")
        tensors = made | {name: _own(name, file.get_tensor(name), wanted[name]) for name in wanted if name not in made}
    if hash_tensors(tensors) != about["text_sha256"]:
        raise ValueError("its weights are not those that its header was written for")
    model.load_state_dict(tensors, assign=True)
    tower = TextTower(model.requires_grad_(False).eval(), tokenizer, about["text_sha256"])
    tokenizer.context_length = tower.context_length
    return tower.eval()


def _skeleton(config: dict[str, Any]) -> CLIP | CustomTextCLIP:
    """The model without a vision tower and without values: it takes no memory."""
    kind = CustomTextCLIP if config["custom_text"] else CLIP
    with torch.device("meta"):
        model: CLIP | CustomTextCLIP = kind(vision_cfg=_BLIND, **{key: config[key] for key in _READ if key in config})
    del model.visual
    return model


def _looks(text: Tensors | CLIP | CustomTextCLIP) -> dict[str, Any]:
    state = text if isinstance(text, dict) else text.state_dict()
    return {name: (value.shape, value.dtype) for name, value in state.items()}


def _check_config(about: dict[str, Any], tensors: int) -> None:
    """What open_clip would look for elsewhere, or build without end."""
    config, text = about["config"], about["config"].get("text_cfg")
    if not isinstance(text, dict) or type(config.get("custom_text")) is not bool or "multimodal_cfg" in config:
        raise ValueError("its configuration is not that of a CLIP")
    if text.get("hf_model_name") or text.get("hf_tokenizer_name"):
        raise ValueError("its configuration names files of Hugging Face")
    if type(text.get("layers", 12)) is not int or not 0 < text.get("layers", 12) <= tensors:
        raise ValueError("it has fewer weights than its configuration has layers")
    if about["activation"] != ("quick_gelu" if config.get("quick_gelu", False) else "gelu"):
        raise ValueError("its activation is not that of its configuration")


def _own(name: str, found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """In memory of torch's own: how a product is added up may depend on where its factors lie."""
    if found.shape != wanted.shape or found.dtype not in (wanted.dtype, torch.float16):
        raise ValueError(f"{name} is {found.dtype} {list(found.shape)}, expected {wanted.dtype} {list(wanted.shape)}")
    value = torch.empty(wanted.shape, dtype=wanted.dtype).copy_(found)
    if not value.isfinite().all():
        raise ValueError(f"{name} has values that are not numbers")
    return value


def _halved(value: torch.Tensor) -> torch.Tensor:
    """In half precision, where that loses nothing."""
    half = value.half()
    return half if torch.equal(half.to(value.dtype), value) else value.contiguous()


def _made_table(about: dict[str, Any], wanted: Tensors, tokenizer: SimpleTokenizer) -> torch.Tensor:
    shape = tuple(wanted[_TABLE].shape)
    if shape[0] != tokenizer.vocab_size or shape[1] != wanted["positional_embedding"].shape[1]:
        raise ValueError(f"its token table has {shape[0]} rows, its tokenizer {tokenizer.vocab_size} tokens")
    return token_table(about["token_table_seed"], *shape).clone()


def _tokenizer_facts(backbone: Backbone) -> dict[str, Any]:
    """What open_clip's own tokenizer is made from; another would need files that are not in the store."""
    name, text = backbone.about["model"], backbone.config["text_cfg"]
    settings = text.get("tokenizer_kwargs") or {}
    if type(backbone.tokenizer) is not SimpleTokenizer or settings.keys() - {"clean"}:
        which = text.get("hf_tokenizer_name") or type(backbone.tokenizer).__name__
        raise UsageError(f"model {name}: its tokenizer ({which}) is not open_clip's own, so its text tower is not kept")
    return {"clean": settings.get("clean", CLEANING[0]), "vocabulary_sha256": _vocabulary(backbone.tokenizer)}


def _tokenizer(facts: dict[str, Any]) -> SimpleTokenizer:
    if facts.get("clean") not in CLEANING or facts.keys() != {"clean", "vocabulary_sha256"}:
        raise ValueError("its tokenizer is not open_clip's own")
    tokenizer = SimpleTokenizer(clean=facts["clean"])
    if _vocabulary(tokenizer) != facts["vocabulary_sha256"]:
        raise ValueError(f"open_clip {open_clip.__version__} has another vocabulary than the one it was made with")
    return tokenizer


def _vocabulary(tokenizer: SimpleTokenizer) -> str:
    return hashlib.sha256("\n".join(tokenizer.encoder).encode()).hexdigest()
