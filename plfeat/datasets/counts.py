"""How many classes and videos the owners of a dataset publish, for a user to compare with what he has.

Splits that are published without labels are not read, and so not counted here.
"""

from dataclasses import dataclass, field

from plfeat.datasets.place import Place


@dataclass(frozen=True, slots=True)
class Published:
    """`each` is how many videos every class has over all splits, where that is the same for all."""

    classes: int | None
    videos: dict[str, int] = field(default_factory=dict)
    each: int | None = None


_COUNTS = {
    # As first published. Videos have died since: common copies have 241,258 train and 19,877 to 19,881 val videos,
    # poor ones 17,747 val.
    "k400": Published(400, {"train": 246_245, "val": 20_000}),
    "mini-k200": Published(200, {"train": 80_000, "val": 5_000}, each=425),  # the same videos have died
    "ssv2": Published(174, {"train": 168_913, "val": 24_777}),
    "ucf101 1": Published(101, {"train": 9_537, "test": 3_783}),
    "ucf101 2": Published(101, {"train": 9_586, "test": 3_734}),
    "ucf101 3": Published(101, {"train": 9_624, "test": 3_696}),
    # Each fold leaves 1,666 of the 6,766 videos out.
    "hmdb51 1": Published(51, {"train": 3_570, "test": 1_530}, each=100),
    "hmdb51 2": Published(51, {"train": 3_570, "test": 1_530}, each=100),
    "hmdb51 3": Published(51, {"train": 3_570, "test": 1_530}, each=100),
    # The few-shot lists are known by the folder that CLIP-FSAR publishes them in.
    "few-shot hmdb51": Published(51, {"train": 4_280, "val": 1_194, "test": 1_292}),
    "few-shot ucf101": Published(101, {"train": 9_154, "val": 1_421, "test": 2_745}),
    "few-shot kinetics100": Published(100, {"train": 6_400, "val": 1_200, "test": 2_400}, each=100),
    "few-shot ssv2_full": Published(100, {"train": 67_013, "val": 1_926, "test": 2_857}),
    "few-shot ssv2_small": Published(100, {"train": 6_400, "val": 1_200, "test": 2_400}, each=100),
}


def published(place: Place, fold: int = 1) -> Published | None:
    """The counts of the dataset at a place, if they are known; `fold` is the number that its owner gives it."""
    return _COUNTS.get(f"{place.name} {fold}") or _COUNTS.get(published_as(place))


def published_as(place: Place) -> str:
    """The dataset's name; of few-shot lists in a folder of a published name, with that name after a space."""
    folder = place.lists.parent if place.lists.is_file() else place.lists
    full = f"{place.name} {folder.name.lower()}"
    return full if full in _COUNTS else place.name
