"""Names of models and of their weights: which there are, and which are meant. Loads neither torch nor open_clip.

open_clip keeps a model's name as that of a file, and its weights in a table whose module imports torch. The statements
that make the table need nothing of it, so they are run alone; a test compares what comes of it with open_clip's own.
"""

import ast
import copy
import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from plfeat.errors import PlfeatError, UsageError, unknown

INCLUDED = "included"
"""In the place of a tag, where the name leads to a folder or repository that holds both the model and its weights."""

Tags = dict[str, dict[str, Any]]

_shipped: dict[str, tuple[Path, Tags]] = {}


def ship(config: Path, tag: str, weights: Path) -> None:
    """Make the model `config.stem` known, with weights that come with this package."""
    _, tags = _shipped.setdefault(config.stem, (config, {}))
    tags[tag] = {"file": str(weights)}


def shipped() -> list[Path]:
    """The configurations that open_clip has to be told of."""
    return [config for config, _ in _shipped.values()]


def models() -> list[str]:
    return sorted({path.stem for path in (_open_clip() / "model_configs").glob("*.json")} | _shipped.keys())


def built_quick(name: str) -> bool:
    """Is the model of that name built with QuickGELU?"""
    path = _shipped[name][0] if name in _shipped else _open_clip() / "model_configs" / f"{name}.json"
    return bool(json.loads(path.read_text(encoding="utf-8")).get("quick_gelu", False))


def tags_of(name: str) -> Tags:
    """The weights that are listed for a model, with what is written down of each."""
    own = _shipped[name][1] if name in _shipped else {}
    return {**_table().get(name, {}), **own}


def choose(name: str, pretrained: str | None = None) -> str:
    """Which weights are meant: a tag, a file, `random:SEED` or INCLUDED. Unnamed, `openai` where that exists, else the
    only tag there is. What cannot be is told here, before anything is loaded."""
    if ":" in name:
        return _elsewhere(name, pretrained)
    if name not in models():
        raise unknown("model", name, models())
    tags = tags_of(name)
    if pretrained is None:
        pretrained = "openai" if "openai" in tags else next(iter(tags)) if len(tags) == 1 else None
    if pretrained is None:
        raise UsageError(
            f"model {name} needs --pretrained: one of {', '.join(tags) or 'no known tag'}, a file or random:SEED"
        )
    if pretrained.startswith("random:"):
        seed_of(pretrained)
    elif pretrained not in tags and not Path(pretrained).is_file():
        raise unknown(f"pretrained tag of {name}", pretrained, tags)
    elif pretrained in tags and built_quick(name) and not tags[pretrained].get("quick_gelu", False):
        raise UsageError(
            f"model {name} is built with QuickGELU but weights {pretrained!r} were trained with GELU; "
            f"use the model without QuickGELU, or other weights: {', '.join(tags)}"
        )
    return pretrained


def seed_of(pretrained: str) -> int:
    """Of `random:SEED`; 0 for weights that are not random."""
    kind, _, seed = pretrained.partition(":")
    if kind != "random":
        return 0
    if not (seed.isascii() and seed.isdecimal() and int(seed) < 1 << 63):
        raise UsageError(f"--pretrained {pretrained}: expected random:SEED with a whole number, for example random:0")
    return int(seed)


def is_random(pretrained: str | None) -> bool:
    """Are these random weights, whose features mean nothing? No, where they are none that can be had."""
    try:
        return (pretrained or "").startswith("random:") and seed_of(pretrained or "") >= 0
    except UsageError:
        return False


def _elsewhere(name: str, pretrained: str | None) -> str:
    """`local-dir:PATH` or `hf-hub:ORG/REPO`: a model that brings its own configuration and weights."""
    kind, _, where = name.partition(":")
    if kind not in ("local-dir", "hf-hub") or not where:
        raise UsageError(f"model {name!r}: expected a name, local-dir:PATH or hf-hub:ORG/REPO")
    if pretrained not in (None, INCLUDED):
        raise UsageError(f"model {name} brings its own weights; leave --pretrained out")
    if kind == "local-dir" and not (Path(where) / "open_clip_config.json").is_file():
        raise PlfeatError(f"model {name} has no readable open_clip_config.json: there is no such file")
    return INCLUDED


def _open_clip() -> Path:
    found = find_spec("open_clip")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


@cache
def _table() -> dict[str, Tags]:
    """open_clip's own, by model and tag."""
    space: dict[str, Any] = {"copy": copy}
    try:
        for name in ("constants.py", "pretrained.py"):
            path = _open_clip() / name
            tree = ast.parse(path.read_text(encoding="utf-8"))
            tree.body = [node for node in tree.body if _makes_the_table(node)]
            exec(compile(tree, str(path), "exec"), space)
        return dict(space["_PRETRAINED"])
    except Exception:  # another release may write it down otherwise; then its own word is worth the seconds
        from open_clip.pretrained import _PRETRAINED

        return dict(_PRETRAINED)


def _makes_the_table(node: ast.stmt) -> bool:
    """Whatever computes; of the functions, those that fill in an entry."""
    fills_in = isinstance(node, ast.FunctionDef) and node.name.startswith("_") and node.name.endswith("cfg")
    return fills_in or isinstance(node, ast.Assign | ast.For | ast.Expr)
