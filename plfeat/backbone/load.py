"""A model name and a weights tag in, a frozen open_clip model with everything that identifies it out.

The activation is taken from the *tag's* own record: open_clip builds `ViT-B-16` with GELU and only warns when the
`openai` weights, trained with QuickGELU, are loaded into it. Features made that way are wrong and look right.
"""

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.factory import load_checkpoint
from open_clip.transform import PreprocessCfg, merge_preprocess_dict
from open_clip.transformer import QuickGELU
from safetensors import safe_open
from torch import nn

from plfeat.backbone import hub
from plfeat.errors import PlfeatError, UsageError, first_line, unknown

TABLE_SEED = "token_table_seed"
"""Metadata key of a safetensors file whose frozen token table is made from this seed instead of stored."""

INCLUDED = "included"

_shipped: dict[str, dict[str, dict[str, Any]]] = {}


@dataclass(frozen=True)
class Plan:
    """What will be loaded; made without touching any weights. `pretrained` is a tag, a file, `random:SEED`, or INCLUDED
    where the name leads to a folder or repository that holds both the model and its weights. `source` is what open_clip
    is asked for: the name, or the folder of the hub's cache where the hub itself does not answer."""

    name: str
    pretrained: str
    tag: dict[str, Any]
    quick_gelu: bool
    preprocess: PreprocessCfg
    source: str

    @property
    def activation(self) -> str:
        return "quick_gelu" if self.quick_gelu else "gelu"


@dataclass(frozen=True)
class Backbone:
    """A frozen open_clip model in eval mode, its tokenizer, and `about`: the facts that go into a fingerprint."""

    model: nn.Module
    tokenizer: Any
    preprocess: PreprocessCfg
    about: dict[str, Any]


def ship(config: Path, tag: str, weights: Path) -> None:
    """Make the model `config.stem` known to open_clip, with weights that come with this package."""
    if config.stem not in open_clip.list_models():
        open_clip.add_model_config(config)
    _shipped.setdefault(config.stem, {})[tag] = {"file": str(weights)}


def tags_of(name: str) -> list[str]:
    return [*open_clip.list_pretrained_tags_by_model(name), *_shipped.get(name, {})]


def plan(name: str, pretrained: str | None = None, activation: str | None = None) -> Plan:
    """Resolve names to facts. Without `pretrained`: `openai` where that exists, else the only tag there is.
    `activation` is what the weights in a file were trained with."""
    if ":" in name:
        return _plan_elsewhere(name, pretrained)
    if name not in open_clip.list_models():
        raise unknown("model", name, open_clip.list_models())
    config = open_clip.get_model_config(name)
    built_quick = bool(config.get("quick_gelu", False))
    tags = tags_of(name)
    if pretrained is None:
        pretrained = "openai" if "openai" in tags else tags[0] if len(tags) == 1 else None
    if pretrained is None:
        raise UsageError(
            f"model {name} needs --pretrained: one of {', '.join(tags) or 'no known tag'}, a file or random:SEED"
        )
    if pretrained in tags:
        tag = _shipped.get(name, {}).get(pretrained) or open_clip.get_pretrained_cfg(name, pretrained)
        quick = bool(tag.get("quick_gelu", False))
        if built_quick and not quick:
            raise UsageError(
                f"model {name} is built with QuickGELU but weights {pretrained!r} were trained with GELU; "
                f"use the model without QuickGELU, or other weights: {', '.join(tags)}"
            )
    elif pretrained.startswith("random:"):
        tag, quick = dict[str, Any](), built_quick
    elif Path(pretrained).is_file():
        tag, quick = dict[str, Any](), _activation_of_file(name, built_quick, activation)
    else:
        raise unknown(f"pretrained tag of {name}", pretrained, tags)
    return Plan(name, pretrained, tag, quick, _preprocess(config, tag), name)


def _activation_of_file(name: str, built_quick: bool, said: str | None) -> bool:
    """A file does not say what its weights were trained with, and the wrong guess gives features that look right."""
    if said is not None:
        return said == "quick_gelu"
    if not built_quick and f"{name}-quickgelu" in open_clip.list_models():
        raise UsageError(
            f"weights of {name} from a file: say what they were trained with, --activation quick_gelu (OpenAI's, "
            "DFN's, MetaCLIP's) or --activation gelu (LAION's, DataComp's)"
        )
    return built_quick


