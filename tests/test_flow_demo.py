"""The slice from video to table: the ladder holds, the numbers repeat, the pages are there."""

import csv
import io
import json
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from conftest import ENVIRONMENT, Said
from PIL import Image
from scipy.stats import binomtest

from plfeat.flows.demo import Demo, demo
from plfeat.metrics.classify import top_k_hits
from plfeat.metrics.stats import mcnemar_p
from plfeat.presets import train_config
from plfeat.records import Row, silent
from plfeat.report.runs import find_runs, load_run

CHANCE = 1 / 24


@dataclass(frozen=True)
class DemoRun:
    demo: Demo
    out: Path
    work: Path
    test: int


@pytest.fixture(scope="module", params=["small", pytest.param("the README's", marks=pytest.mark.slow)])
def demo_run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> DemoRun:
    """The demo in folders of its own: as the README runs it, and with a third of the videos for a third of the time."""
    base, small = tmp_path_factory.mktemp("demo"), request.param == "small"
    videos, test = (336, 144) if small else (960, 384)
    config = train_config(overrides=["optim.epochs=20"] if small else [])
    done = demo(base / "runs", base / "reports", base / "cache", videos, config, silent)
    return DemoRun(done, base / "reports", base / "runs", test)


@pytest.fixture(scope="module")
def rows(demo_run: DemoRun) -> dict[str, Row]:
    """Trained contexts are called `prompts`, however long they were trained."""
    return {row.method.partition(",")[0]: row for row in demo_run.demo.report.rows}


def test_the_ladder_holds(rows: dict[str, Row]) -> None:
    """chance < zero-shot < trained prompts, every step significant, corrected and in every single seed."""
    assert list(rows) == ["chance", "zero-shot", "prompts"]
    assert rows["prompts"].seeds >= 3
    for method in ("zero-shot", "prompts"):
        step = rows[method].step
        assert step is not None
        assert step.low > 0, method
        assert step.p < 0.05, method
        assert len(step.seed_p) >= 3
        assert max(step.seed_p) < 0.05, method


def test_the_ladders_first_step_is_above_the_chance_one_can_compute(demo_run: DemoRun) -> None:
    """An independent look at the stored scores: no table code between them and the claim."""
    runs = [load_run(folder) for folder in find_runs([demo_run.work])]
    hits = {
        (run.method.partition(",")[0], run.seed): top_k_hits(run.scores_NC, run.label_N, 1).astype(float)
        for run in runs
    }
    zero_shot = hits["zero-shot", 0]
    assert zero_shot.mean() > 3 * CHANCE
    assert binomtest(int(zero_shot.sum()), len(zero_shot), CHANCE, alternative="greater").pvalue < 1e-6
    for seed in range(3):
        assert hits["prompts", seed].mean() > zero_shot.mean()
        assert mcnemar_p(hits["prompts", seed], zero_shot) < 0.05


def test_zero_shot_is_clearly_above_chance_and_clearly_below_the_ceiling(rows: dict[str, Row]) -> None:
    row = rows["zero-shot"]
    assert row.low > (3 if row.n == 384 else 2) * CHANCE  # fewer videos, a wider interval
    assert row.high < 0.8


def test_order_stays_near_pairwise_chance_because_mean_pooling_has_none(rows: dict[str, Row]) -> None:
    for row in rows.values():
        assert row.mirror is not None
        assert 0.35 < row.mirror < 0.65, row.method
    trained = rows["prompts"].strata
    assert trained["order"] < 0.65
    assert trained["appearance"] > trained["order"]


def test_every_stratum_stands_in_the_table(demo_run: DemoRun) -> None:
    text = (demo_run.out / "table.md").read_text()
    for word in (
        "appearance",
        "set",
        "order",
        "mirror pairs",
        "[95 %]",
        f"n = {demo_run.test} test videos; none missing",
    ):
        assert word in text, word
    lines = list(csv.DictReader(io.StringIO((demo_run.out / "table.csv").read_text())))
    assert [line["method"].partition(",")[0] for line in lines] == ["chance", "zero-shot", "prompts"]
    with Image.open(demo_run.out / "confusion.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 10


def _trained(demo_run: DemoRun) -> Path:
    (folder,) = (demo_run.work / "runs").glob("toy-*")
    return folder


def test_a_record_says_everything_about_its_run(demo_run: DemoRun) -> None:
    record = json.loads((_trained(demo_run) / "seed-0" / "record.json").read_text())
    assert record["fingerprint"] == demo_run.demo.extraction.path.name
    assert record["n"] == demo_run.test
    assert record["missing"] == 0
    assert record["config"]["seeds"] == [0]
    assert record["recipe"]["encoder"]["activation"] == "gelu"
    assert record["environment"]["packages"]["open_clip_torch"]
    assert 0 < record["seconds"] <= demo_run.demo.seconds["train"]
    names = {path.name for path in (_trained(demo_run) / "seed-0").iterdir()}
    assert names == {"record.json", "scores.npz", "model.safetensors", "config.json", "classes.json", "curve.csv"}


def test_the_demo_twice_gives_the_same_numbers_and_one_json_document(
    tmp_path: Path, plfeat: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And never asks the network."""

    def refuse(*given: object, **named: object) -> None:
        raise AssertionError("the network was asked")

    for name in ("create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    documents, tables = [], []
    for folder in ("one", "two", "two"):  # the third finds its videos, features and runs already there
        (tmp_path / folder).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / folder)
        done = plfeat("demo", "--videos", "96", "--set", "optim.epochs=3", "--json", "--quiet")
        assert (done.code, done.err) == (0, "")
        document = json.loads(done.out)
        documents.append((document["rows"], document["cache"], document["files"]))
        tables.append((Path("reports/demo/table.md").read_bytes(), Path("reports/demo/confusion.png").read_bytes()))
    assert documents[0] == documents[1] == documents[2]
    assert tables[0] == tables[1] == tables[2]


@pytest.mark.slow
def test_the_demo_needs_no_network_from_its_first_import_on(tmp_path: Path) -> None:
    code = """
import socket, sys
def refuse(*a, **k): raise AssertionError("the network was asked")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from plfeat_cli.main import main
sys.exit(main(["--debug", "demo", "--videos", "96", "--set", "optim.epochs=1", "--quiet"]))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
