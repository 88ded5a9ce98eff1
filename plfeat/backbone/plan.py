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
from plfeat.backbone.preprocess import recorded, settled
from plfeat.errors import PlfeatError, UsageError, first_line, unknown

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


def ship(config: Path, tag: str, weights: Path) -> None:
    """Make the model `config.stem` known to open_clip, with weights that come with this package."""
    if config.stem not in open_clip.list_models():
        open_clip.add_model_config(config)
    _shipped.setdefault(config.stem, {})[tag] = {"file": str(weights)}


def tags_of(name: str) -> list[str]:
    return [*open_clip.list_pretrained_tags_by_model(name), *_shipped.get(name, {})]


def plan(
    name: str,
    pretrained: str | None = None,
    activation: str | None = None,
    preprocess: Mapping[str, Any] | None = None,
) -> Plan:
    """Resolve names to facts. Without `pretrained`: `openai` where that exists, else the only tag there is.
    `activation` is what the weights in a file were trained with; `preprocess` on what pictures, where they do not say
    so themselves: `like` a tag, or `mean`, `std`, `interpolation` and `resize`."""
    said = preprocess or {}
    found = _elsewhere(name, pretrained, said) if ":" in name else _known(name, pretrained, activation, said)
    if activation not in (None, found.activation):
        raise UsageError(
            f"--activation {activation}: weights {found.pretrained!r} of {name} were trained with {found.activation}; "
            "it is for weights from a file"
        )
    return found


def _known(name: str, pretrained: str | None, activation: str | None, said: Mapping[str, Any]) -> Plan:
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
        return _tagged(name, config, pretrained, said)
    if pretrained.startswith("random:"):
        look = settled("random weights", config, _records(name), built_quick, said, recorded(config, {}))
        return Plan(name, pretrained, {}, built_quick, look, name)
    if not Path(pretrained).is_file():
        raise unknown(f"pretrained tag of {name}", pretrained, tags)
    quick = _activation_of_file(name, built_quick, activation)
    look = settled(f"weights of {name} from a file", config, _records(name), quick, said)
    return Plan(name, pretrained, {}, quick, look, name)


def _tagged(name: str, config: dict[str, Any], pretrained: str, said: Mapping[str, Any]) -> Plan:
    tag = _records(name)[pretrained]
    quick = bool(tag.get("quick_gelu", False))
    if config.get("quick_gelu", False) and not quick:
        raise UsageError(
            f"model {name} is built with QuickGELU but weights {pretrained!r} were trained with GELU; "
            f"use the model without QuickGELU, or other weights: {', '.join(tags_of(name))}"
        )
    if said:
        raise UsageError(
            f"--preprocess: weights {pretrained!r} of {name} say themselves what pictures they were trained on; it is "
            "for weights from a file"
        )
    return Plan(name, pretrained, tag, quick, recorded(config, tag), name)


def _records(name: str) -> dict[str, dict[str, Any]]:
    """What is known of each tag of a model."""
    known = {tag: open_clip.get_pretrained_cfg(name, tag) for tag in open_clip.list_pretrained_tags_by_model(name)}
    return known | _shipped.get(name, {})


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


def _elsewhere(name: str, pretrained: str | None, said: Mapping[str, Any]) -> Plan:
    """`local-dir:PATH` or `hf-hub:ORG/REPO`: a model that brings its own configuration and weights."""
    kind, _, where = name.partition(":")
    if kind not in ("local-dir", "hf-hub") or not where:
        raise UsageError(f"model {name!r}: expected a name, local-dir:PATH or hf-hub:ORG/REPO")
    if pretrained not in (None, INCLUDED):
        raise UsageError(f"model {name} brings its own weights; leave --pretrained out")
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
    return Plan(name, INCLUDED, {}, quick, look, name if there else f"local-dir:{file.parent}")


def _records_like(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The tags, as MODEL:TAG, of all models that are built just like this one."""
    same = [name for name in open_clip.list_models() if open_clip.get_model_config(name) == config]
    return {f"{name}:{tag}": record for name in same for tag, record in _records(name).items()}
