"""The videos of an annotation, gathered as its lines are read: VideoRefs in, one `Dataset` out."""

from collections.abc import Sequence

from plfeat.datasets.names import class_names
from plfeat.datasets.place import Place
from plfeat.errors import DataError
from plfeat.records import SPLITS, Dataset, VideoRef


class Listing:
    """Says so when a line contradicts an earlier one. Owners' lists, which nobody should have to edit, may say the
    same twice; `strict` ones may not."""

    def __init__(self, strict: bool = False) -> None:
        self._strict = strict
        self._videos: dict[str, VideoRef] = {}
        self._where: dict[str, str] = {}

    def add(self, where: str, video: VideoRef) -> None:
        known = self._videos.setdefault(video.id, video)
        first = self._where.setdefault(video.id, where)
        if known is not video and (self._strict or known != video):
            what = "already" if known == video else "with another class or split"
            raise DataError(f"{where}: expected every video once, but {video.id!r} stands {what} at {first}")

    def dataset(self, place: Place, classes: Sequence[str]) -> Dataset:
        """`classes` by label, as the owner writes them."""
        if not self._videos:
            raise DataError(f"{place.name}: the annotation in {place.lists} lists no videos")
        order = {split: number for number, split in enumerate(SPLITS)}
        videos = sorted(self._videos.values(), key=lambda video: (order[video.split], video.id))
        return Dataset(place.name, class_names(classes, place.names), tuple(videos))
