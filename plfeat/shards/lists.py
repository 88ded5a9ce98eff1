"""The lists of a store: a `VideoList` in, `lists/<name>@<hash>.csv` out, and back.

The first line is `# ` and a JSON object: name, version, classes, words, stratum, mirror, how. A CSV table follows, a
row a video: name,video,class,group,start,end,split, or split1,split2,... for several folds. The hash covers everything
but the list's name and version, so two lists that say the same have the same hash. A newer version of a list is a file
of its own, with a higher version. Nothing that a file says is believed unchecked, and no link is followed.
"""

import csv
import hashlib
import io
import json
import math
import os
import re
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from plfeat.errors import CacheError, DataError, first_line
from plfeat.files import write_text
from plfeat.records import CONTROL, LIST_NAME, SPLITS, UNLABELLED, Listed, VideoList

FOLDER = "lists"
MOST_FOLDS = 1000
_MOST_BYTES, _LONGEST_HEADER, _HIGHEST_VERSION = 2**30, 2**24, 10**9
_FILE = re.compile(rf"(?P<name>{LIST_NAME.pattern})@(?P<hash>[0-9a-f]{{8}})\.csv")
_KEY = re.compile(r"[0-9a-f]{32}(#t=[0-9.e+-]+,[0-9.e+-]*)?")
_COLUMNS = ["name", "video", "class", "group", "start", "end"]
_FIELDS = {"name": str, "version": int, "classes": list, "words": list, "stratum": list, "mirror": list, "how": str}


def list_hash(videos: VideoList) -> str:
    """8 hex digits of what a list says, whatever it is called."""
    return _hash(videos, _table(videos))


def write_list(folder: Path, videos: VideoList) -> Path:
    """Into a store's folder, as the current version of the list of that name."""
    if problem := _problem(videos):
        raise DataError(f"list {videos.name[:90]!a}: {problem}")
    where = _lists(folder)
    table = _table(videos)
    path = where / f"{videos.name}@{_hash(videos, table)}.csv"
    versions = {file: _header(*_first_line(file))["version"] for file in _files_of(folder, videos.name)}
    newest = max(versions.values(), default=0)
    # an older version that is wanted again becomes the newest; the newest itself is not written again
    version = newest if versions.get(path) == newest > 0 else newest + 1
    header = {"name": videos.name, "version": version} | _says(videos)
    write_text(path, f"# {json.dumps(header, ensure_ascii=False)}\n{table}")
    return path


def read_list(path: Path) -> VideoList:
    """Checked in every field, and against the hash in its name."""
    named = _FILE.fullmatch(path.name)
    if not named:
        raise CacheError(f"{str(path)!a} is not called like a list, <name>@<8 hex digits>.csv")
    first, _, table = _text(path, _read(path)).partition("\n")
    header = _header(path, first)
    if header["name"] != named["name"]:
        _damaged(path, f"it says that it is the list {header['name'][:90]!a}")
    classes = tuple(header["classes"])
    videos = VideoList(
        named["name"],
        tuple(_rows(path, table, classes)),
        classes,
        tuple(header["words"]),
        tuple(header["stratum"]),
        tuple(header["mirror"]),
        header["how"],
    )
    if problem := _problem(videos):
        _damaged(path, problem)
    found = list_hash(videos)
    if found != named["hash"]:
        _damaged(path, f"its name says the hash {named['hash']}, but what it holds has {found}: it was changed")
    return videos


def lists_in(folder: Path) -> dict[str, Path]:
    """The current file of every list in a store's folder."""
    newest: dict[str, tuple[int, str, Path]] = {}
    for path in list_files(folder):
        name, version = path.name.rpartition("@")[0], _header(*_first_line(path))["version"]
        newest[name] = max(newest.get(name, (0, "", path)), (version, path.name, path))
    return {name: path for name, (_, _, path) in sorted(newest.items())}


def list_files(folder: Path) -> list[Path]:
    """Every version of every list in a store's folder."""
    where = _lists(folder)
    try:
        return sorted(where / name for name in os.listdir(where) if _FILE.fullmatch(name))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CacheError(f"{where} cannot be read ({first_line(error)})") from None


def _files_of(folder: Path, name: str) -> list[Path]:
    return [path for path in list_files(folder) if path.name.rpartition("@")[0] == name]


def _lists(folder: Path) -> Path:
    where = folder / FOLDER
    if where.is_symlink():
        raise CacheError(f"{where} is a link; a store holds its lists itself")
    return where


