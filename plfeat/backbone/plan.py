"""A model name and a weights tag or file in, what will be loaded and how its pictures have to look out. No weights are
touched.

The activation is taken from the *tag's* own record: open_clip builds `ViT-B-16` with GELU and only warns when the
`openai` weights, trained with QuickGELU, are loaded into it. Features made that way are wrong and look right.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
from open_clip.transform import PreprocessCfg

from plfeat.backbone import hub
from plfeat.backbone.names import INCLUDED, choose, models, shipped, tags_of
from plfeat.backbone.preprocess import recorded, settled
from plfeat.errors import PlfeatError, UsageError, first_line


@dataclass(frozen=True)
class Plan:
    """What will be loaded; made without touching any weights. `pretrained` is a tag, a file, `random:SEED`, or INCLUDED
    where the name leads to a folder or repository that holds both the model and its weights. `source` is what open_clip
    is asked for: the name, or the folder of the hub's cache where the hub itself does not answer. `config` is what
    open_clip builds the model from."""

    name: str
    pretrained: str
    tag: dict[str, Any]
    quick_gelu: bool
    preprocess: PreprocessCfg
    source: str
    config: dict[str, Any]

    @property
    def activation(self) -> str:
        return "quick_gelu" if self.quick_gelu else "gelu"


def plan(
    name: str,
    pretrained: str | None = None,
    activation: str | None = None,
    preprocess: Mapping[str, Any] | None = None,
) -> Plan:
    """Resolve names to facts. `activation` is what the weights in a file were trained with; `preprocess` on what
    pictures, where they do not say so themselves: `like` a tag, or `mean`, `std`, `interpolation` and `resize`."""
    for config in shipped():
        if config.stem not in open_clip.list_models():
            open_clip.add_model_config(config)
    chosen, said = choose(name, pretrained), preprocess or {}
    found = _elsewhere(name, said) if chosen == INCLUDED else _known(name, chosen, activation, said)
    if activation not in (None, found.activation):
        raise UsageError(
            f"--activation {activation}: weights {found.pretrained!r} of {name} were trained with {found.activation}; "
            "it is for weights from a file"
        )
    return found


def _known(name: str, pretrained: str, activation: str | None, said: Mapping[str, Any]) -> Plan:
    config, records = open_clip.get_model_config(name), tags_of(name)
    built_quick = bool(config.get("quick_gelu", False))
    if pretrained in records:
        return _tagged(name, config, pretrained, said)
    if pretrained.startswith("random:"):
        look = settled("random weights", config, records, built_quick, said, recorded(config, {}))
        return Plan(name, pretrained, {}, built_quick, look, name, config)
    quick = _activation_of_file(name, built_quick, activation)
    look = settled(f"weights of {name} from a file", config, records, quick, said)
    return Plan(name, pretrained, {}, quick, look, name, config)


def _tagged(name: str, config: dict[str, Any], pretrained: str, said: Mapping[str, Any]) -> Plan:
    tag = tags_of(name)[pretrained]
    if said:
        raise UsageError(
            f"--preprocess: weights {pretrained!r} of {name} say themselves what pictures they were trained on; it is "
            "for weights from a file"
        )
    return Plan(name, pretrained, tag, bool(tag.get("quick_gelu", False)), recorded(config, tag), name, config)


def _activation_of_file(name: str, built_quick: bool, said: str | None) -> bool:
    """A file does not say what its weights were trained with, and the wrong guess gives features that look right."""
    if said is not None:
        return said == "quick_gelu"
    if not built_quick and f"{name}-quickgelu" in models():
        raise UsageError(
            f"weights of {name} from a file: say what they were trained with, --activation quick_gelu (OpenAI's, "
            "DFN's, MetaCLIP's) or --activation gelu (LAION's, DataComp's)"
        )
    return built_quick


def _elsewhere(name: str, said: Mapping[str, Any]) -> Plan:
    """A model that brings its own configuration and weights."""
    kind, _, where = name.partition(":")
    file, there = hub.config(where) if kind == "hf-hub" else (Path(where) / "open_clip_config.json", True)
    try:
        whole = json.loads(file.read_text(encoding="utf-8"))
        config, own = dict(whole["model_cfg"]), dict(whole.get("preprocess_cfg") or {})
        quick, default = bool(config.get("quick_gelu", False)), recorded(config, own)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PlfeatError(f"model {name} has no readable open_clip_config.json ({first_line(error)})") from error
    # a folder without preprocess_cfg says no more than a file does; what else it may be is known by its shape
    records = {} if own else _records_like(config)
    look = settled(f"model {name} has no preprocess_cfg", config, records, quick, said, default if own else None)
    source = name if there else f"local-dir:{file.parent}"
    return Plan(name, INCLUDED, {}, quick, look, source, config)


def _records_like(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The tags, as MODEL:TAG, of all models that are built just like this one."""
    same = [name for name in open_clip.list_models() if open_clip.get_model_config(name) == config]
    return {f"{name}:{tag}": record for name in same for tag, record in tags_of(name).items()}
