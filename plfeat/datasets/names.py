"""Class names as owners write them in, words that a text encoder can read out.

The rule: square brackets go, underscores become spaces, a capital after a small letter starts a new word
(as does the last capital of several before a small letter), everything becomes small, and spaces become single.
What the rule cannot know, such as what "swing baseball" means, goes into a table of own names.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from plfeat.datasets.tables import read_table
from plfeat.errors import DataError, unknown

_NEW_WORD = re.compile("(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def readable(raw: str) -> str:
    """`readable("ApplyEyeMakeup") == "apply eye makeup"`. What is readable stays as it is."""
    words = re.sub(r"[\[\]]", "", raw).replace("_", " ")
    return " ".join(_NEW_WORD.sub(" ", words).lower().split())


def class_names(raw: Sequence[str], own: Path | None) -> tuple[str, ...]:
    """The words for each class: those of the table `own` (columns class,name), which may leave classes out, else those
    of the rule. No two classes may have the same, because nothing could tell them apart."""
    given = _read_own(own, raw) if own else {}
    owner: dict[str, str] = {}
    for name in raw:
        words = given.get(name) or readable(name)
        if not words:
            raise DataError(f"class {name!r} has no words in its name; give it some with --names")
        if words in owner:
            raise DataError(
                f"classes {owner[words]!r} and {name!r} both read {words!r}; give one another name with --names"
            )
        owner[words] = name
    return tuple(owner)


def _read_own(path: Path, raw: Sequence[str]) -> dict[str, str]:
    known = set(raw)
    given: dict[str, str] = {}
    for where, row in read_table(path, ("class", "name"), ("class", "name")):
        name, words = row["class"].strip(), " ".join(row["name"].split())
        if name not in known:
            raise DataError(f"{where}: {unknown('class', name, known)}")
        if name in given:
            raise DataError(f"{where}: class {name!r} has a name already, {given[name]!r}")
        if not words:
            raise DataError(f"{where}: expected words for the class {name!r}, found none")
        given[name] = words
    return given
