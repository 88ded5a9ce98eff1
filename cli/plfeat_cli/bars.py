"""How far work is, on a terminal: a bar a stage, and below it what there is to say about it. On stderr."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from plfeat.records import Tick

_BAR, _TIME = 64, 44  # columns that a terminal has to have for a bar to be drawn, and for the time to be told


class _Bars(Progress):
    """A stage's note has lines of its own below the bar: beside it there would be no room for the counts."""

    def get_renderables(self) -> Iterable[RenderableType]:
        for task in self.tasks:
            yield self.make_tasks_table([task])
            if task.fields["note"]:
                yield Padding(Text(task.fields["note"], style="dim"), (0, 0, 0, 2))


@contextmanager
def bars() -> Iterator[Tick]:
    console = Console(stderr=True)
    columns: list[ProgressColumn] = [
        TextColumn("{task.description}", table_column=Column(min_width=18)),
        BarColumn(None, table_column=Column(ratio=1)),
        MofNCompleteColumn(table_column=Column(no_wrap=True, min_width=13, justify="right")),
        TimeRemainingColumn(elapsed_when_finished=True, table_column=Column(no_wrap=True)),
    ]
    if console.width < _BAR:
        del columns[1]
    if console.width < _TIME:
        del columns[-1]
    with _Bars(*columns, console=console, expand=console.width >= _BAR) as shown:
        tasks: dict[str, TaskID] = {}

        def tick(stage: str, done: int, total: int, note: str = "", /) -> None:
            if total == 1 and done == 1 and not note:  # a stage without counts leaves no bar behind
                if stage in tasks:
                    shown.remove_task(tasks.pop(stage))
                return
            if stage not in tasks:
                tasks[stage] = shown.add_task(stage, total=total, note="")
            shown.update(tasks[stage], completed=done, total=total, note=note)

        yield tick
