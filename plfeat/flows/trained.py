"""Does a trained run fit what it is asked about? Found out from its files alone, before torch is loaded."""

from pathlib import Path
from typing import Any

from plfeat.config import TrainConfig
from plfeat.desk import Desk
from plfeat.errors import CacheError, DataError, UsageError
from plfeat.recipe import Take
from plfeat.report.runs import find_runs
from plfeat.train.member import MODEL, read_member


def fitting_runs(folders: list[Path], desk: Desk) -> dict[Path, dict[str, Any]]:
    """Every trained run at or below the folders, with what its header says: all of them can be tested at this desk."""
    return {folder: fitting_member(folder, desk)[1] for folder in trained_runs(folders)}


def trained_runs(folders: list[Path]) -> list[Path]:
    """Those at or below the folders that keep a model; a folder named itself has to."""
    found = find_runs(folders)
    trained = [folder for folder in found if (folder / MODEL).is_file()]
    for named in folders:
        if not any(folder == named or named in folder.parents for folder in trained):
            raise DataError(f"eval: no trained model under {named}; methods that learn nothing by gradient keep none")
    return trained


def able_member(folder: Path, top: int, explained: bool) -> tuple[TrainConfig, tuple[str, ...], dict[str, Any]]:
    """A run that can be asked about videos."""
    if top < 1:
        raise UsageError(f"top {top}: expected at least one class")
    config, classes, about = read_member(folder)
    if explained and config.method != "match":
        raise UsageError(f"--explain: a run of method {config.method} reads no text; there is nothing to look into")
    return config, classes, about


def fitting_member(folder: Path, desk: Desk) -> tuple[TrainConfig, dict[str, Any]]:
    """A member's settings and what its header says, or an error if it cannot be tested at this desk."""
    config, _, about = read_member(folder)
    try:
        taken = Take.named(about["takes"]["test"][0])
        check_backbone(folder, about["recipe"]["encoder"], desk)
        check_classes(folder, config, tuple(about["raw_classes"]), desk)
        _ = about["list"], about["dataset"], about["fold"], about["folds"], about["fingerprint"], about["templates"]
    except (KeyError, TypeError, IndexError) as error:
        raise DataError(f"run {folder}: its header says nothing about {error}; train it again") from error
    there = sorted(take.frames for take in desk.store.takes if take.kind == "centre" and take.output == "features")
    if config.head.kind.startswith("transf") and taken.kind != "dense" and taken.frames not in there:
        has = " and ".join(map(str, there)) or "none"
        raise DataError(f"run {folder}: its head reads {taken.frames} frames, store {desk.store.path} has {has}")
    return config, about


def check_backbone(folder: Path, made_by: dict[str, Any], desk: Desk) -> None:
    """Features of another backbone are numbers of another kind, even where the widths agree."""
    for fact in ("model", "image_sha256", "activation"):
        expected, found = made_by[fact], desk.store.recipe.encoder[fact]
        if found != expected:
            raise CacheError(
                f"run {folder}: trained over features with {fact} {expected[:16]}, "
                f"but store {desk.store.path} has {found[:16]}"
            )


def check_classes(folder: Path, config: TrainConfig, classes: tuple[str, ...], desk: Desk) -> None:
    """What belongs to a class by its place cannot meet other classes, or the same in another order."""
    learned = config.text.source == "contexts" and config.context.learn and config.context.sharing == "class"
    here = desk.videos.classes
    if classes == here or (config.method == "match" and not learned):
        return
    what = "its contexts are" if config.method == "match" else "its weights are"
    if sorted(classes) == sorted(here):
        place = next(i for i, pair in enumerate(zip(classes, here, strict=True)) if pair[0] != pair[1])
        raise DataError(
            f"run {folder}: class {place} was {classes[place]!r}, in list {desk.title} it is "
            f"{here[place]!r}: the same classes in another order"
        )
    raise DataError(
        f"run {folder}: {what} of its own {len(classes)} classes; list {desk.title} has {len(here)} others. "
        "What is to be tested on other classes has to share its contexts: --set context.sharing=shared"
    )
