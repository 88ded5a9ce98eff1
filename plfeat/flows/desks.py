"""A folder in, a desk out: which store, which of its lists, how the videos are divided, what the classes are called."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from plfeat.config import DataConfig
from plfeat.datasets import assign
from plfeat.datasets.names import class_names
from plfeat.datasets.tables import read_table
from plfeat.desk import Desk, Takes, TextSide, require_any_label
from plfeat.errors import CacheError, UsageError, first_line, unknown
from plfeat.flows.caches import apart
from plfeat.model.templates import TEMPLATES
from plfeat.records import SPLITS, UNLABELLED, Tick, VideoList, silent
from plfeat.shards.growth import Growth
from plfeat.shards.lists import list_hash
from plfeat.shards.store import Store, find_stores, open_store
from plfeat.toy import shipped

_WAY = re.compile(r"-(?:[\d.]+(?:-[\d.]+){1,2}|\d+-folds)")
"""What a list's name gets to its end where its videos are divided in a second way."""


def choose_store(path: Path, dataset: str | None = None) -> Store:
    """The store at `path`, or the only one under it, or the only one there that has a list of that name."""
    found = find_stores(path)
    if not found:
        raise CacheError(
            f"no finished store under {path}; make one with `plfeat extract --dataset NAME`, "
            "or name another with --cache"
        )
    sound, errors = list[Store](), list[CacheError]()
    for folder in found:
        try:
            sound.append(open_store(folder))
        except CacheError as error:
            errors.append(error)
    if not sound:
        raise errors[0]
    having = [store for store in sound if dataset is None or dataset in store.lists]
    if not having:
        raise unknown("list", str(dataset), {name for store in sound for name in store.lists})
    if len(having) > 1:
        raise UsageError(f"{len(having)} stores under {path}; {_which(having)}")
    return having[0]


def find_one(path: Path) -> Path:
    """The folder of the store at `path`, or of the only one under it, sound or not."""
    found = find_stores(path)
    return found[0] if len(found) == 1 else choose_store(path).path


def _which(stores: Sequence[Store]) -> str:
    """What stores differ in, and how one is chosen."""
    lists = [set(store.lists) for store in stores]
    own = all(one - set[str]().union(*(other for other in lists if other is not one)) for one in lists)
    told = "; ".join(f"{path} ({facts})" for path, facts in apart([store.path for store in stores]).items())
    return f"choose one with --cache{' or --dataset' if own else ''}: {told}"


def choose_list(store: Store, dataset: str | None = None, divided: bool = False) -> VideoList:
    """The list of that name, or the only one; of those that are `divided` anew, the only one that did not come of
    dividing another."""
    names = list(store.lists)
    if dataset is None and divided and len(names) > 1:
        names = [name for name in names if not _came_of_dividing(name, names)]
    if dataset is None and len(names) > 1:
        listed = "; ".join(f"{name} ({_in_short(store.read_list(name))})" for name in sorted(names))
        raise UsageError(f"{len(names)} lists in {store.path}; choose one with --dataset: {listed}")
    if dataset is None and not names:
        raise CacheError(f"store {store.path} has no list; `plfeat extract --dataset NAME` makes one")
    return store.read_list(dataset or names[0])


def _came_of_dividing(name: str, lists: Sequence[str]) -> bool:
    return any(name.startswith(of) and _WAY.fullmatch(name.removeprefix(of)) for of in lists)


def _in_short(videos: VideoList) -> str:
    counts = Counter(row.split[0] for row in videos.rows)
    told = ", ".join(f"{counts[split]} {split}" for split in SPLITS if counts[split])
    return f"{len(videos.classes)} classes, {told}" + (f", {videos.folds} folds" if videos.folds > 1 else "")


@dataclass(frozen=True)
class Wanted:
    """What a command says of the list it works on. `split` and `folds` divide the list's videos anew; with `any_names`
    the names may be others than those of the list's classes."""

    dataset: str | None = None
    names: Path | None = None
    templates: Path | None = None
    split: str | None = None
    folds: int | None = None
    pretrained: str | None = None
    any_names: bool = False


