"""What pictures a model's weights were trained on: their mean and deviation, how they were made square and small.

open_clip's tags say so of their weights. A file says nothing, and the wrong guess gives features that look right: it
gets what all tags of that model agree on, and the user is asked for the rest. In come configurations, records of tags
and what the user said, out comes a PreprocessCfg or an error; no weights are touched.
"""

from collections.abc import Mapping
from typing import Any

import open_clip
from open_clip.transform import PreprocessCfg, merge_preprocess_dict

from plfeat.errors import UsageError, unknown

FACTS = {"mean": "mean", "std": "std", "interpolation": "interpolation", "resize": "resize_mode"}
"""As a user says them, and as open_clip calls them."""

Records = Mapping[str, Mapping[str, Any]]
"""What is known of each tag."""

_EXAMPLE = {"mean": "[R,G,B]", "std": "[R,G,B]", "interpolation": "bicubic", "resize": "shortest"}


def recorded(config: Mapping[str, Any], record: Mapping[str, Any]) -> PreprocessCfg:
    """As a tag's record or a folder's preprocess_cfg has it; what that leaves out is as open_clip takes it."""
    for fact in ("mean", "std"):
        value = record.get(fact, [0, 0, 0])
        if not (isinstance(value, list | tuple) and len(value) == 3 and all(isinstance(x, int | float) for x in value)):
            raise ValueError(f"{fact} is {value!r}, expected three numbers")
    size = config.get("vision_cfg", {}).get("image_size", 224)
    base = PreprocessCfg(size=tuple(size) if isinstance(size, list) else size)
    return PreprocessCfg(**{**merge_preprocess_dict(base, dict(record)), "size": base.size})


def settled(
    what: str,
    config: Mapping[str, Any],
    records: Records,
    quick_gelu: bool,
    said: Mapping[str, Any],
    default: PreprocessCfg | None = None,
) -> PreprocessCfg:
    """What the user said; else what all tags agree on that were trained with this activation, or all tags if there are
    none; else the default; else a question."""
    same = {tag: record for tag, record in records.items() if bool(record.get("quick_gelu", False)) == quick_gelu}
    alike = {tag: _facts(recorded(config, record)) for tag, record in (same or records).items()}
    if "like" in said:
        alike = {said["like"]: _facts(recorded(config, _named(what, said["like"], records)))}
    groups = _groups(alike)
    agreed = {fact: groups[0][1][fact] for fact in FACTS if len({facts[fact] for _, facts in groups}) == 1}
    known = (_facts(default) if default else {}) | agreed | {fact: said[fact] for fact in FACTS if fact in said}
    unsaid = [fact for fact in FACTS if fact not in known]
    if unsaid:
        raise UsageError(_question(what, groups, unsaid))
    return recorded(config, {FACTS[fact]: value for fact, value in known.items()})


def _facts(look: PreprocessCfg) -> dict[str, Any]:
    values = {fact: getattr(look, theirs) for fact, theirs in FACTS.items()}
    return {fact: tuple(value) if isinstance(value, list) else value for fact, value in values.items()}


def _named(what: str, like: str, records: Records) -> Mapping[str, Any]:
    """The record of a tag of this model, or of MODEL:TAG."""
    model, colon, tag = like.rpartition(":")
    if like in records:
        return records[like]
    if not colon and not records:
        raise UsageError(f"{what}: open_clip knows no tags of such a model; say --preprocess MODEL:TAG, of another one")
    if not colon:
        raise unknown("tag in --preprocess", like, records)
    if model not in open_clip.list_models():
        raise unknown("model in --preprocess", model, open_clip.list_models())
    tags = open_clip.list_pretrained_tags_by_model(model)
    if tag not in tags:
        raise unknown(f"tag of {model} in --preprocess", tag, tags)
    record: Mapping[str, Any] = open_clip.get_pretrained_cfg(model, tag)
    return record


def _groups(alike: Mapping[str, dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Each different set of facts once, with the first tag that has it."""
    found: list[tuple[str, dict[str, Any]]] = []
    for tag, facts in alike.items():
        if all(facts != other for _, other in found):
            found.append((tag, facts))
    return found


def _question(what: str, groups: list[tuple[str, dict[str, Any]]], unsaid: list[str]) -> str:
    each = " ".join(f"--set 'preprocess.{fact}={_EXAMPLE[fact]}'" for fact in unsaid)
    if not groups:
        return (
            f"{what}: open_clip knows no weights of such a model, so say what pictures they were trained on: as those "
            f"of a tag, --preprocess MODEL:TAG (ViT-B-16:openai for what open_clip trains with by default), or {each}"
        )
    ways = ", ".join(f"--preprocess {tag} ({_in_words(facts, unsaid)})" for tag, facts in groups)
    return f"{what}: its tags differ in {', '.join(unsaid)}; say as which it was trained: {ways}, or {each}"


def _in_words(facts: Mapping[str, Any], which: list[str]) -> str:
    return ", ".join(f"{fact} {_short(facts[fact])}" for fact in which)


def _short(value: Any) -> str:
    return " ".join(f"{number:.3g}" for number in value) if isinstance(value, tuple) else str(value)
