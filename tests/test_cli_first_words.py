"""What a command says first: mistakes are told, and work is announced, before torch is loaded."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ENVIRONMENT

from plfeat.desk import Desk
from plfeat.records import silent
from plfeat_cli import output

HEAVY = ["torch", "torchvision", "open_clip", "scipy", "sklearn", "pandas", "matplotlib"]

EARLY = """
import json, sys
from plfeat_cli.main import main

def loaded():
    return sorted(set(sys.modules) & set(json.loads(sys.argv[1])))

from plfeat import api
assert not loaded(), f"plfeat.api loads {loaded()}"
for code, arguments in json.loads(sys.argv[2]):
    assert main(arguments) == code, arguments
    assert not loaded(), f"{arguments} loads {loaded()}"
"""
"""Runs in a process of its own, since this one has loaded everything."""

WRONG = [
    (2, ["extract", "--dataset", "toi"]),
    (2, ["extract", "--dataset", "toy", "--set", "sample.frame=4"]),
    (2, ["extract", "--dataset", "toy", "--set", "sample.frames"]),
    (3, ["extract", "--dataset", "toy", "--root", "nowhere"]),
    (3, ["extract", "--dataset", "toy", "--root", "EMPTY"]),
    (2, ["extract", "--dataset", "toy", "--root", "VIDEOS", "--model", "ViT-B16"]),
    (2, ["extract", "--dataset", "toy", "--root", "VIDEOS", "--model", "ViT-B-16", "--pretrained", "openay"]),
    (2, ["extract", "--dataset", "toy", "--root", "VIDEOS", "--weights", "nowhere.pt"]),
    (2, ["extract", "--dataset", "toy", "--root", "VIDEOS", "--templates", "nowhere.txt"]),
    (2, ["extract", "--dataset", "toy", "--root", "VIDEOS", "--part", "3/2"]),
    (2, ["extract", "--dataset", "toy", "--root", "VIDEOS", "--model", "ViT-B16", "--dry-run"]),
    (2, ["train", "--frozen", "--preset", "promts"]),
    (2, ["train", "--frozen", "--set", "optim.rat=1"]),
    (4, ["train", "--frozen", "--cache", "EMPTY"]),
    (2, ["train", "--frozen", "--cache", "CACHE", "--out", "FILE"]),
    (2, ["train", "--frozen", "--cache", "CACHE", "--dataset", "toi"]),
    (2, ["train", "--frozen", "--cache", "CACHE", "--fold", "2"]),
    (2, ["train", "--frozen", "--cache", "CACHE", "--folds", "5"]),
    (2, ["train", "--frozen", "--cache", "CACHE", "--split", "70/10"]),
    (3, ["train", "--frozen", "--cache", "CACHE", "--names", "nowhere.csv"]),
    (2, ["train", "--frozen", "--cache", "CACHE", "--templates", "nowhere.txt"]),
    (2, ["train", "--frozen", "--cache", "CACHE", "--set", "data.views=9"]),
    (2, ["eval", "--zero-shot", "--cache", "CACHE", "--template", "{"]),
    (3, ["eval", "EMPTY", "--cache", "CACHE"]),
    (3, ["predict", "my.mp4", "--run", "EMPTY"]),
    (3, ["report", "EMPTY"]),
    (2, ["bench", "extract", "--model", "ViT-B16"]),
    (0, ["models", "ls"]),
    (0, ["cache", "ls", "--cache", "CACHE"]),
    (0, ["cache", "info", "CACHE"]),
    (0, ["cache", "verify", "--cache", "CACHE"]),
]


@pytest.fixture
def place(tmp_path: Path, small_folder: Path, small_desk: Desk) -> Path:
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "VIDEOS").symlink_to(small_folder)
    (tmp_path / "CACHE").symlink_to(small_desk.store.path)
    (tmp_path / "FILE").write_text("a file")
    return tmp_path


def test_mistakes_are_told_and_names_listed_before_anything_heavy_is_loaded(place: Path) -> None:
    command = [sys.executable, "-c", EARLY, json.dumps(HEAVY), json.dumps(WRONG)]
    done = subprocess.run(command, cwd=place, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("plfeat: ") == sum(code != 0 for code, _ in WRONG)


LISTENING = """
import sys
from plfeat_cli import output
from plfeat_cli.main import main

def say(text, quiet=False):
    if not quiet:
        print(text, "torch" in sys.modules, file=sys.stderr)

output.say = say
sys.exit(main(sys.argv[1:]))
"""


def test_the_wait_for_torch_is_announced_before_it_begins(place: Path) -> None:
    command = ["eval", "--zero-shot", "--cache", "CACHE", "--out", "OUT", "--json"]
    done = subprocess.run(
        [sys.executable, "-c", LISTENING, *command], cwd=place, env=ENVIRONMENT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"]
    assert done.stderr.splitlines()[0] == "loading torch… False"


def test_who_wants_quiet_hears_of_no_work() -> None:
    with output.progress(quiet=True) as tick:
        assert tick is silent
