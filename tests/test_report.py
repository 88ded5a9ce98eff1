"""Runs on disk and the tables rebuilt from them."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from plfeat.config import TrainConfig
from plfeat.errors import DataError
from plfeat.flows.record import method_of
from plfeat.flows.report import report, summarise
from plfeat.metrics.compare import contrasts, metrics_of, rows_of
from plfeat.records import Run
from plfeat.report.runs import environment, find_runs, load_run, save_run
from plfeat.report.table import cells, contrast_cells
from plfeat.settings import build
from plfeat_cli.main import main


def _run(method: str = "zero-shot", seed: int = 0) -> Run:
    rng = np.random.default_rng(seed)
    return Run(
        method=method,
        seed=seed,
        scores_NC=rng.random((40, 4), dtype=np.float32),
        label_N=np.arange(40) % 4,
        id_N=tuple(f"clip/ü {i}.mp4" for i in range(40)),
        classes=("a", "b", "c", "d"),
        stratum=("x", "x", "y", "y"),
        mirror=(None, None, 3, 2),
        about={"config": {"seeds": [seed]}, "fingerprint": "ab", "missing": 2, "environment": environment()},
    )


def test_a_run_comes_back_as_it_was(tmp_path: Path) -> None:
    before = _run()
    save_run(before, metrics_of(before), tmp_path / "run")
    after = load_run(tmp_path / "run")
    assert np.array_equal(before.scores_NC, after.scores_NC)
    assert (after.id_N, after.classes, after.stratum, after.mirror) == (
        before.id_N,
        before.classes,
        before.stratum,
        before.mirror,
    )
    assert after.about == before.about
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert record["n"] == 40
    assert record["metrics"]["top1"] == metrics_of(before)["top1"]
    assert record["environment"]["packages"]["torch"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("record.json", b"{"),
        ("record.json", b"[]"),
        ("scores.npz", b"PK"),
        ("scores.npz", None),
        ("record.json", b'{"method": 1}'),
    ],
)
def test_a_damaged_run_is_a_data_error_that_names_it(tmp_path: Path, name: str, content: bytes | None) -> None:
    save_run(_run(), {}, tmp_path / "run")
    (tmp_path / "run" / name).unlink()
    if content is not None:
        (tmp_path / "run" / name).write_bytes(content)
    with pytest.raises(DataError, match=r"run .*run"):
        load_run(tmp_path / "run")


def test_scores_are_never_unpickled(tmp_path: Path) -> None:
    save_run(_run(), {}, tmp_path / "run")
    with (tmp_path / "run" / "scores.npz").open("wb") as file:
        np.savez(file, scores=np.array([{"a": 1}], dtype=object), label=np.arange(1), id=np.array(["x"]))
    with pytest.raises(DataError, match="damaged"):
        load_run(tmp_path / "run")


def test_folders_without_runs_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        find_runs([tmp_path / "none"])
    with pytest.raises(DataError, match=r"no record\.json"):
        find_runs([tmp_path])


def test_report_rebuilds_the_table_from_the_records_alone(tmp_path: Path) -> None:
    runs = [_run("zero-shot"), *(_run("trained", seed) for seed in (1, 2))]
    for number, run in enumerate(runs):
        save_run(run, metrics_of(run), tmp_path / "runs" / str(number))
    done = report([tmp_path / "runs"], tmp_path / "out", "A title")
    expected = {row.method: row.top1 for row in summarise(runs).rows}
    assert {row.method: row.top1 for row in done.rows} == expected
    assert [row.top1 for row in done.rows] == sorted(expected.values())
    text = (tmp_path / "out" / "table.md").read_text()
    assert text.startswith("# A title\n")
    assert "n = 40 test videos; 2 more have no features and are left out of every row" in text
    assert "n.s." in text
    lines = list(csv.DictReader(io.StringIO((tmp_path / "out" / "table.csv").read_text())))
    assert {line["method"]: float(line["top1"]) for line in lines} == pytest.approx(expected, abs=1e-6)
    assert lines[1]["step_p"]
    with Image.open(tmp_path / "out" / "confusion.png") as picture:
        assert min(picture.size) > 300


def test_what_is_significant_is_marked_and_what_is_not_is_said(tmp_path: Path) -> None:
    luck, other = _run("luck"), _run("other luck", 1)
    skill = replace(_run("skill", 2), scores_NC=np.eye(4, dtype=np.float32)[np.arange(40) % 4])
    lines = cells(rows_of([luck, other, skill]))
    assert lines[2][-1].endswith(" n.s.")
    assert lines[3][-1] == "<0.001"
    header, *rest = contrast_cells(contrasts([luck, other, skill], "luck"))
    assert header[1] == "all (n = 40)"
    assert {line[0]: line[1].endswith(" *") for line in rest} == {"other luck": False, "skill": True}


def test_copies_of_a_run_count_once_and_two_runs_under_one_name_are_refused(tmp_path: Path) -> None:
    for folder, run in (("a", _run()), ("b", _run()), ("c", _run("trained", 1))):
        save_run(run, metrics_of(run), tmp_path / "runs" / folder)
    assert [row.seeds for row in report([tmp_path / "runs"], tmp_path / "out", "T").rows] == [1, 1]
    other = replace(_run(), scores_NC=_run(seed=5).scores_NC)
    save_run(other, metrics_of(other), tmp_path / "runs" / "d")
    with pytest.raises(DataError, match="both 'zero-shot' with seed 0, but differ"):
        report([tmp_path / "runs"], tmp_path / "out", "T")


def test_runs_over_two_caches_never_share_a_row(tmp_path: Path) -> None:
    for folder, fingerprint in (("a", "aaaaaaaa"), ("b", "bbbbbbbb")):
        run = replace(_run(), about=_run().about | {"fingerprint": fingerprint})
        save_run(run, metrics_of(run), tmp_path / "runs" / folder)
    rows = report([tmp_path / "runs"], tmp_path / "out", "T").rows
    assert {row.method for row in rows} == {"zero-shot @aaaaaa", "zero-shot @bbbbbb"}


def test_a_run_is_named_after_everything_that_is_not_at_its_default() -> None:
    assert method_of(TrainConfig()) == "prompts"
    config = build(TrainConfig, overrides=["optim.rate=0.5", "context.sharing=shared", "seeds=[7]"])
    assert method_of(config) == "prompts, context.sharing=shared, optim.rate=0.5"


def test_the_same_runs_make_the_same_files(tmp_path: Path) -> None:
    for number, run in enumerate([_run("zero-shot"), _run("trained", 1)]):
        save_run(run, metrics_of(run), tmp_path / "runs" / str(number))
    first = [file.read_bytes() for file in report([tmp_path / "runs"], tmp_path / "a", "T").files]
    second = [file.read_bytes() for file in report([tmp_path / "runs"], tmp_path / "b", "T").files]
    assert first == second


def test_a_second_table_sets_every_method_against_one(tmp_path: Path, capfd) -> None:
    for number, run in enumerate([_run("zero-shot"), _run("trained", 1), _run("tuned", 2)]):
        save_run(run, metrics_of(run), tmp_path / "runs" / str(number))
    command = ["report", str(tmp_path / "runs"), "--out", str(tmp_path / "out"), "--against", "zero-shot"]
    assert main([*command, "--json"]) == 0
    found = json.loads(capfd.readouterr().out)["against"]["zero-shot"]
    assert {contrast["method"] for contrast in found} == {"trained", "tuned"}
    assert main(command) == 0
    assert "against zero-shot" in capfd.readouterr().out
    page = (tmp_path / "out" / "against.md").read_text()
    assert page.startswith("## Against zero-shot\n")
    assert f"Holm-corrected over all {len(found)} differences" in page
    lines = list(csv.DictReader(io.StringIO((tmp_path / "out" / "against.csv").read_text())))
    assert [float(line["p"]) for line in lines] == pytest.approx([contrast["p"] for contrast in found], abs=1e-6)
    before = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert main([*command[:-1], "none", "--out", str(tmp_path / "other")]) == 2
    assert not (tmp_path / "other").exists()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == before
