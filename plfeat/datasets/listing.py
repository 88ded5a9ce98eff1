"""The videos of an annotation, gathered as its lines are read: a `Listed` for each line in, one `VideoList` out."""

from collections.abc import Callable, Sequence

from plfeat.datasets.names import class_names
from plfeat.datasets.place import Place
from plfeat.errors import DataError
from plfeat.records import CONTROL, Listed, VideoList


class Listing:
    """Says so when a line contradicts an earlier one of the same fold. Owners' lists, which nobody should have to edit,
    may say the same twice; `strict` ones may not. Names with the same `key` are one video."""

    def __init__(self, folds: int = 1, strict: bool = False, key: Callable[[str], str] = str) -> None:
        self._strict, self._key = strict, key
        self._rows: list[dict[str, Listed]] = [{} for _ in range(folds)]
        self._where: list[dict[str, str]] = [{} for _ in range(folds)]

    def add(self, where: str, row: Listed, fold: int = 0) -> None:
        """A line of a fold, counted from 0; `row.split` is its split there alone."""
        if CONTROL.search(row.name) or CONTROL.search(row.group):
            raise DataError(f"{where}: {_odd(row)!a} holds a control character; give it another name")
        key = self._key(row.name)
        known = self._rows[fold].setdefault(key, row)
        first = self._where[fold].setdefault(key, where)
        if known is not row and (self._strict or _but_for_name(known) != _but_for_name(row)):
            what = "already" if known == row else "with another class or split"
            raise DataError(f"{where}: expected every video once, but {row.name!r} stands {what} at {first}")

    def videos(
        self,
        place: Place,
        classes: Sequence[str],
        called: str | None = None,
        stratum: tuple[str, ...] = (),
        mirror: tuple[int | None, ...] = (),
    ) -> VideoList:
        """`classes` by label, as the owner writes them. The list is `called` like its dataset unless it is said."""
        for name in (*classes, *stratum):
            if CONTROL.search(name):
                raise DataError(f"{place.name}: the class {name!a} holds a control character; give it another name")
        rows = self._rows[0].values() if len(self._rows) == 1 else self._over_folds()
        if not rows:
            raise DataError(f"{place.name}: the annotation in {place.lists} lists no videos")
        return VideoList(
            place.list_name or called or place.name,
            tuple(sorted(rows, key=lambda row: row.name)),
            tuple(classes),
            class_names(classes, place.names),
            stratum,
            mirror,
        )

    def _over_folds(self) -> list[Listed]:
        """One row for a video of several folds, which must agree on everything but the split."""
        rows = []
        for key in {key: None for fold in self._rows for key in fold}:
            there = [number for number, fold in enumerate(self._rows) if key in fold]
            first = self._rows[there[0]][key]
            for number in there[1:]:
                if self._rows[number][key].label != first.label:
                    here, before = self._where[number][key], self._where[there[0]][key]
                    raise DataError(f"{here}: {first.name!r} has another class here than at {before}")
            split = tuple(fold[key].split[0] if key in fold else "" for fold in self._rows)
            rows.append(Listed(first.name, first.label, split, first.group, first.start, first.end, first.path))
        return rows


def _but_for_name(row: Listed) -> tuple[object, ...]:
    return row.label, row.split, row.group, row.start, row.end


def _odd(row: Listed) -> str:
    return row.name if CONTROL.search(row.name) else row.group
