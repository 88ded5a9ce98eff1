"""Results to stdout, everything for people to stderr."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from plfeat.records import Tick, silent


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


@contextmanager
def progress(quiet: bool) -> Iterator[Tick]:
    """Live bars on a terminal; elsewhere a line as each stage ends."""
    if quiet:
        yield silent
    elif sys.stderr.isatty():
        with _bars() as tick:
            yield tick
    else:
        yield _lines()


def _lines() -> Tick:
    ended = set()

    def tick(stage: str, done: int, total: int, note: str = "", /) -> None:
        if done == total and stage not in ended:
            ended.add(stage)
            say(f"{stage}: {done}/{total}" + (f" ({note})" if note else ""))

    return tick


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
