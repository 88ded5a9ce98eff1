"""A folder in, the videos under it out: found in one walk, looked up by name.

Where the folder is gone, or has lost a video, the paths that a store has seen there stand in.

Hundreds of thousands of files are usual, so no file is asked about twice, and none is opened.
"""

import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from plfeat.errors import DataError, first_line
from plfeat.records import CONTROL

SUFFIXES = frozenset({".mp4", ".avi", ".mkv", ".webm", ".mov", ".m4v", ".mpg", ".mpeg"})


def is_video(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES


def without_suffix(name: str) -> str:
    """Videos are recoded and then have another suffix, so they are known by the name before it."""
    return os.path.splitext(name)[0] if is_video(name) else name


def walk(root: Path) -> Iterator[str]:
    """The path of every video under `root`, relative to it and with slashes. Links are followed; hidden files and
    folders are not looked at."""
    waiting: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
    while waiting:
        inside, above = waiting.pop()
        files, folders, itself = _look(root / inside)
        if itself in above:
            continue  # a link to a folder that it lies in
        yield from (inside + name for name in files)
        waiting += [(f"{inside}{name}/", above | {itself}) for name in folders]


def _look(folder: Path) -> tuple[list[str], list[str], tuple[int, int]]:
    """The videos in a folder, the folders in it, and what it is however it was reached."""
    files, folders = [], []
    try:
        status = folder.stat()
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if is_video(entry.name) and entry.is_file():
                    entry.name.encode()
                    files.append(entry.name)
                elif entry.is_dir():
                    entry.name.encode()
                    folders.append(entry.name)
    except UnicodeEncodeError as error:
        raise DataError(f"{folder}: the name {error.object!a} is not UTF-8; rename it") from None
    except OSError as error:
        raise DataError(f"folder {folder} cannot be read: {first_line(error)}") from None
    return files, folders, (status.st_dev, status.st_ino)


def checked(seen: Collection[str], root: Path) -> Iterator[str]:
    """The paths that a store has seen under `root`, all of them under it."""
    for path in seen:
        if path.startswith("/") or CONTROL.search(path) or not {"", ".", ".."}.isdisjoint(path.split("/")):
            raise DataError(f"a store says that it has seen {path[:100]!a}, which is not a path under {root}")
        yield path


class Videos:
    """The videos under a folder, by their name without suffix. Names with the same `key` are the same. One that the
    folder does not have is where it was `seen`."""

    def __init__(self, root: Path, seen: Collection[str] = (), key: Callable[[str], str] = str) -> None:
        self._root = root
        self._key = key
        self._paths: dict[str, tuple[str, ...]] = {}
        lost: dict[str, tuple[str, ...]] = {}
        for path in walk(root) if root.is_dir() else ():
            self._add(self._paths, path)
        for path in checked(seen, root):
            self._add(lost, path)
        self._paths = lost | self._paths

    def _add(self, paths: dict[str, tuple[str, ...]], path: str) -> None:
        name = self._key(path.rpartition("/")[2].rpartition(".")[0])
        paths[name] = (*paths.get(name, ()), path)

    def find(self, stem: str, misfit: Callable[[str], Any] = str) -> Path | None:
        """The video of that name. Of several, the one with the smallest `misfit(path)`, then the first by path."""
        paths = self._paths.get(self._key(stem))
        if not paths:
            return None
        best = paths[0] if len(paths) == 1 else min(paths, key=lambda path: (misfit(path), path))
        return self._root / best


def outside(*folders: str) -> Callable[[str], list[bool]]:
    """A misfit: which of these folders a file is not in, the first counting most."""
    wanted = [plain(folder) for folder in folders]
    return lambda path: [folder not in folders_of(path) for folder in wanted]


def folders_of(path: str) -> list[str]:
    """The folders on the way to a file, spelled so that names with spaces and with underscores are the same."""
    return [plain(folder) for folder in path.split("/")[:-1]]


def plain(name: str) -> str:
    return name.replace("_", " ").casefold()
