"""A list as it lies in a store: the very version that was asked for, with nothing in it that cannot be."""

from pathlib import Path

from plfeat.errors import CacheError, first_line
from plfeat.records import SPLITS, UNLABELLED, Listed, VideoList
from plfeat.shards.lists import list_hash, read_list
from plfeat.shards.room import KEY, file_in

LISTS = "lists"


def open_list(store: Path, title: str) -> VideoList:
    """A version of a list, `name@hash`."""
    path = file_in(store, LISTS, f"{title}.csv")
    try:
        videos = read_list(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise CacheError(f"{path} is damaged ({first_line(error)[:120]})") from error
    found = f"{videos.name}@{list_hash(videos)}"
    if found != title:
        raise CacheError(f"{path} is damaged (it holds {found[:90]!r}); was it edited by hand?")
    if said := _odd(videos):
        raise CacheError(f"{path}: {said}")
    return videos


def _odd(videos: VideoList) -> str:
    classes, folds = videos.classes, videos.folds
    if len(videos.words) != len(classes) or len(set(classes)) < len(classes):
        return f"{len(classes)} classes and {len(videos.words)} words, or a class twice"
    if len({row.name for row in videos.rows}) < len(videos.rows):
        return "a name stands in it twice"
    said = (f"{row.name[:80]!r} {wrong}" for row in videos.rows if (wrong := _row_odd(row, len(classes), folds)))
    return next(said, "")


def _row_odd(row: Listed, classes: int, folds: int) -> str:
    if not UNLABELLED <= row.label < classes:
        return f"has the label {row.label} of {classes} classes"
    if row.video and not KEY.fullmatch(row.video):
        return f"has the video {row.video[:80]!r}, which is none"
    if len(row.split) != folds or not {"", *SPLITS}.issuperset(row.split):
        return f"has the splits {row.split!r:.80}, expected {folds}"
    return ""
