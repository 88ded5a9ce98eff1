"""Results to stdout, everything for people to stderr."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from plfeat.records import Tick, silent

if TYPE_CHECKING:
    from plfeat.flows.predict import Prediction


def result(content: Any) -> None:
    """One JSON document on stdout."""
    print(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False, default=str))


def say(text: str, quiet: bool = False) -> None:
    if not quiet:
        print(text, file=sys.stderr, flush=True)


def table(lines: list[list[str]]) -> None:
    """Aligned columns on stdout; the first line is a header. Everything but the first column is set flush right."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for number, line in enumerate(lines):
        cells = [
            line[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
        ]
        print("  ".join(cells).rstrip())
        if number == 0:
            print("  ".join("-" * width for width in widths))


def explanation(found: "Prediction") -> None:
    """Bars for frames and words, the contexts' neighbours in the vocabulary."""
    why = found.why
    if why is None:
        return
    print(f"\n{found.video}: {found.best[0][0]}\n  frames ({why.frames_are})")
    for index, value in zip(found.frame_index, why.frames, strict=True):
        print(f"    {index:>6}  {value:6.3f}  {_bar(value)}")
    for step, attention in enumerate(why.word_attention, 1):
        print(f"  words, step {step}")
        for word, value in zip(why.words, attention, strict=True):
            print(f"    {word:>14}  {value:6.3f}  {_bar(value)}")
    for number, words in enumerate(why.contexts, 1):
        print(f"  [V{number}] is nearest to " + ", ".join(f"{word!r} ({far:.2f})" for word, far in words))


def _bar(share: float) -> str:
    return "█" * round(40 * max(0.0, min(1.0, share)))


@contextmanager
def progress(quiet: bool) -> Iterator[Tick]:
    """Live bars on a terminal; elsewhere lines."""
    if quiet:
        yield silent
    elif sys.stderr.isatty():
        with _bars() as tick:
            yield tick
    else:
        from plfeat_cli.log import Log, lines

        with lines(say, Log()) as tick:
            yield tick


@contextmanager
def _bars() -> Iterator[Tick]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:<18}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[note]}", style="dim"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks = {}

        def tick(stage: str, done: int, total: int, note: str = "", /) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total, note="")
            bars.update(tasks[stage], completed=done, total=total, note=note)

        yield tick
