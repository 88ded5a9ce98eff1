"""What there is: datasets, models and presets; what of a dataset is on disk; and the toy dataset, which can be made."""

import csv
from pathlib import Path
from typing import Any

from plfeat.backbone.names import models as known_models
from plfeat.backbone.names import tags_of
from plfeat.datasets import READERS, Place
from plfeat.datasets.check import Check
from plfeat.datasets.check import check as compare
from plfeat.errors import UsageError
from plfeat.presets import PRESETS
from plfeat.progress import stage
from plfeat.records import CONTROL, Tick
from plfeat.toy import shipped, videos
from plfeat.video.digest import digests

_EXAMPLES = 5
_PRESETS = Path(__file__).with_name("presets.csv")


def datasets() -> list[str]:
    return sorted(READERS)


def check_dataset(name: str, root: Path, lists: Path | None, names: Path | None, tick: Tick) -> Check:
    """`root` may also be the one file that lists everything; the videos then lie beside it."""
    if lists is None and root.is_file():
        root, lists = root.parent, root
    place = Place(name, root, lists or root, names)
    with stage(tick, "reading the list"):
        videos = READERS[name](place)
    with stage(tick, "finding the files"):
        return compare(videos, place, digests)


def check_table(found: Check) -> list[list[str]]:
    """A header, every split of every fold, and the classes that lack something."""
    lacking = [count for count in found.classes if count.missing or count.canonical not in (None, count.listed)]
    splits = [(f"fold {count.fold} " if count.fold else "split ") + count.name for count in found.splits]
    rows = [*zip(splits, found.splits, strict=True), *((count.name, count) for count in lacking)]
    cells = [
        [name, *map(str, (c.listed, c.found, c.missing, "" if c.canonical is None else c.canonical))]
        for name, c in rows
    ]
    return [["", "listed", "found", "missing", "published"], *cells]


def check_remarks(found: Check) -> list[str]:
    """What the counts do not say, with a few examples each."""
    remarks = []
    if found.canonical_classes not in (None, len(found.classes)):
        remarks.append(f"{len(found.classes)} classes are listed, {found.canonical_classes} are published")
    if found.unlabelled:
        remarks.append(f"{found.unlabelled} without a label")
    for what, names in (
        ("missing", found.missing),
        ("empty", found.empty),
        ("listed twice, under several names", found.twice),
        ("unexpected", found.unexpected),
    ):
        if names:
            more = ", …" if len(names) > _EXAMPLES else ""
            remarks.append(f"{len(names)} {what}: {', '.join(map(_plain, names[:_EXAMPLES]))}{more}")
    return remarks


def _plain(name: str) -> str:
    """Without what would act on the terminal."""
    return CONTROL.sub("?", name)


def models() -> list[dict[str, Any]]:
    shipped.offer()
    return [{"model": name, "pretrained": list(tags_of(name))} for name in known_models()]


def presets() -> list[dict[str, Any]]:
    """What each method is, what it costs, how far it gets on the toy world (`with` which settings, if not its own), and
    its settings."""
    with _PRESETS.open(encoding="utf-8", newline="") as file:
        said = {row.pop("preset"): row for row in csv.DictReader(file)}
    return [{"preset": name, **said[name], "settings": settings} for name, settings in PRESETS.items()]


def presets_table(known: list[dict[str, Any]]) -> list[list[str]]:
    cells = [
        [each["preset"], each["what"], each["cost"], each["toy"] + ("*" if each["with"] else "")] for each in known
    ]
    return [["preset", "what it is", "cost", "toy"], *cells]


def presets_remarks(known: list[dict[str, Any]]) -> list[str]:
    """What the columns mean."""
    other = [f"{each['preset']}: {each['with']}" for each in known if each["with"]]
    return [
        "cost: CPU time that learning takes on the toy world, about; prompts = 1",
        "toy: % right of the toy world's test videos (reports/ladder), which say nothing about real ones",
        *([f"* with other settings; {'; '.join(other)}"] if other else []),
        "settings: plfeat train --print-config --preset NAME",
    ]


def make_dataset(name: str, out: Path, count: int, seed: int, tick: Tick) -> bool:
    """Write a dataset that can be made. False if that very one is already there."""
    if name != "toy":
        READERS[name]  # an unknown name is told so first
        raise UsageError(f"dataset {name!r} cannot be made; only toy can")
    return videos.make(out, count, seed, tick)