# ---- what a list says, as text


def _says(videos: VideoList) -> dict[str, Any]:
    return {
        "classes": videos.classes,
        "words": videos.words,
        "stratum": videos.stratum,
        "mirror": videos.mirror,
        "how": videos.how,
    }


def _hash(videos: VideoList, table: str) -> str:
    said = json.dumps(_says(videos), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(f"{said}\n{table}".encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _table(videos: VideoList) -> str:
    said = io.StringIO(newline="")
    table = csv.writer(said, lineterminator="\n")
    table.writerow([*_COLUMNS, *_split_columns(videos.folds)])
    name_of = dict(enumerate(videos.classes)) | {UNLABELLED: ""}
    table.writerows(
        (row.name, row.video, name_of[row.label], row.group, _second(row.start), _second(row.end), *row.split)
        for row in videos.rows
    )
    return said.getvalue()


def _split_columns(folds: int) -> list[str]:
    return ["split"] if folds == 1 else [f"split{number}" for number in range(1, folds + 1)]


def _second(value: float | None) -> str:
    """The shortest text of a number."""
    return "" if value is None else repr(float(value)).removesuffix(".0")


# ---- text, as what a list says


def _open(path: Path) -> io.BufferedReader:
    """A plain file in a folder, and neither is a link."""
    if path.parent.is_symlink():
        raise CacheError(f"{path.parent} is a link; a store holds its lists itself")
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        link = "; it is a link, and a store holds its lists itself" if path.is_symlink() else ""
        raise CacheError(f"list {path} cannot be read ({first_line(error)}){link}") from None
    state = os.fstat(handle)
    if not stat.S_ISREG(state.st_mode) or state.st_size > _MOST_BYTES:
        os.close(handle)
        _damaged(path, f"expected a plain file of at most {_MOST_BYTES} bytes")
    return os.fdopen(handle, "rb")


def _read(path: Path) -> bytes:
    with _open(path) as file:
        return file.read(_MOST_BYTES)


def _first_line(path: Path) -> tuple[Path, str]:
    with _open(path) as file:
        return path, _text(path, file.readline(_LONGEST_HEADER)).removesuffix("\n")


def _text(path: Path, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        _damaged(path, f"expected text in UTF-8 ({first_line(error)})")


def _header(path: Path, line: str) -> dict[str, Any]:
    """Its fields have the types that they should have; what they say is another matter."""
    if not line.startswith("# ") or len(line) >= _LONGEST_HEADER:
        _damaged(path, "expected '# ' and a JSON object in the first line")
    try:
        header = json.loads(line[2:])
    except (ValueError, RecursionError):
        _damaged(path, "its first line is not JSON after '# '")
    if not isinstance(header, dict) or header.keys() != _FIELDS.keys():
        _damaged(path, f"expected {', '.join(_FIELDS)} in the first line")
    for field, kind in _FIELDS.items():
        if type(header[field]) is not kind:
            _damaged(path, f"expected {field} as {kind.__name__}, found {_short(header[field])}")
    for field in ("classes", "words", "stratum"):
        if not all(type(word) is str for word in header[field]):
            _damaged(path, f"expected only texts in {field}")
    if not all(twin is None or type(twin) is int for twin in header["mirror"]):
        _damaged(path, "expected only numbers and null in mirror")
    if not 1 <= header["version"] <= _HIGHEST_VERSION:
        _damaged(path, f"expected a version from 1 to {_HIGHEST_VERSION}, found {_short(header['version'])}")
    return header


def _rows(path: Path, text: str, classes: Sequence[str]) -> Iterable[Listed]:
    label_of = {name: label for label, name in enumerate(classes)} | {"": UNLABELLED}
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    known: dict[tuple[str, ...], tuple[str, ...]] = {}  # of the same splits, one tuple
    try:
        columns = next(reader, [])
        folds = len(columns) - len(_COLUMNS)
        if not 1 <= folds <= MOST_FOLDS or columns != [*_COLUMNS, *_split_columns(folds)]:
            wanted = f"{','.join(_COLUMNS)},split or split1,split2,... up to split{MOST_FOLDS}"
            _damaged(path, f"expected the columns {wanted}, found {_short(','.join(columns[:12]))}")
        for cells in reader:
            if len(cells) != len(columns):
                _damaged(
                    path, f"expected {len(columns)} cells as in the header, found {len(cells)}", reader.line_num + 1
                )
            name, video, label, group, start, end, *splits = cells
            if label not in label_of:
                _damaged(path, f"unknown class {_short(label)}", reader.line_num + 1)
            split = tuple(splits)
            yield Listed(
                name,
                label_of[label],
                known.setdefault(split, split),
                group,
                _seconds(path, start, reader.line_num + 1),
                _seconds(path, end, reader.line_num + 1),
                None,
                video,
            )
    except csv.Error as error:
        _damaged(path, f"not a row of a CSV file ({first_line(error)})", reader.line_num + 1)


def _seconds(path: Path, text: str, line: int) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or _second(value) != text:
        _damaged(path, f"expected seconds, found {_short(text)}", line)
    return value


def _short(value: object) -> str:
    """Of something strange, what can be printed in a line."""
    return ascii(value if isinstance(value, str) else str(type(value).__name__))[:100]


def _damaged(path: Path, what: str, line: int = 1) -> NoReturn:
    where = f"{path}:{line}" if line > 1 else str(path)
    raise CacheError(f"list {where}: {what}; put back the file as it was, or remove it and extract again")


# ---- what a list may say


def _problem(videos: VideoList) -> str | None:
    """What is wrong with a list, if something is; nothing in it that is printed can act on a terminal."""
    return _problem_of_classes(videos) or _problem_of_rows(videos)


def _problem_of_classes(videos: VideoList) -> str | None:
    classes, words, stratum, mirror = videos.classes, videos.words, videos.stratum, videos.mirror
    if not LIST_NAME.fullmatch(videos.name):
        return "a list is called by letters, digits and . _ -"
    for name in (*classes, *words, *stratum, videos.how):
        if CONTROL.search(name):
            return f"{_short(name)} holds a control character"
    if "" in classes or "" in words or len(set(classes)) < len(classes) or len(set(words)) < len(words):
        return "expected a name and words for every class, and none twice"
    if len(words) != len(classes) or not {len(stratum), len(mirror)} <= {0, len(classes)}:
        sizes = f"{len(classes)} classes, {len(words)} words, {len(stratum)} strata and {len(mirror)} mirrors"
        return f"expected as many of each, or no strata or mirrors, found {sizes}"
    for label, twin in enumerate(mirror):
        if twin is not None and not (0 <= twin < len(classes) and twin != label and mirror[twin] == label):
            return f"the mirror of class {_short(classes[label])} is not a class that mirrors it in turn"
    return None


def _problem_of_rows(videos: VideoList) -> str | None:
    if not videos.rows:
        return "expected at least one video"
    folds, classes, splits, before = videos.folds, len(videos.classes), {"", *SPLITS}, ""
    if not 1 <= folds <= MOST_FOLDS:
        return f"expected 1 to {MOST_FOLDS} folds, found {folds}"
    for row in videos.rows:
        if ".." in row.name and ".." in row.name.split("/"):
            return f"the name {_short(row.name)} leads out of where it starts"
        if row.name <= before:
            return f"expected every video once, sorted by name, found {_short(row.name)} after {_short(before)}"
        before = row.name
        if CONTROL.search(row.name) or CONTROL.search(row.group):
            return f"the name or the group of {_short(row.name)} holds a control character"
        if not UNLABELLED <= row.label < classes:
            return f"{_short(row.name)} has label {row.label}, but there are {classes} classes"
        if len(row.split) != folds or not splits.issuperset(row.split):
            return f"expected train, val, test or nothing for each of {folds} folds of {_short(row.name)}"
        if problem := _problem_of_segment(row):
            return problem
    return None


def _problem_of_segment(row: Listed) -> str | None:
    start, end, video = row.start, row.end, row.video
    if start is None and end is None and (not video or (len(video) == 32 and _KEY.fullmatch(video))):
        return None  # as nearly all are
    if end is not None and (start is None or not start < end < math.inf):
        return f"expected a start before the end of {_short(row.name)}"
    if start is not None and not 0 <= start < math.inf:
        return f"expected a start of {_short(row.name)} that is not before 0"
    segment = "" if start is None else f"#t={_second(start)},{_second(end)}"
    if video and (not _KEY.fullmatch(video) or video[32:] != segment):
        return (
            f"{_short(video)} is not the key of {_short(row.name)}, 32 hex digits{' and ' if segment else ''}{segment}"
        )
    return None
