"""Runs in, tables and figures out. Never trains: everything is rebuilt from the records."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from plfeat.errors import DataError
from plfeat.files import write_text
from plfeat.progress import stage
from plfeat.flows.results import open_run, require_numbers, settings_name
from plfeat.metrics.classify import confusion, top_k_hits
from plfeat.metrics.compare import contrasts, rows_of
from plfeat.records import Contrast, Row, Run, Tick, silent
from plfeat.report.figures import confusion_figure
from plfeat.report.runs import find_runs, numerics_of
from plfeat.report.table import (
    as_csv,
    as_dicts,
    as_markdown,
    cells,
    contrast_cells,
    contrasts_as_csv,
    contrasts_as_markdown,
    footnotes,
)

_SAME = 1e-4  # what a fleet promises


@dataclass(frozen=True)
class Report:
    rows: list[Row]
    files: list[Path]
    contrasts: list[Contrast] = field(default_factory=list)

    @property
    def cells(self) -> list[list[str]]:
        """A header and the rows, as text."""
        return cells(self.rows)

    @property
    def footnotes(self) -> list[str]:
        return footnotes(self.rows)

    @property
    def contrast_cells(self) -> list[list[str]]:
        return contrast_cells(self.contrasts)

    def contrasts_as_dicts(self) -> list[dict[str, Any]]:
        return [asdict(contrast) for contrast in self.contrasts]

    def as_dicts(self) -> list[dict[str, Any]]:
        return as_dicts(self.rows)


def report(run_roots: list[Path], out: Path, title: str, against: str | None = None, tick: Tick = silent) -> Report:
    """A table of every run under the given folders, lowest accuracy first, and the last row's confusion matrix. With
    `against`, a second table: every other method against that one, stratum by stratum."""
    folders = find_runs(run_roots)
    runs = _distinct([open_run(folder) for folder in _counted(folders, tick)], folders)
    means = {method: _mean_hits(runs, method) for method in dict.fromkeys(run.method for run in runs)}
    runs = sorted(runs, key=lambda run: (means[run.method], run.method, run.seed))
    compared = []
    if against is not None:
        with stage(tick, f"against {against}"):
            compared = contrasts(runs, against)
    done = write_report(runs, out, title, tick)
    if against is None:
        return done
    files = [out / "against.md", out / "against.csv"]
    write_text(files[0], contrasts_as_markdown(compared, against))
    write_text(files[1], contrasts_as_csv(compared))
    return Report(done.rows, [*done.files, *files], compared)


def summarise(runs: list[Run]) -> Report:
    """The rows alone; nothing is written."""
    return Report(rows_of(_distinct(runs)), [])


def _counted(folders: list[Path], tick: Tick) -> Iterator[Path]:
    for number, folder in enumerate(folders, 1):
        yield folder
        tick("reading runs", number, len(folders))


def write_report(runs: list[Run], out: Path, title: str, tick: Tick = silent) -> Report:
    """The rows stand in the order in which the methods first appear in `runs`."""
    with stage(tick, "comparing rows"):
        rows = rows_of(runs)
    best = rows[-1].method
    files = [out / "table.md", out / "table.csv", out / "confusion.png"]
    write_text(files[0], as_markdown(rows, title))
    write_text(files[1], as_csv(rows))
    with stage(tick, "drawing"):
        counts = sum(confusion(run.scores_NC, run.label_N) for run in runs if run.method == best)
        confusion_figure(np.asarray(counts), runs[0].classes, runs[0].group, f"{title}: {best}", files[2])
    return Report(rows, files)


def _distinct(runs: list[Run], folders: list[Path] | None = None) -> list[Run]:
    """Copies of one run count once, also where it was tested again: alone and in a fleet the last bits may differ. Runs
    over several caches say which, so that no row mixes them; so do those of one method that were made on several kinds
    of device or in several precisions, or with settings that it did not have when the others were made."""
    several = len({run.about.get("fingerprint") for run in runs}) > 1
    makers, settings = _by_method(runs, _maker), _by_method(runs, _settings)
    kept: dict[tuple[str, int], tuple[int, Run]] = {}
    for number, run in enumerate(runs):
        require_numbers(run)
        method = f"{run.method} @{run.about.get('fingerprint', '?')[:6]}" if several else run.method
        method += f", {_maker(run)}" if len(makers[run.method]) > 1 else ""
        method += f", settings @{_settings(run)}" if len(settings[run.method]) > 1 else ""
        first, other = kept.setdefault((method, run.seed), (number, replace(run, method=method)))
        which = f"runs {folders[first]} and {folders[number]} are both" if folders else "two runs are"
        if other.id_N != run.id_N:
            raise DataError(
                f"{which} {method!r} with seed {run.seed}, over different videos ({len(other.id_N)} and "
                f"{len(run.id_N)}); only runs over the same videos can share a table"
            )
        if not np.allclose(other.scores_NC, run.scores_NC, rtol=0, atol=_SAME):
            raise DataError(f"{which} {method!r} with seed {run.seed}, but differ; report one")
    return [run for _, run in kept.values()]


def _by_method(runs: list[Run], fact: Callable[[Run], str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for run in runs:
        found.setdefault(run.method, set()).add(fact(run))
    return found


def _maker(run: Run) -> str:
    made_by = numerics_of(run)
    return f"{made_by['compute']} on {made_by['device']}"


def _settings(run: Run) -> str:
    return settings_name(run.about.get("config") or {})


def _mean_hits(runs: list[Run], method: str) -> float:
    return float(np.mean([top_k_hits(run.scores_NC, run.label_N, 1) for run in runs if run.method == method]))
