"""Runs in, tables and figures out. Never trains: everything is rebuilt from the records."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from plfeat.errors import DataError
from plfeat.files import write_text
from plfeat.flows.results import open_run, require_numbers, settings_name
from plfeat.metrics.classify import confusion
from plfeat.metrics.compare import contrasts, rows_of, top1_of
from plfeat.metrics.family import fold_of, lacking_folds, name_of_list, numbered
from plfeat.progress import stage
from plfeat.records import Contrast, Row, Run, Tick, silent
from plfeat.report.figures import confusion_figure
from plfeat.report.runs import find_runs, numerics_of
from plfeat.report.table import (
    FOLDS,
    as_csv,
    as_dicts,
    as_markdown,
    cells,
    contrast_cells,
    contrasts_as_csv,
    contrasts_as_markdown,
    footnotes,
)
from plfeat.report.titles import fingerprint_of, names_of_features, names_of_takes, takes_of

_SAME = 1e-4  # what a fleet promises


@dataclass(frozen=True)
class Report:
    rows: list[Row]
    files: list[Path]
    contrasts: list[Contrast] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)  # what the rows do not say: which runs count, and what as one

    @property
    def cells(self) -> list[list[str]]:
        """A header and the rows, as text."""
        return cells(self.rows)

    @property
    def footnotes(self) -> list[str]:
        return footnotes(self.rows, self.remarks)

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
    runs, remarks = _complete(_distinct([open_run(folder) for folder in _counted(folders, tick)], folders))
    top1 = top1_of(runs)
    runs = sorted(runs, key=lambda run: (top1[run.method], run.method, run.seed, fold_of(run)))
    compared = []
    if against is not None:
        with stage(tick, f"against {against}"):
            compared = contrasts(runs, against)
    done = write_report(runs, out, title, tick, remarks)
    if against is None:
        return done
    files = [out / "against.md", out / "against.csv"]
    folded = [FOLDS] if len(done.rows[0].folds) > 1 else []
    write_text(files[0], contrasts_as_markdown(compared, against, [*folded, *done.remarks]))
    write_text(files[1], contrasts_as_csv(compared))
    return Report(done.rows, [*done.files, *files], compared, done.remarks)


def summarise(runs: list[Run]) -> Report:
    """The rows alone; nothing is written."""
    runs, remarks = _complete(_distinct(runs))
    return Report(rows_of(runs), [], remarks=[*remarks, *_grouped(runs)])


def _counted(folders: list[Path], tick: Tick) -> Iterator[Path]:
    for number, folder in enumerate(folders, 1):
        yield folder
        tick("reading runs", number, len(folders))


def write_report(runs: list[Run], out: Path, title: str, tick: Tick = silent, remarks: Sequence[str] = ()) -> Report:
    """The rows stand in the order in which the methods first appear in `runs`."""
    with stage(tick, "comparing rows"):
        rows = rows_of(runs)
    best, remarks = rows[-1].method, [*remarks, *_grouped(runs)]
    files = [out / "table.md", out / "table.csv", out / "confusion.png"]
    write_text(files[0], as_markdown(rows, title, remarks))
    write_text(files[1], as_csv(rows))
    with stage(tick, "drawing"):
        counts = sum(confusion(run.scores_NC, run.label_N) for run in runs if run.method == best)
        confusion_figure(np.asarray(counts), runs[0].classes, runs[0].stratum, f"{title}: {best}", files[2])
    return Report(rows, files, remarks=remarks)


def _grouped(runs: list[Run]) -> list[str]:
    groups = {group for groups in dict.fromkeys(run.group_N for run in runs) for group in groups if group}
    return [f"Videos of one of the {len(groups)} groups stand together in intervals and p."] if groups else []


def _complete(runs: list[Run]) -> tuple[list[Run], list[str]]:
    """The seeds that a method has over all its folds, and a word about those that it has not, such as one whose
    training has diverged on one of them. Where no seed is complete all stay, and the table says what is missing."""
    kept, remarks = list[Run](), list[str]()
    for method in dict.fromkeys(run.method for run in runs):
        own = [run for run in runs if run.method == method]
        lacking = lacking_folds(own)
        whole = [run for run in own if run.seed not in lacking]
        kept += whole or own
        for seed, folds in sorted(lacking.items()) if whole else ():
            remarks.append(f"{method}: seed {seed} is left out, it has no run on {numbered('fold', folds)}.")
    return kept, remarks


def _distinct(runs: list[Run], folders: list[Path] | None = None) -> list[Run]:
    """Copies of one run count once, also where it was tested again: alone and in a fleet the last bits may differ. Runs
    over several lists or features say which, so that no row mixes them; so do those of one method that looked at other
    frames, that were made on several kinds of device or in several precisions, or with settings that it did not have
    when the others were made."""
    kept: dict[tuple[str, int, int], tuple[int, Run]] = {}
    for number, (run, method) in enumerate(zip(runs, _names(runs), strict=True)):
        require_numbers(run)
        first, other = kept.setdefault((method, run.seed, fold_of(run)), (number, replace(run, method=method)))
        which = f"runs {folders[first]} and {folders[number]} are both" if folders else "two runs are"
        what = f"{which} {method!r} with seed {run.seed}" + _fold(run)
        if other.id_N != run.id_N:
            raise DataError(
                f"{what}, over different videos ({_videos(other)} and {_videos(run)}); only runs over the same videos "
                "can share a table"
            )
        if not np.allclose(other.scores_NC, run.scores_NC, rtol=0, atol=_SAME):
            raise DataError(f"{what}, but differ; report one")
    return [run for _, run in kept.values()]


def _fold(run: Run) -> str:
    return f" on fold {fold_of(run)}" if run.about.get("folds", 1) > 1 else ""


def _videos(run: Run) -> str:
    return f"{len(run.id_N)}" + (f" of {run.about['list']}" if "list" in run.about else "")


def _names(runs: list[Run]) -> list[str]:
    """What a table calls each run: its method, and what differs between runs that must not share a row."""
    lists, features = {name_of_list(run) for run in runs}, names_of_features(runs)
    families = {
        method: [run for run in runs if run.method == method] for method in dict.fromkeys(r.method for r in runs)
    }
    takes = {method: names_of_takes(own) for method, own in families.items()}
    makers, settings = ({method: set(map(of, own)) for method, own in families.items()} for of in (_maker, _settings))
    names = []
    for run in runs:
        more = [
            (name_of_list(run) or "no list") if len(lists) > 1 else "",
            features[fingerprint_of(run)],
            takes[run.method][takes_of(run)],
            _maker(run) if len(makers[run.method]) > 1 else "",
            f"settings @{_settings(run)}" if len(settings[run.method]) > 1 else "",
        ]
        names.append(run.method + "".join(f" {name}" if name[0] == "@" else f", {name}" for name in more if name))
    return names


def _maker(run: Run) -> str:
    made_by = numerics_of(run)
    return f"{made_by['compute']} on {made_by['device']}"


def _settings(run: Run) -> str:
    """Which frames and views were read is left to the takes, where the record names them."""
    config = run.about.get("config") or {}
    if run.about.get("takes") and isinstance(config.get("data"), dict):
        data = {key: value for key, value in config["data"].items() if key not in ("frames", "views", "test_views")}
        config = config | {"data": data}
    return settings_name(config)