def open_desk(path: Path, wanted: Wanted | None = None, data: DataConfig | None = None, tick: Tick = silent) -> Desk:
    """A store and a list, opened once."""
    shipped.offer()
    wanted = wanted or Wanted()
    if wanted.split is not None and wanted.folds is not None:
        raise UsageError("--split and --folds are two ways to divide videos; choose one")
    divides = wanted.split is not None or wanted.folds is not None
    store = choose_store(path, wanted.dataset)
    videos = choose_list(store, wanted.dataset, divides)
    words, free = videos.words, tuple[str, ...]()
    if wanted.names is not None:
        free = read_names(wanted.names, videos) if wanted.any_names else ()
        words = free or class_names(videos.classes, wanted.names)
    sentences = read_templates(wanted.templates) if wanted.templates else TEMPLATES
    if divides:
        store, videos = _divide(store, videos, wanted.split, wanted.folds)
    return Desk(
        store,
        videos,
        words=words,
        templates=sentences,
        data=data or DataConfig(),
        side=TextSide(store, wanted.pretrained, tick),
        labelled=not free,
    )


def read_names(path: Path, videos: VideoList) -> tuple[str, ...]:
    """Names that are not for the list's classes, from the column `name`; nothing where they are for these classes."""
    rows = [row for _, row in read_table(path, ("name",), ("class", "name"))]
    if any(row.get("class", "").strip() in videos.classes for row in rows):
        return ()
    found = [" ".join(row["name"].split()) for row in rows]
    if len(set(found)) < len(found) or not all(found) or len(found) < 2:
        raise UsageError(f"names {path}: expected at least two names, none of them empty and none twice")
    return tuple(found)


def can_be_scored(desk: Desk) -> bool:
    """Whether the words are those of the list's classes, and every video that is tested on has a label."""
    return desk.labelled and all(row.label != UNLABELLED for row in desk.videos.of(desk.evaluation, desk.fold))


def folds_of(desk: Desk, fold: int | None) -> list[Desk]:
    """Every fold, unless one is named."""
    return desk.folds() if fold is None else [desk.at(fold)]


def _divide(store: Store, videos: VideoList, split: str | None, folds: int | None) -> tuple[Store, VideoList]:
    """The list, divided as asked for, and kept in the store: under its own name if it was not divided before, or alike;
    else under a name that says how. Videos that were divided before keep their place."""

    def divided(before: VideoList | None) -> VideoList:
        if folds is not None:
            return assign.folds(videos, folds, before=before)
        return assign.split(videos, assign.read_shares(split or ""), before=before)

    require_any_label(videos)
    fresh = divided(None)
    if not assign.drawn(videos) or fresh.how == videos.how:
        made = divided(videos)
    else:
        way = f"{folds}-folds" if folds is not None else (split or "").replace("/", "-")
        name = f"{videos.name}-{way}"
        made = replace(divided(store.read_list(name) if name in store.lists else None), name=name)
    if made.name in store.lists and store.lists[made.name].hash == list_hash(made):
        return store, made
    with Growth(store.path, store.recipe) as growth:
        growth.put_list(made, _takes_of_all(store, made, store.lists[videos.name].takes))
        return growth.finish(), made


def _takes_of_all(store: Store, videos: VideoList, takes: Takes) -> Takes:
    """Of the takes that were made for a list before it was divided otherwise, those that all of its videos have now:
    one that was only tested on has no random views, and nobody has promised any."""
    rows = [row for row in videos.rows if row.video]
    keys = {
        "train": [row.video for row in rows if "train" in row.split],
        "other": [row.video for row in rows if set(row.split) != {"train"}],
    }
    return {of: tuple(take for take in takes[of] if not store.lacks(keys[of], take)) for of in keys}


def read_templates(path: Path) -> tuple[str, ...]:
    """One a line, each with {} where the class name goes."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, ValueError) as error:
        raise UsageError(f"templates {path} cannot be read: {first_line(error)}") from error
    templates = tuple(line for line in lines if line and not line.startswith("#"))
    for number, line in enumerate(lines, 1):
        if line in templates and line.count("{}") != 1:
            raise UsageError(f"templates {path}:{number}: expected one {{}} for the class name, found {line[:60]!r}")
    if not templates or len(set(templates)) < len(templates):
        raise UsageError(f"templates {path}: expected at least one sentence, and none twice")
    return templates
