"""A store is a closed room: what it says about itself is a name of its own, never a path, and nothing in it is a link.

Every file of a store is reached through here, so that no store makes a command read, write or delete elsewhere.
"""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from plfeat.errors import CacheError

KEY = re.compile(r"[0-9a-f]{32}(?:#t=[0-9][0-9.e+-]{0,30},(?:[0-9][0-9.e+-]{0,30})?)?")
"""A video: the digest of its file, and its segment, if it is one."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,80}")
"""What a pool and a list may be called."""

HASH = re.compile(r"[0-9a-f]{8}")
"""Of a list."""


def place(store: Path, *names: str) -> Path:
    """Where a file of that name lies or would lie in a store. A link on the way is refused."""
    path = store
    for name in names:
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise CacheError(f"store {store}: {name[:80]!r} is not the name of anything in a store")
        path = path / name
        if path.is_symlink():
            raise CacheError(f"{path}: a link; a store holds its own files, so copy what it leads to")
    return path


def file_in(store: Path, *names: str) -> Path:
    """The same for a file that has to be there, an ordinary one."""
    path = place(store, *names)
    try:
        mode = path.lstat().st_mode
    except OSError:
        raise CacheError(f"{path}: no such file; run the same `plfeat extract` again") from None
    if not stat.S_ISREG(mode):
        raise CacheError(f"{path}: expected an ordinary file; move away what lies there")
    return path


def files_in(store: Path, folder: str) -> Iterator[str]:
    """The names of the ordinary files in one of a store's folders, sorted; links and hidden files are passed over."""
    where = place(store, folder)
    if not where.exists():
        return
    if not where.is_dir():
        raise CacheError(f"{where}: expected a folder; move away what lies there")
    with os.scandir(where) as entries:
        names = [e.name for e in entries if not e.name.startswith(".") and e.is_file(follow_symlinks=False)]
    yield from sorted(names)
