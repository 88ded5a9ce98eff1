"""On which kind of device and in which precision: every record says it, no row and no training mixes two."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
import torch
from conftest import quick

from plfeat.desk import Desk
from plfeat.errors import DataError, UsageError
from plfeat.flows.evaluate import evaluate
from plfeat.flows.report import report, summarise
from plfeat.flows.train import _gather, train_frozen
from plfeat.presets import train_config
from plfeat.records import silent
from plfeat.report.runs import load_run, numerics_of
from plfeat.train.member import read_member

CONFIG = quick("vit", ("optim.epochs=1", "seeds=[0]"))
CPU, CUDA = {"device": "cpu", "compute": "float32"}, {"device": "cuda", "compute": "bfloat16"}


def _made_on_a_gpu(folder: Path) -> None:
    """As its record would say."""
    record = json.loads((folder / "record.json").read_text())
    (folder / "record.json").write_text(json.dumps(record | {"numerics": CUDA}))


def test_every_record_says_device_and_precision(toy_desk: Desk, tmp_path: Path) -> None:
    (run,) = train_frozen(CONFIG, toy_desk, tmp_path / "a", silent).runs
    assert run.about["numerics"] == read_member(tmp_path / "a" / "seed-0")[2]["numerics"] == CPU
    again = evaluate(tmp_path / "a" / "seed-0", toy_desk, tmp_path / "again")
    assert again.about["numerics"] == CPU
    for preset in ("zero-shot", "nearest-mean"):
        assert train_frozen(quick(preset, ()), toy_desk, tmp_path / preset, silent).runs[0].about["numerics"] == CPU


def test_a_trainings_hash_names_what_unset_precision_leads_to(toy_desk: Desk, tmp_path: Path) -> None:
    """The same settings are bfloat16 on a GPU and float32 on a CPU: neither goes on where the other was."""
    given = _gather(CONFIG, toy_desk, tmp_path, "cpu", silent)
    there = dataclasses.replace(given, device=torch.device("cuda:1"))
    assert (given.made_by, there.made_by) == (CPU, CUDA)
    assert given.name((0,)) != there.name((0,))
    assert there.name((0,)) == dataclasses.replace(given, device=torch.device("cuda")).name((0,))


def test_what_was_made_on_another_kind_of_device_is_not_resumed_nor_added_to(toy_desk: Desk, tmp_path: Path) -> None:
    train_frozen(CONFIG, toy_desk, tmp_path, silent)
    _made_on_a_gpu(tmp_path / "seed-0")
    said = "seed-0 was made on cuda in bfloat16, here it would be on cpu in float32; say --device cuda"
    with pytest.raises(UsageError, match=said):
        train_frozen(CONFIG, toy_desk, tmp_path, silent, resume=True)
    with pytest.raises(UsageError, match=said):
        train_frozen(CONFIG.model_copy(update={"seeds": (1,)}), toy_desk, tmp_path, silent)
    assert load_run(tmp_path / "seed-0").about["numerics"] == CUDA
    train_frozen(CONFIG, toy_desk, tmp_path, silent)  # all of one's own may be written over
    assert load_run(tmp_path / "seed-0").about["numerics"] == CPU


def test_runs_of_two_precisions_never_share_a_row(toy_desk: Desk, tmp_path: Path) -> None:
    runs = train_frozen(CONFIG.model_copy(update={"seeds": (0, 1)}), toy_desk, tmp_path, silent).runs
    (name,) = {run.method for run in runs}
    assert [row.method for row in summarise(runs).rows] == [name]
    mixed = [runs[0], dataclasses.replace(runs[1], about=runs[1].about | {"numerics": CUDA})]
    assert {row.method for row in summarise(mixed).rows} == {
        f"{name}, float32 on cpu",
        f"{name}, bfloat16 on cuda",
    }


def test_a_record_that_does_not_say_a_setting_is_not_taken_for_one_of_today(toy_desk: Desk, tmp_path: Path) -> None:
    """A preset keeps its name when what it means is mended; a row of both would be no method at all."""
    train_frozen(CONFIG, toy_desk, tmp_path, silent)
    train_frozen(CONFIG.model_copy(update={"seeds": (1,)}), toy_desk, tmp_path, silent)
    assert len(report([tmp_path], tmp_path / "one", "").rows) == 1
    record = json.loads((tmp_path / "seed-0" / "record.json").read_text())
    del record["config"]["scale"]
    (tmp_path / "seed-0" / "record.json").write_text(json.dumps(record))
    rows = report([tmp_path], tmp_path / "two", "").rows
    assert [row.seeds for row in rows] == [1, 1]
    assert all(re.search(r", settings @[0-9a-f]{6}$", row.method) for row in rows)
    with pytest.raises(UsageError, match="seed-0 is of another training"):
        train_frozen(CONFIG.model_copy(update={"seeds": (1,)}), toy_desk, tmp_path, silent)


@pytest.mark.parametrize("forged", [[1], "cpu", {}, {"device": 1, "compute": None}, CPU | {"device": "cpu\n\x1b[31m"}])
def test_numerics_that_are_none_are_a_damaged_record(forged: object, toy_desk: Desk, tmp_path: Path) -> None:
    train_frozen(train_config("nearest-mean"), toy_desk, tmp_path, silent)
    path = next(tmp_path.rglob("record.json"))
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"numerics": forged}))
    if forged == {}:
        assert numerics_of(load_run(path.parent)) == CPU  # as before it was said
    else:
        with pytest.raises(DataError, match=r"the record or its scores are damaged \(numerics\)"):
            load_run(path.parent)
