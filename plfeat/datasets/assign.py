"""Which videos of a list to train on and which to test on: a `VideoList` in, the same with other splits out.

Every class is shared out as asked, videos that belong together stay together, and a seed draws the rest. The order of
rows plays no part. What an earlier version of the list has placed stays where it is, and new videos fill up the shares.

Videos belong together if they have a group, or a file's content, in common. Of a class, each share gets as many videos
as asked, give or take one group; and if the class has a group for every share, each share gets one. The second promise
is kept before the first, and neither can always be kept where groups hold videos of several classes.
"""

import hashlib
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from plfeat.errors import UsageError
from plfeat.records import SPLITS, UNLABELLED, Listed, VideoList

MOST_FOLDS = 100
_FINE = 1000  # a share is counted in thousandths of a percent, so that sums are exact
_HOW = re.compile(
    r"(?:(?P<shares>[0-9.]+/[0-9.]+/[0-9.]+)|(?P<k>[0-9]{1,3}) folds)"
    r" by class, groups whole, seed (?P<seed>-?[0-9]{1,19})"
)
_EXAMPLES = 5


def read_shares(text: str) -> tuple[float, ...]:
    """`read_shares("70/10/20") == (70, 10, 20)`: percent to train, validate and test on, or to train and test on."""
    try:
        shares = tuple(float(part) for part in text.split("/"))
    except ValueError:
        raise UsageError(f"shares {text[:40]!a}: expected percents such as 70/10/20 or 80/20") from None
    _weights(shares)
    return shares


def split(
    videos: VideoList,
    shares: Sequence[float] = (70, 10, 20),
    seed: int = 0,
    before: VideoList | None = None,
    over: bool = False,
) -> VideoList:
    """Into train, val and test by `shares` in percent, or into train and test by two. `over`: also if the list has
    splits of its own."""
    weights = _weights(shares)
    how = f"{'/'.join(f'{weight / _FINE:g}' for weight in weights)} by class, groups whole, seed {seed}"
    _refuse_own(videos, over)
    kept = _kept(videos, _earlier(videos, before, how), _part_of_split)
    part_N = _share_out(videos, weights, seed, kept, f"{sum(map(bool, weights))} splits")
    return _with(videos, how, ((SPLITS[part],) for part in part_N))


def folds(videos: VideoList, k: int, seed: int = 0, before: VideoList | None = None, over: bool = False) -> VideoList:
    """Into `k` parts; fold i tests on part i and trains on all others."""
    if not 2 <= k <= MOST_FOLDS:
        raise UsageError(f"{k} folds: expected 2 to {MOST_FOLDS}")
    how = f"{k} folds by class, groups whole, seed {seed}"
    _refuse_own(videos, over)
    kept = _kept(videos, _earlier(videos, before, how), _part_of_folds)
    part_N = _share_out(videos, [1] * k, seed, kept, f"{k} folds")
    splits = [tuple("test" if part == fold else "train" for fold in range(k)) for part in range(k)]
    return _with(videos, how, (splits[part] for part in part_N))


def grow(videos: VideoList, before: VideoList) -> VideoList:
    """As the earlier version was split; as they are, if its splits were not drawn here."""
    said = _HOW.fullmatch(before.how)
    if not said:
        return videos
    if said["k"]:
        return folds(videos, int(said["k"]), int(said["seed"]), before, over=True)
    return split(videos, read_shares(said["shares"]), int(said["seed"]), before, over=True)


def drawn(videos: VideoList) -> bool:
    """Whether its splits were drawn here."""
    return bool(_HOW.fullmatch(videos.how))


def has_own_splits(videos: VideoList) -> bool:
    """Whether its owner has split it: one fold that is all test says nothing."""
    return not drawn(videos) and any(row.split != ("test",) for row in videos.rows)


def remarks(videos: VideoList) -> list[str]:
    """What a user should know of the splits: classes that lack one, and videos that belong together and are apart."""
    return [*_lacking(videos), *_apart(videos)]


# ---- what is asked


def _weights(shares: Sequence[float]) -> list[int]:
    """Of train, val and test."""
    said = "/".join(f"{share:g}" for share in shares)
    if len(shares) not in (2, 3):
        raise UsageError(f"shares {said}: expected three, such as 70/10/20, or two, such as 80/20")
    if not all(math.isfinite(share) and share >= 0 for share in shares):
        raise UsageError(f"shares {said}: expected percents from 0 to 100")
    weights = [round(share * _FINE) for share in shares]
    if sum(weights) != 100 * _FINE:
        raise UsageError(f"shares {said}: expected a sum of 100, found {sum(shares):g}")
    return weights if len(weights) == 3 else [weights[0], 0, weights[1]]


