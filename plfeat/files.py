"""Files that appear whole or not at all: write beside, flush to disk, rename, flush the folder."""

import fcntl
import glob
import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from plfeat.errors import UsageError


@contextmanager
def publish(path: Path) -> Iterator[Path]:
    """Yields the path to write to; on leaving without an error, that file becomes `path` at once and durably."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(path)
    try:
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk does not say what it had no room for
        raise
    finally:
        part.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Nobody else who asks may write there meanwhile; the claim goes with the process. Folders that are made for it
    and stay empty are not left behind."""
    fresh = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UsageError(f"{folder} cannot be a folder: a file is in the way") from None
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # of a file system that knows no locks
            _lock(handle, folder)
        yield
    finally:
        os.close(handle)
        with suppress(OSError):
            for place in fresh:
                place.rmdir()


def _lock(handle: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(f"{folder}: another training writes there now; choose another --out") from None


def part_of(path: Path) -> Path:
    """Where this process builds what will become `path`. What processes that died left behind is removed."""
    host = _host()
    for left in path.parent.glob(f".{glob.escape(path.name)}.{glob.escape(host)}-*.part"):
        pid = left.name.removesuffix(".part").rpartition("-")[2]
        if pid.isdecimal() and int(pid) != os.getpid() and not _alive(int(pid)):
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink(missing_ok=True)
    return path.with_name(f".{path.name}.{host}-{os.getpid()}.part")


def abandoned(path: Path) -> bool:
    """A part file whose process is gone; of another machine's, one that nobody wrote to for a day."""
    if path.suffix != ".part":
        return False
    where, _, pid = path.name.removesuffix(".part").rpartition("-")
    if where.endswith(f".{_host()}") and pid.isdecimal():
        return not _alive(int(pid))
    return time.time() - path.lstat().st_mtime > 86400


def _host() -> str:
    return platform.node().replace("-", "_") or "here"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def write_text(path: Path, text: str) -> None:
    if path.is_file() and path.read_bytes() == text.encode():
        return  # a finished folder may be on a disk that can only be read
    with publish(path) as part:
        part.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    with publish(path) as part:
        part.write_bytes(content)


def write_json(path: Path, content: Any) -> None:
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def sha256_of_json(content: Any) -> str:
    """The hash of a value: of its one canonical spelling, so the order of keys does not matter."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
