"""A store is a closed room: what it says about itself is a name of its own, never a path, and nothing in it is a link.

Every file of a store is reached through here, so that no store makes a command read, write or delete elsewhere.
"""

import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from plfeat.errors import CacheError, first_line

KEY = re.compile(r"[0-9a-f]{32}(?:#t=[0-9][0-9.e+-]{0,30},(?:[0-9][0-9.e+-]{0,30})?)?")
"""A video: the digest of its file, and its segment, if it is one."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,80}")
"""What a pool and a list may be called."""

HASH = re.compile(r"[0-9a-f]{8}")
"""Of a list."""

LIST_FILE = re.compile(rf"{NAME.pattern}@{HASH.pattern}\.csv")
SHA256 = re.compile(r"[0-9a-f]{64}")
TEXT_FILE = re.compile(r"[0-9a-f]{16}\.h5|tower-[0-9a-f]{16}\.safetensors")


class Unreadable(CacheError):
    """What keeps a file from being read is not in the file: nobody may take it for damaged."""


def place(store: Path, *names: str) -> Path:
    """Where a file of that name lies or would lie in a store. A link on the way is refused."""
    path = store
    for name in names:
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise CacheError(f"store {store}: {name[:80]!r} is not the name of anything in a store")
        path = path / name
        if _is_link(path):
            raise CacheError(f"{path}: a link; a store holds its own files, so copy what it leads to")
    return path


def _is_link(path: Path) -> bool:
    try:
        return stat.S_ISLNK(path.lstat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        raise Unreadable(f"{path!s:.300}: {_reason(error)}") from None


def file_in(store: Path, *names: str) -> Path:
    """The same for a file that has to be there, an ordinary one."""
    path = place(store, *names)
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise CacheError(f"{path}: no such file; run the same `plfeat extract` again") from None
    if not stat.S_ISREG(mode):
        raise CacheError(f"{path}: expected an ordinary file; move away what lies there")
    return path


def goal(store: Path, *names: str) -> Path:
    """Where a file may be written: nothing lies there, or an ordinary one."""
    path = place(store, *names)
    return file_in(store, *names) if os.path.lexists(path) else path


@contextmanager
def opened_file(path: Path) -> Iterator[int]:
    """An ordinary file, to be read: neither a link nor something that would never end."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise CacheError(f"{path}: no such file; run the same `plfeat extract` again") from None
    except OSError as error:
        raise Unreadable(f"{path}: {_reason(error)}") from None
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise CacheError(f"{path}: expected an ordinary file; move away what lies there")
        yield handle
    finally:
        os.close(handle)


def read_json(path: Path) -> dict[str, Any]:
    """An object; NaN, which is no JSON, is none either, nor is a key that stands twice in an object."""
    with opened_file(path) as handle, os.fdopen(os.dup(handle), "rb") as file:
        content = file.read()
    try:
        said = json.loads(content, parse_constant=_refuse, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise CacheError(f"{path} is damaged ({first_line(error)[:120]})") from error
    if not isinstance(said, dict):
        raise CacheError(f"{path} is damaged (expected a JSON object)")
    return said


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands in it twice")
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or first_line(error)


def files_in(store: Path, folder: str) -> Iterator[str]:
    """The names of the ordinary files in one of a store's folders, sorted; links and hidden files are passed over."""
    yield from _listed(store, folder, when=lambda entry: not entry.name.startswith(".") and _is_file(entry))


def names_in(store: Path, *folder: str) -> list[str]:
    """The names of whatever lies in a store, or in one of its folders, sorted."""
    return _listed(store, *folder, when=lambda entry: True)


def _is_file(entry: os.DirEntry[str]) -> bool:
    return entry.is_file(follow_symlinks=False)


def _listed(store: Path, *folder: str, when: Callable[[os.DirEntry[str]], bool]) -> list[str]:
    where = place(store, *folder)
    try:
        with os.scandir(where) as entries:
            return sorted(entry.name for entry in entries if when(entry))
    except FileNotFoundError:
        return []
    except NotADirectoryError:
        raise CacheError(f"{where}: expected a folder; move away what lies there") from None
    except OSError as error:
        raise Unreadable(f"{where}: {_reason(error)}") from None