def _refuse_own(videos: VideoList, over: bool) -> None:
    if has_own_splits(videos) and not over:
        own = f"{videos.folds} folds" if videos.folds > 1 else ", ".join(videos.splits())
        raise UsageError(f"{videos.name} has splits of its own ({own}); leave out --split and --folds to use them")


def _earlier(videos: VideoList, before: VideoList | None, how: str) -> VideoList | None:
    """The earlier version, if its splits were drawn: then they must have been drawn alike."""
    if before is None or not drawn(before):
        return None
    if before.how != how:
        raise UsageError(
            f"the list {before.name} is split already: {before.how}; asked for: {how}. A list that grows keeps its "
            "splits, so ask for the same, or give the list another name with --name"
        )
    return before


# ---- what is placed already


@dataclass(frozen=True)
class _Kept:
    """The parts that an earlier version gave to rows (by their index) and to groups."""

    rows: dict[int, int]
    groups: dict[str, int]


def _part_of_split(row: Listed) -> int | None:
    return SPLITS.index(row.split[0]) if row.split[0] in SPLITS else None


def _part_of_folds(row: Listed) -> int | None:
    return row.split.index("test") if "test" in row.split else None


def _kept(videos: VideoList, before: VideoList | None, part_of: Callable[[Listed], int | None]) -> _Kept:
    """A row is known again by its content, else by its name: a file may be renamed, or coded anew."""
    if before is None:
        return _Kept({}, {})
    part_by_video: dict[str, int] = {}
    part_by_name: dict[str, int] = {}
    parts_of_group: dict[str, Counter[int]] = defaultdict(Counter)
    for row in before.rows:
        part = part_of(row)
        if part is None:
            continue
        part_by_name[row.name] = part
        if row.video:
            part_by_video.setdefault(row.video, part)
        if row.group:
            parts_of_group[row.group][part] += 1
    rows = {}
    for index, row in enumerate(videos.rows):
        found = part_by_video.get(row.video, part_by_name.get(row.name))
        if found is not None:
            rows[index] = found
    return _Kept(rows, {group: _most(parts) for group, parts in parts_of_group.items()})


def _most(parts: Counter[int]) -> int:
    return min(parts, key=lambda part: (-parts[part], part))


# ---- sharing out


@dataclass(frozen=True)
class _Bundle:
    """Rows that belong together, by their index, and how many of them each class has."""

    rows: list[int]
    count: dict[int, int]


class _Shares:
    """How far each part is from what it should have, class by class. Counted in whole numbers: a video is `whole`."""

    def __init__(self, weights: Sequence[int], labels: Iterable[int]) -> None:
        self.whole = sum(weights)
        self.parts = [part for part, weight in enumerate(weights) if weight]
        total = Counter(labels)
        self.lack = {label: [weight * total[label] for weight in weights] for label in sorted(total)}
        self.empty = {label: set(self.parts) for label in self.lack}
        self.waiting: Counter[int] = Counter()  # bundles of each class that have no part yet
        self.owing: set[int] = set()  # classes that have a bundle for every part

    def put(self, label: int, part: int, videos: int) -> None:
        self.lack[label][part] -= self.whole * videos
        self.empty[label].discard(part)

    def must_fill(self, label: int) -> bool:
        """Whether each bundle that is left has to go to a part that has none."""
        return label in self.owing and self.waiting[label] <= len(self.empty[label])

    def best_of_several(self, bundle: _Bundle) -> int:
        """The part that lacks most of what the bundle holds; first those that must be filled."""
        must = [label for label in bundle.count if self.must_fill(label)]

        def merit(part: int) -> tuple[int, int]:
            filled = sum(part in self.empty[label] for label in must)
            return filled, sum(count * self.lack[label][part] for label, count in bundle.count.items())

        return max(self.parts, key=merit)

    def best_of_one(self, label: int, videos: int, carried: Sequence[int]) -> int:
        """A part that has room for all of it; where none has, one that is not full yet. What earlier classes have left
        over then decides, so that the shares come out over all classes together too."""
        lack, parts = self.lack[label], self.parts
        if self.must_fill(label) and self.empty[label]:
            parts = sorted(self.empty[label])
        fullest = max(lack[part] for part in parts)
        if fullest < videos * self.whole:
            parts = [part for part in parts if lack[part] > 0] or parts
            return max(parts, key=lambda part: lack[part] + carried[part])
        return max((part for part in parts if lack[part] == fullest), key=lambda part: carried[part])


