"""Every error a user can meet. Each says what, where, expected, found and what to do next, in one line.

    PlfeatError          exit 1   something failed while running
    ├── UsageError       exit 2   an unknown name, an impossible combination, a bad configuration
    ├── DataError        exit 3   videos or annotations are missing, empty or unreadable
    └── CacheError       exit 4   a cache is damaged, incomplete or made for something else

Our own broken promises are `assert`s, not these.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class PlfeatError(Exception):
    exit_code = 1


class UsageError(PlfeatError):
    exit_code = 2


class DataError(PlfeatError):
    exit_code = 3


class CacheError(PlfeatError):
    exit_code = 4


def first_line(error: BaseException) -> str:
    """What another library's exception says, short enough for one of ours."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """An unknown name, with the nearest known one, or the known ones while they are few."""
    names = sorted(known)
    lowered = {known_name.lower(): known_name for known_name in names}
    near = get_close_matches(name.lower(), list(lowered), n=1, cutoff=0.6)
    if near:
        hint = f"did you mean {lowered[near[0]]!r}?"
    elif len(names) <= 12:
        hint = "known: " + ", ".join(map(repr, names))
    else:
        hint = f"{len(names)} are known, for example " + ", ".join(map(repr, names[:5]))
    return UsageError(f"unknown {kind} {name!r}; {hint}")
