"""Runs in, what tells them apart out, in the words that a table uses: the list, the features, the frames."""

from pathlib import PurePath
from typing import Any

from plfeat.errors import CacheError
from plfeat.files import sha256_of_json
from plfeat.recipe import Take
from plfeat.records import Run
from plfeat.report.runs import is_word


def names_of_features(runs: list[Run]) -> dict[str, str]:
    """What the features of each fingerprint are called: by as little as tells all of them apart, such as the model, and
    by the fingerprint where no record says what it means. Of one alone nothing needs to be said."""
    facts = {fingerprint_of(run): _facts(run.about.get("recipe") or {}) for run in runs}
    if len(facts) == 1:
        return dict.fromkeys(facts, "")
    told = dict.fromkeys(key for own in facts.values() for key in own)
    differing = [fact for fact in told if len({own.get(fact) for own in facts.values()}) > 1]
    for many in range(1, len(differing) + 1):
        names = {key: ", ".join(own[fact] for fact in differing[:many] if fact in own) for key, own in facts.items()}
        if "" not in names.values() and len(set(names.values())) == len(names):
            return names
    return {key: f"@{key[:6]}" for key in facts}


def fingerprint_of(run: Run) -> str:
    return str(run.about.get("fingerprint", "?"))


def _facts(recipe: dict[str, Any]) -> dict[str, str]:
    """The most telling first. The hash of an encoder tells nobody anything: where it comes from does."""
    encoder, source, preprocess = (_part(recipe, name) for name in ("encoder", "source", "preprocess"))
    found = {"model": encoder.get("model"), "pretrained": PurePath(str(source.get("pretrained", ""))).name}
    more = {key: value for key, value in encoder.items() if key not in ("model", "image_sha256")} | preprocess
    more |= {key: recipe.get(key) for key in ("decoder", "dtype", "compute")}
    found |= {key: f"{key}={value}" for key, value in more.items() if value is not None}
    return {key: value for key, value in found.items() if value and is_word(value)}


def _part(recipe: dict[str, Any], name: str) -> dict[str, Any]:
    part = recipe.get(name)
    return part if isinstance(part, dict) else {}


def names_of_takes(runs: list[Run]) -> dict[str, str]:
    """How many frames and views were looked at; takes that this does not tell apart have a hash besides."""
    names = {takes_of(run): _views(run.about.get("takes") or {}) for run in runs}
    if len(names) == 1:
        return dict.fromkeys(names, "")
    said = list(names.values())
    return {key: name if name and said.count(name) == 1 else f"{name} @{key}".strip() for key, name in names.items()}


def takes_of(run: Run) -> str:
    """The same for all runs that looked at the same takes."""
    return sha256_of_json(run.about.get("takes") or {})[:6]


def _views(takes: dict[str, list[str]]) -> str:
    frames = dict.fromkeys(_frames(name) for names in takes.values() for name in names)
    views = {of: len(names) for of, names in takes.items()}
    said = [" and ".join(frames)] if frames else []
    said += [f"{views['train']} views"] if views.get("train", 1) > 1 else []
    said += [f"{views['test']} test views"] if views.get("test", 1) > 1 else []
    return ", ".join(said)


def _frames(name: str) -> str:
    try:
        take = Take.named(name)
    except CacheError:
        return name
    return name if take.kind == "dense" else f"{take.frames} frames"
