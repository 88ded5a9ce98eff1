"""Rows in, a table out: markdown for people, csv and plain dictionaries for machines."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from plfeat.records import Contrast, Row

FOLDS = (
    "Every figure is the mean of the folds' figures, each of the same weight. A video that several folds test counts "
    "in each of them; in intervals and p it stands as one."
)


def as_dicts(rows: list[Row]) -> list[dict[str, Any]]:
    return [dataclasses.asdict(row) for row in rows]


def as_csv(rows: list[Row]) -> str:
    """One line a row, nested figures flattened."""
    import pandas as pd

    flat = pd.json_normalize(as_dicts(rows), sep="_").drop(columns="step", errors="ignore")
    flat = flat.rename(columns=lambda name: name.replace("folds_", "fold_", 1) if name.startswith("folds_") else name)
    text: str = flat.to_csv(index=False, float_format="%.6f", lineterminator="\n")
    return text


def cells(rows: list[Row]) -> list[list[str]]:
    """A header and one line a row, as a reader sees them: percentages, with 95 % intervals."""
    folds = list(rows[0].folds) if len(rows[0].folds) > 1 else []
    strata = list(dict.fromkeys(name for row in rows for name in row.strata))
    mirrors = any(row.mirror is not None for row in rows)
    header = [
        "method",
        "seeds",
        "top-1 [95 %]",
        "top-5",
        *(f"fold {fold}" for fold in folds),
        *strata,
        *(["mirror pairs"] if mirrors else []),
        "vs row above [95 %]",
        "changed",
        "p",
    ]
    lines = [header]
    for row in rows:
        line = [
            row.method,
            str(row.seeds),
            f"{_percent(row.top1)} [{_percent(row.low)}, {_percent(row.high)}]",
            _percent(row.top5),
        ]
        line += [_percent(row.folds[fold]) for fold in folds]
        line += [_percent(row.strata[name]) if name in row.strata else "" for name in strata]
        line += [_percent(row.mirror) if row.mirror is not None else ""] if mirrors else []
        if row.step is None:
            line += ["", "", ""]
        else:
            step = row.step
            line += [
                f"{100 * step.gain:+.1f} [{100 * step.low:+.1f}, {100 * step.high:+.1f}]",
                str(step.changed),
                _p(step.p),
            ]
        lines.append(line)
    return lines


def contrast_cells(contrasts: list[Contrast]) -> list[list[str]]:
    """A method a line, a stratum a column: the difference with its 95 % interval, and a star where p < 0.05."""
    strata = {contrast.stratum: contrast.n for contrast in contrasts}
    lines = [["method", *(f"{name} (n = {n})" for name, n in strata.items())]]
    for method in dict.fromkeys(contrast.method for contrast in contrasts):
        own = {contrast.stratum: contrast for contrast in contrasts if contrast.method == method}
        lines.append([method, *(_difference(own[name]) for name in strata)])
    return lines


def _difference(contrast: Contrast) -> str:
    gain = contrast.after - contrast.before
    star = " *" if contrast.p < 0.05 else ""
    return f"{100 * gain:+.1f} [{100 * contrast.low:+.1f}, {100 * contrast.high:+.1f}]{star}"


def contrasts_as_markdown(contrasts: list[Contrast], baseline: str, remarks: Sequence[str] = ()) -> str:
    note = (
        f"Points of top-1 above or below {baseline}, on the same videos, with 95 % intervals over videos and seeds; "
        f"* p < 0.05, sign-flip permutation paired by video, Holm-corrected over all {len(contrasts)} differences here."
    )
    notes = "\n\n".join([note, *remarks])
    return f"## Against {baseline}\n\n{_markdown(contrast_cells(contrasts))}\n\n{notes}\n"


def contrasts_as_csv(contrasts: list[Contrast]) -> str:
    import pandas as pd

    frame = pd.DataFrame([dataclasses.asdict(contrast) for contrast in contrasts])
    text: str = frame.to_csv(index=False, float_format="%.6f", lineterminator="\n")
    return text


def footnotes(rows: list[Row], remarks: Sequence[str] = ()) -> list[str]:
    missing, folds = max(row.missing for row in rows), list(rows[0].folds)
    over = {0: "", 1: f" of fold {folds[0]} alone" if folds else ""}.get(
        len(folds), f", of {len(folds)} folds together"
    )
    notes = [
        f"n = {rows[0].n} {rows[0].split} videos{over}"
        + (f"; {missing} more have no features and are left out of every row" if missing else "; none missing")
        + ". Intervals: 95 %, over videos and seeds. p: sign-flip permutation paired by video, Holm-corrected, for "
        "these runs on other videos (not for other seeds); n.s. = not significant at 5 %. "
        "changed: videos on which the two rows disagree."
    ]
    notes += [FOLDS] if len(folds) > 1 else []
    pairs = next((row.mirror_n for row in rows if row.mirror is not None), 0)
    if pairs:
        notes.append(
            f"mirror pairs: the {pairs} videos whose class has a twin that shows the same frames in another order; "
            "how often their own class beats the twin. Chance is 50; mean pooling cannot see order and stays near it."
        )
    return [*notes, *remarks]


def as_markdown(rows: list[Row], title: str, remarks: Sequence[str] = ()) -> str:
    notes = (f"{note}\n" for note in footnotes(rows, remarks))
    return "\n".join([f"# {title}", "", _markdown(cells(rows)), "", *notes]).rstrip() + "\n"


def _markdown(lines: list[list[str]]) -> str:
    header, *rest = lines
    lines = [header, ["---"] * len(header), *rest]
    return "\n".join(
        "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in line) + " |" for line in lines
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _p(p: float) -> str:
    return ("<0.001" if p < 0.001 else f"{p:.3f}") + (" n.s." if p >= 0.05 else "")
