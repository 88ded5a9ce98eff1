"""Results to stdout, everything for people to stderr."""

import json
import os
import re
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from plfeat.records import Tick, silent
from plfeat_cli import layout
from plfeat_cli.layout import sentence

if TYPE_CHECKING:
    from plfeat.flows.predict import Prediction


_SEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What a terminal obeys and does not show, and what it cannot: names of files may hold any of it."""


def visible(text: str) -> str:
    """The same, in which nothing but tabs and line breaks goes unseen. JSON stays the same JSON."""
    return _SEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def one_line(text: str) -> str:
    return text.replace("\n", "\\n")


def result(content: Any) -> None:
    """One JSON document on stdout."""
    print(visible(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False, default=str)))


def say(text: str, quiet: bool = False) -> None:
    if not quiet:
        print(visible(sentence(text, _width(sys.stderr))), file=sys.stderr, flush=True)


def tell(text: str, under: int = 0) -> None:
    """Text on stdout; where a line breaks, the rest of it begins `under` columns in."""
    width = _width(sys.stdout)
    print(visible(sentence(text if width is None else text.replace("\t", "  "), width, under)))


def table(lines: list[list[str]], running: Collection[int] = ()) -> None:
    """On stdout; the first line is a header, and some columns may hold running text."""
    print("\n".join(map(visible, layout.table(lines, _width(sys.stdout), running))))


def _width(stream: TextIO) -> int | None:
    """Of the terminal, if it is one."""
    if not stream.isatty():
        return None
    said = os.environ.get("COLUMNS", "")
    return int(said) if said.isdecimal() and int(said) else os.get_terminal_size(stream.fileno()).columns or 80


def explanation(found: "Prediction") -> None:
    """Bars for frames and words, the contexts' neighbours in the vocabulary."""
    why = found.why
    if why is None:
        return
    print(f"\n{visible(found.video)}: {found.best[0][0]}\n  frames ({why.frames_are})")
    for index, value in zip(found.frame_index, why.frames, strict=True):
        print(f"    {index:>6}  {value:6.3f}  {_bar(value, 20)}")
    for step, attention in enumerate(why.word_attention, 1):
        print(f"  words, step {step}")
        for word, value in zip(why.words, attention, strict=True):
            print(f"    {word:>14}  {value:6.3f}  {_bar(value, 28)}")
    for number, words in enumerate(why.contexts, 1):
        tell(f"  [V{number}] is nearest to " + ", ".join(f"{word!r} ({far:.2f})" for word, far in words), under=4)


def _bar(share: float, before: int) -> str:
    """Of at most 40 columns, as far as there are some after the `before` ones."""
    room = min(40, (_width(sys.stdout) or 80) - before)
    return "█" * round(room * max(0.0, min(1.0, share)))


@contextmanager
def progress(quiet: bool) -> Iterator[Tick]:
    """Live bars on a terminal; elsewhere lines."""
    if quiet:
        yield silent
    elif sys.stderr.isatty():
        from plfeat_cli.bars import bars

        with bars() as tick:
            yield tick
    else:
        from plfeat_cli.log import Log, lines

        with lines(say, Log()) as tick:
            yield tick
