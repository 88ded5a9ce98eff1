"""The training bench takes the same step in every way, and tells what it measured."""

import json

from plfeat_cli.main import main


def test_all_four_ways_take_the_same_step(capfd) -> None:
    command = ["bench", "train", "--members", "2", "--steps", "1", "--repeats", "1", "--classes", "5"]
    assert main([*command, "--set", "optim.batch=8", "--json", "-q"]) == 0
    pace = json.loads(capfd.readouterr().out)
    assert pace["loss_difference"] < 1e-4
    assert set(pace["samples"]) == {"naive", "one", "fleet", "live"}
    assert pace["flops"]["naive"] > 2 * pace["flops"]["one"] > 0
    assert pace["flops"]["live"] > pace["flops"]["one"]
    assert pace["one_of_matmul"] > 0
    assert main([*command, "--set", "optim.batch=8", "-q"]) == 0
    assert "x naive" in capfd.readouterr().out


def test_more_classes_than_there_are_names_are_refused(capfd) -> None:
    assert main(["bench", "train", "--classes", "401"]) == 2
    assert "at most 400" in capfd.readouterr().err