def _share_out(videos: VideoList, weights: Sequence[int], seed: int, kept: _Kept, wanted: str) -> list[int]:
    """The part of each row."""
    rows = videos.rows
    bundles = _bundles(rows)
    shares = _Shares(weights, (row.label for row in rows))
    if len(bundles) < len(shares.parts) and not kept.rows:
        raise UsageError(f"{videos.name}: {wanted} need as many groups of videos, but there are {len(bundles)}")
    part_N = [-1] * len(rows)
    free: list[_Bundle] = []
    for bundle in bundles:
        for label in bundle.count:
            shares.waiting[label] += 1
        homes = _homes(bundle, rows, kept)
        if homes:
            for index in bundle.rows:
                part_N[index] = kept.rows.get(index, _most(homes))
        else:
            free.append(bundle)
    shares.owing = {label for label, count in shares.waiting.items() if count >= len(shares.parts)}
    shares.waiting = Counter(label for bundle in free for label in bundle.count)
    for index, part in enumerate(part_N):
        if part >= 0:
            shares.put(rows[index].label, part, 1)

    def place(bundle: _Bundle, part: int) -> None:
        for index in bundle.rows:
            part_N[index] = part
        for label, count in bundle.count.items():
            shares.put(label, part, count)
            shares.waiting[label] -= 1

    free.sort(key=lambda bundle: (-len(bundle.rows), _draw(seed, bundle, rows)))
    of_one: dict[int, list[_Bundle]] = defaultdict(list)
    for bundle in free:
        if len(bundle.count) > 1:
            place(bundle, shares.best_of_several(bundle))
        else:
            of_one[next(iter(bundle.count))].append(bundle)
    carried = [0] * len(weights)
    for label, lack in shares.lack.items():
        for bundle in of_one[label]:
            place(bundle, shares.best_of_one(label, len(bundle.rows), carried))
        carried = [left + own for left, own in zip(carried, lack, strict=True)]
    return part_N


def _bundles(rows: Sequence[Listed]) -> list[_Bundle]:
    """All rows, those together that share a group or a video."""
    root = list(range(len(rows)))

    def top(index: int) -> int:
        while root[index] != index:
            root[index] = root[root[index]]
            index = root[index]
        return index

    first: dict[tuple[str, str], int] = {}
    for index, row in enumerate(rows):
        for kind, key in (("group", row.group), ("video", row.video)):
            if key:
                root[top(index)] = top(first.setdefault((kind, key), index))
    together: dict[int, list[int]] = defaultdict(list)
    for index in range(len(rows)):
        together[top(index)].append(index)
    return [_Bundle(each, dict(Counter(rows[index].label for index in each))) for each in together.values()]


def _homes(bundle: _Bundle, rows: Sequence[Listed], kept: _Kept) -> Counter[int]:
    """The parts in which some of a bundle is already."""
    homes = Counter(kept.rows[index] for index in bundle.rows if index in kept.rows)
    return homes or Counter(kept.groups[g] for g in {rows[i].group for i in bundle.rows} if g in kept.groups)


def _draw(seed: int, bundle: _Bundle, rows: Sequence[Listed]) -> bytes:
    each = (rows[index] for index in bundle.rows)
    name = min(f"group {row.group}" if row.group else f"video {row.name}" for row in each)
    return hashlib.sha256(f"{seed}/{name}".encode()).digest()


def _with(videos: VideoList, how: str, splits: Iterable[tuple[str, ...]]) -> VideoList:
    rows = [replace(row, split=each) for row, each in zip(videos.rows, splits, strict=True)]
    return replace(videos, rows=tuple(sorted(rows, key=lambda row: row.name)), how=how)


# ---- what came of it


def _lacking(videos: VideoList) -> Iterable[str]:
    labels = {row.label for row in videos.rows} - {UNLABELLED}
    lacks: dict[int, list[str]] = defaultdict(list)
    for fold in range(1, videos.folds + 1):
        there = {(row.split[fold - 1], row.label) for row in videos.rows}
        for name in videos.splits(fold):
            for label in labels:
                if (name, label) not in there:
                    lacks[label].append(name if videos.folds == 1 else f"{name} in fold {fold}")
    if lacks:
        examples = [f"{videos.classes[label]}: no {', '.join(lacks[label][:3])}" for label in sorted(lacks)[:_EXAMPLES]]
        more = "; …" if len(lacks) > _EXAMPLES else ""
        number = "1 class has" if len(lacks) == 1 else f"{len(lacks)} classes have"
        yield f"{number} no videos in some split, for want of groups ({'; '.join(examples)}{more})"


def _apart(videos: VideoList) -> Iterable[str]:
    for what, key in (("group", lambda row: row.group), ("video", lambda row: row.video)):
        splits: dict[str, set[tuple[str, ...]]] = defaultdict(set)
        example: dict[str, str] = {}
        for row in videos.rows:
            if key(row):
                splits[key(row)].add(row.split)
                example.setdefault(key(row), row.name)
        apart = sorted(example[each] for each, where in splits.items() if len(where) > 1)
        if apart:
            more = ", …" if len(apart) > _EXAMPLES else ""
            number = f"1 {what} stands" if len(apart) == 1 else f"{len(apart)} {what}s stand"
            yield f"{number} in more than one split, as with {', '.join(apart[:_EXAMPLES])}{more}"
