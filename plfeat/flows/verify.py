"""Is a store still what it was, and would it be made like that today? Asks the store alone: no annotation is read."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from plfeat.errors import CacheError, DataError
from plfeat.extract.find import files_of
from plfeat.extract.plan import FRAMES, Takes, Wanted, cut, lacking, rest_of, wanted
from plfeat.flows.extract import Tell, keep_texts, make, quiet
from plfeat.means import Means
from plfeat.progress import MODEL, load_torch, stage
from plfeat.recipe import Recipe, Take
from plfeat.records import Tick, silent
from plfeat.shards.catalogue import read_catalogue
from plfeat.shards.growth import Growth, require_same
from plfeat.shards.room import files_in
from plfeat.shards.schema import FAILED
from plfeat.shards.store import TEXT, Store, open_store, read_recipe
from plfeat.shards.upkeep import problems, remove_damaged, unfinished

if TYPE_CHECKING:
    from plfeat.extract.again import Live
    from plfeat.frames.kit import Kit


@dataclass(frozen=True)
class Verdict:
    path: Path
    problems: list[str]
    remarks: list[str]  # what is no damage
    repaired: bool
    live: "Live | None"


def verify(
    folder: Path,
    live: int,
    repair: bool,
    root: Path | None,
    weights: Path | None,
    tick: Tick,
    means: Means,
    tell: Tell = quiet,
) -> Verdict:
    read_recipe(folder)  # without it nothing can be said, nor made again
    found = list(problems(folder, tick))
    repaired = bool(found and repair)
    if repaired:
        mend(folder, root, weights, means, tick, tell)
        left = list(problems(folder, tick))
        if left:
            raise CacheError(f"store {folder}: could not be repaired: {left[0]}")
    checked = again(folder, live, root, weights, means, tick) if live and (repaired or not found) else None
    remarks = list(unfinished(folder)) if repaired or not found else []
    return Verdict(folder, found, remarks, repaired, checked)


def again(
    folder: Path, count: int, root: Path | None, weights: Path | None, means: Means, tick: Tick = silent
) -> "Live":
    """Makes `count` of the features that a store has once more: takes of videos, evenly spread over those whose files
    are there."""
    store = open_store(folder)
    keys = sorted({key for take in store.takes for key in store.index(take).where})
    files = dict(files_of(read_catalogue(folder), keys, root))
    good = [(key, take) for take in store.takes for key in sorted(store.index(take).where) if _there(store, key, take)]
    good = [(key, take) for key, take in good if key.partition("#")[0] in files]
    if not good:
        raise DataError(
            f"store {folder}: none of its videos is {f'under {root}' if root else 'where it was seen'}; "
            "name their folder with --root"
        )
    load_torch(tick)
    from plfeat.extract.again import made_again, spread

    chosen = spread(good, count)
    kit = _kit(folder, store.recipe, [take for _, take in chosen], weights, tick)
    return made_again(kit, chosen, store.index, files, means, tick)


def mend(folder: Path, root: Path | None, weights: Path | None, means: Means, tick: Tick, tell: Tell = quiet) -> None:
    """Takes away what is damaged, and makes again what the store's lists lack of the takes that were made for them."""
    recipe = read_recipe(folder)
    had_tower = any(name.startswith("tower-") for name in files_in(folder, TEXT))
    remove_damaged(folder, tick)
    load_torch(tick)
    with Growth(folder, recipe, tick) as growth:
        store = growth.finish()
        lists = [(store.read_list(name), takes_of_list(store, name)) for name in store.lists]
        want: Wanted = {}
        for videos, takes in lists:
            for key, mine in wanted(videos, takes).items():
                want[key] = tuple(dict.fromkeys((*want.get(key, ()), *mine)))
        want = dict(sorted(want.items()))
        lacks = lacking(growth, want)
        kit = _kit(folder, recipe, [take for takes in want.values() for take in takes], weights, tick)
        files = dict(files_of(read_catalogue(folder), lacks, root))
        lost = [key for key in lacks if key.partition("#")[0] not in files]
        if lost:
            raise CacheError(
                f"store {folder}: {len(lost)} videos have to be made again and are not where they were seen; "
                "name their folder with --root"
            )
        todo = rest_of(cut(want, None, FRAMES[kit.encoder.device.type]), lacks)
        if todo:
            make(kit, growth, todo, want, files, means, tick, tell, set())
        for videos, _ in lists:
            keep_texts(growth, kit, videos.words, had_tower, tick, tell)
        growth.finish()


def takes_of_list(store: Store, name: str) -> dict[str, Takes]:
    """Those that were made for a list; where the store does not know that any more, the centres that it has."""
    takes = store.lists[name].takes
    if any(takes.values()):
        return takes
    return dict.fromkeys(("train", "other"), tuple(take for take in store.takes if take.kind == "centre"))


def _there(store: Store, key: str, take: Take) -> bool:
    at = store.index(take).shard(key)
    return at is not None and at[0].shard.status_N[at[1]] != FAILED


def _kit(folder: Path, recipe: Recipe, takes: list[Take], weights: Path | None, tick: Tick) -> "Kit":
    from plfeat.flows.backbones import open_backbone
    from plfeat.frames.kit import config_of, gather

    also = sorted({take.output for take in takes} - {"features"})
    with stage(tick, MODEL):
        kit = gather(config_of(recipe, weights, also=also), open_backbone)
    require_same(kit.recipe, recipe, f"store {folder}")
    return kit
