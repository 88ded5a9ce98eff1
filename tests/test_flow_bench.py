"""The training bench takes the same step in every way, and tells what it measured."""

import json

import pytest

from plfeat.flows import bench_train
from plfeat_cli.main import main


def test_all_four_ways_take_the_same_step(monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    monkeypatch.setitem(bench_train._LARGE, "cpu", 256)  # what a chip can do is not asked here
    command = ["bench", "train", "--members", "2", "--steps", "1", "--repeats", "1", "--classes", "5"]
    assert main([*command, "--set", "optim.batch=8", "--json", "-q"]) == 0
    pace = json.loads(capfd.readouterr().out)
    assert pace["loss_difference"] < 1e-4
    assert set(pace["samples"]) == {"naive", "one", "fleet", "live"}
    assert pace["flops"]["naive"] > 2 * pace["flops"]["one"] > 0
    assert pace["flops"]["live"] > pace["flops"]["one"]
    reached = pace["flops"]["one"] * pace["samples"]["one"] / pace["batch"]
    assert pace["one_of_matmul"] == pytest.approx(reached / pace["matmul_flops"])
    monkeypatch.setattr(bench_train, "bench_train", lambda *given, **named: bench_train.Pace(**pace))
    assert main([*command, "--set", "optim.batch=8", "-q"]) == 0
    said = capfd.readouterr().out
    assert f"{pace['one_of_naive']:.1f} x naive, {pace['one_of_live']:.1f} x live" in said
    assert f"{pace['fleet_of_one']:.2f} x a fleet of one" in said


def test_more_classes_than_there_are_names_are_refused(capfd) -> None:
    assert main(["bench", "train", "--classes", "401"]) == 2
    assert "at most 400" in capfd.readouterr().err