def _plan_elsewhere(name: str, pretrained: str | None) -> Plan:
    """`local-dir:PATH` or `hf-hub:ORG/REPO`: a model that brings its own configuration and weights."""
    kind, _, where = name.partition(":")
    if kind not in ("local-dir", "hf-hub") or not where:
        raise UsageError(f"model {name!r}: expected a name, local-dir:PATH or hf-hub:ORG/REPO")
    if pretrained not in (None, INCLUDED):
        raise UsageError(f"model {name} brings its own weights; leave --pretrained out")
    file, there = hub.config(where) if kind == "hf-hub" else (Path(where) / "open_clip_config.json", True)
    source = name if there else f"local-dir:{file.parent}"
    try:
        whole = json.loads(file.read_text(encoding="utf-8"))
        config, preprocess = whole["model_cfg"], whole.get("preprocess_cfg", {})
        return Plan(name, INCLUDED, {}, bool(config.get("quick_gelu", False)), _preprocess(config, preprocess), source)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PlfeatError(f"model {name} has no readable open_clip_config.json ({first_line(error)})") from error


def _preprocess(config: dict[str, Any], tag: dict[str, Any]) -> PreprocessCfg:
    size = config.get("vision_cfg", {}).get("image_size", 224)
    base = PreprocessCfg(size=tuple(size) if isinstance(size, list) else size)
    return PreprocessCfg(**{**merge_preprocess_dict(base, tag), "size": base.size})


def load(chosen: Plan) -> Backbone:
    """Build the model with the plan's activation, load its weights, freeze it."""
    own = chosen.pretrained == INCLUDED or chosen.pretrained.startswith("random:")
    weights = None if own else _weights_file(chosen)  # first, since it is what may not be there
    tokenizer = _tokenizer(chosen)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_random_seed(chosen.pretrained))
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
    if weights is not None:
        _load_weights(model, chosen, weights)
    for name, value in model.named_parameters():
        if not value.isfinite().all():
            raise PlfeatError(
                f"model {chosen.name} with weights {chosen.pretrained!r}: {name} has values that are not numbers; the "
                "weights are damaged, get them again"
            )
    model.requires_grad_(False)
    model.eval()
    about = {
        "model": chosen.name,
        "pretrained": chosen.pretrained if own or chosen.tag else "file",
        "weights_sha256": hash_weights(model),
        "activation": found,
    }
    return Backbone(model, tokenizer, chosen.preprocess, about)


def _build(chosen: Plan) -> nn.Module:
    if chosen.pretrained != INCLUDED:
        return open_clip.create_model(chosen.name, force_quick_gelu=chosen.quick_gelu, pretrained_text=False)
    try:
        return open_clip.create_model(chosen.source, require_pretrained=True)
    except Exception as error:  # a foreign or damaged file can fail in any way
        raise PlfeatError(
            f"model {chosen.name}: its weights cannot be had or do not fit ({first_line(error)[:120]})"
        ) from error


def hash_weights(model: nn.Module) -> str:
    """SHA-256 over every tensor of the state, whatever file it came from."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().view(-1).cpu().numpy().tobytes())
    return digest.hexdigest()


def token_table(seed: int, rows: int, width: int) -> torch.Tensor:
    """A frozen table of N(0, 0.08^2) tokens. RandomState, because numpy promises never to change its stream."""
    return torch.from_numpy(0.08 * np.random.RandomState(seed).standard_normal((rows, width))).float()


def _random_seed(pretrained: str) -> int:
    kind, _, seed = pretrained.partition(":")
    if kind != "random":
        return 0
    if not (seed.isascii() and seed.isdecimal() and int(seed) < 1 << 63):
        raise UsageError(f"--pretrained {pretrained}: expected random:SEED with a whole number, for example random:0")
    return int(seed)


def _load_weights(model: nn.Module, chosen: Plan, path: str) -> None:
    try:
        missing, unexpected = load_checkpoint(model, path, strict=False)
    except Exception as error:  # a foreign or damaged file can fail in any way
        raise PlfeatError(f"weights {path} cannot be read as {chosen.name} ({type(error).__name__})") from error
    missing = [name for name in missing if not _complete(model, name, path)]
    if missing or unexpected:
        raise PlfeatError(
            f"weights {path} do not fit model {chosen.name}: {len(missing)} tensors missing, "
            f"{len(unexpected)} unexpected, for example {[*missing, *unexpected][0]}"
        )


def _complete(model: nn.Module, name: str, path: str) -> bool:
    """Make the token table of a file that stores the table's seed instead of the table."""
    if name != "token_embedding.weight" or not path.endswith(".safetensors"):
        return False
    with safe_open(path, framework="pt") as file:
        seed = (file.metadata() or {}).get(TABLE_SEED)
    if seed is None:
        return False
    weight = model.get_parameter(name)
    weight.data.copy_(token_table(int(seed), *weight.shape))
    return True


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
