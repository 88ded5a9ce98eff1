"""Kinetics-400, and Mini-Kinetics-200, which is a list of its ids.

The CSVs of the owners say label, YouTube id and seconds; the split is the file's. On disk a clip is called
`<id>_<start>_<end>`, with six digits each, or `<id>`, anywhere under the root: in folders of splits and classes, with
spaces or underscores, or in none. A video that is not there is listed all the same, at the path where it belongs.
It is called `<id>_<start>_<end>`, after its split only where the owners list it in two. Clips of an id are a group.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from plfeat.datasets.disk import Videos, folders_of, plain
from plfeat.datasets.listing import Listing
from plfeat.datasets.place import SPLIT_WORDS, Place, find_list, need_root, no_list
from plfeat.datasets.tables import read_lines, read_table, wrong
from plfeat.errors import DataError
from plfeat.records import SPLITS, Listed, VideoList

_WORDS = {split: [word for word, meaning in SPLIT_WORDS.items() if meaning == split] for split in SPLITS}
_FOLDERS = {
    split: {form.format(word) for word in words for form in ("{}", "kinetics 400 {}", "{} 256")}
    for split, words in _WORDS.items()
}
_YOUTUBE = re.compile("[A-Za-z0-9_-]+")
_SECONDS = re.compile(r"[0-9]{1,6}(\.0*)?")


class Clip(NamedTuple):
    where: str
    split: str  # of K400
    label: str
    youtube: str
    start: int
    end: int

    @property
    def stem(self) -> str:
        return f"{self.youtube}_{self.start:06d}_{self.end:06d}"


def read_k400(place: Place) -> VideoList:
    return _videos(place, [(clip.split, clip) for clip in _clips(place)])


def read_mini_k200(place: Place) -> VideoList:
    """The clips of the listed ids. Ids that K400's CSVs no longer have are left out, because their class is not known:
    the owners' later releases dropped dead videos. If most are gone, the CSVs are not K400's, and that is an error."""
    clips: dict[str, list[Clip]] = defaultdict(list)
    for clip in _clips(place):
        clips[clip.youtube].append(clip)
    lists = {split: find_list(place, *(f"{word}_ytid_list.txt" for word in _WORDS[split])) for split in SPLITS}
    if not any(lists.values()):
        raise no_list(place, "train_ytid_list.txt", "val_ytid_list.txt")
    chosen: list[tuple[str, Clip]] = []
    for split, path in lists.items():
        lines = read_lines(path) if path else []
        lost = [youtube for _, youtube in lines if youtube not in clips]
        if 2 * len(lost) > len(lines):
            raise DataError(
                f"{path}: {len(lost)} of {len(lines)} ids are in none of K400's CSVs in {place.lists}, "
                f"for example {', '.join(lost[:3])}; expected nearly all to be there"
            )
        chosen += [(split, clip) for _, youtube in lines for clip in _own(clips.get(youtube, []), split)]
    return _videos(place, chosen)


def _own(clips: list[Clip], split: str) -> list[Clip]:
    """The clips of one id: those of the same split if there are any."""
    return [clip for clip in clips if clip.split == split] or clips


def _videos(place: Place, chosen: list[tuple[str, Clip]]) -> VideoList:
    classes = sorted({clip.label for _, clip in chosen})
    label = {name: index for index, name in enumerate(classes)}
    split_of: dict[str, str] = {}
    twice = {clip.stem for split, clip in chosen if split_of.setdefault(clip.stem, split) != split}
    videos, listing = Videos(place.root, place.seen), Listing()
    for split, clip in chosen:
        misfit, stem = partial(_misfit, clip), clip.stem
        path = videos.find(stem, misfit) or videos.find(clip.youtube, misfit)
        path = path or place.root / clip.split / clip.label.replace("/", "_") / f"{stem}.mp4"
        name = f"{split}/{stem}" if stem in twice else stem
        listing.add(clip.where, Listed(name, label[clip.label], (split,), clip.youtube, path=path))
    return listing.videos(place, classes)


def _misfit(clip: Clip, path: str) -> tuple[bool, bool]:
    """A copy in the folder of the split, and there in that of the class, is preferred."""
    folders = folders_of(path)
    return _FOLDERS[clip.split].isdisjoint(folders), plain(clip.label) not in folders


def _clips(place: Place) -> Iterator[Clip]:
    """Every line of the CSVs that are there. A test CSV without labels teaches nothing and is skipped."""
    need_root(place)
    names = {s: [f"{form}{word}.csv" for form in ("", "kinetics_400_") for word in _WORDS[s]] for s in SPLITS}
    paths = {split: find_list(place, *names[split]) for split in SPLITS}
    if not paths["train"] and not paths["val"]:
        raise no_list(place, *names["train"], *names["val"])
    for split, path in paths.items():
        if path:
            yield from _read(path, split)


def _read(path: Path, split: str) -> Iterator[Clip]:
    columns = ("youtube_id", "time_start", "time_end")
    if split == "test" and not any(row.get("label") for _, row in read_table(path, columns)):
        return
    for where, row in read_table(path, ("label", *columns)):
        label, youtube = row["label"].strip(), row["youtube_id"].strip()
        if not label:
            raise wrong(where, "a label", row["label"])
        if not _YOUTUBE.fullmatch(youtube):
            raise wrong(where, "a YouTube id", youtube)
        said = SPLIT_WORDS.get(row.get("split", "").strip().lower(), split)
        if said != split:
            raise wrong(where, f"the split {split}, as the file's name says", said)
        yield Clip(where, split, label, youtube, _seconds(where, row["time_start"]), _seconds(where, row["time_end"]))


def _seconds(where: str, text: str) -> int:
    if not _SECONDS.fullmatch(text.strip()):
        raise wrong(where, "whole seconds", text)
    return int(text.partition(".")[0])
