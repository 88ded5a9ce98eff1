"""The command line: exit codes, one-line errors, results on stdout, remarks on stderr, nothing heavy too early."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ENVIRONMENT, HOME, Said

from plfeat.desk import Desk
from plfeat_cli.main import app, main

PLFEAT = [sys.executable, "-m", "plfeat_cli.main"]


def everything_under(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.mark.parametrize("arguments", [["--help"], ["demo", "--help"], ["train", "--help"], ["--version"], []])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = f"""
import sys
from plfeat_cli.main import main
assert main({arguments!r}) == 0
heavy = {{"torch", "open_clip", "pandas", "matplotlib", "scipy", "h5py"}}
print(sorted({{name.split(".")[0] for name in sys.modules}} & heavy))
"""
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_every_command_has_help_and_stands_in_the_readme() -> None:
    readme = (HOME / "README.md").read_text()
    for command in app.registered_commands:
        name = command.name or ""
        assert (command.callback.__doc__ or "").strip(), name
        assert re.search(rf"plfeat {name}\b", readme), f"`plfeat {name}` is not in the README"
    for group in app.registered_groups:
        for command in group.typer_instance.registered_commands:
            assert (command.callback.__doc__ or "").strip()
            assert f"plfeat {group.name} {command.name}" in readme, f"plfeat {group.name} {command.name}"


WRONG = [
    (["extract", "--dataset", "toi"], 2, "unknown dataset 'toi'; did you mean 'toy'?"),
    (["extract", "--dataset", "toy", "--root", "VIDEOS", "--model", "ViT-B16"], 2, "did you mean 'ViT-B-16'?"),
    (["extract", "--dataset", "toy", "--root", "VIDEOS", "--pretrained", "sprite"], 2, "did you mean 'sprites'?"),
    (
        ["extract", "--dataset", "toy", "--root", "VIDEOS", "--set", "sample.frame=4"],
        2,
        "did you mean 'sample.frames'?",
    ),
    (["extract", "--dataset", "toy", "--root", "VIDEOS", "--set", "sample.frames=0"], 2, "greater than or equal to 1"),
    (["extract", "--dataset", "toy", "--root", "nowhere"], 3, "folder nowhere does not exist"),
    (["extract", "--dataset", "toy"], 3, "folder data/toy does not exist"),
    (["extract", "--dataset", "toy", "--root", "EMPTY"], 3, "no videos under EMPTY"),
    (["extract"], 2, "Missing option '--dataset'"),
    (["train"], 2, "say --frozen"),
    (["train", "--frozen"], 4, "no finished store under cache"),
    (["train", "--frozen", "--cache", "EMPTY"], 4, "no finished store under EMPTY"),
    (["train", "--frozen", "--set", "optim.rat=1"], 2, "did you mean 'optim.rate'?"),
    (["train", "--frozen", "--config", "none.yaml"], 2, "none.yaml does not exist"),
    (["eval"], 2, "say --zero-shot"),
    (["report", "nowhere"], 3, "nowhere does not exist"),
    (["report", "EMPTY"], 3, "no record.json under EMPTY"),
    (["demo", "--videos", "3"], 2, "expected at least 96"),
    (["datasets", "make", "toy", "--videos", "3"], 2, "at least one for each of the 24 classes"),
    (["datasets", "make", "toy", "--videos", "99999999999999999999"], 2, "at most 1000000"),
    (["datasets", "make", "toy", "--out", "FILE/toy"], 2, "FILE is a file"),
    (["extract", "--dataset", "toy", "--root", "VIDEOS", "--cache", "FILE"], 2, "FILE is a file"),
    (["extract", "--dataset", "toy", "--root", "VIDEOS", "--model", ""], 2, "unknown model ''"),
    (["extract", "--dataset", "toy", "--root", "VIDEOS", "--pretrained", "random:²"], 2, "random:SEED"),
    (["train", "--frozen", "--out", "FILE", "--cache", "CACHE"], 2, "FILE is a file"),
    (["train", "--frozen", "--set", "optim.rate=.inf"], 2, "config optim.rate"),
    (["train", "--frozen", "--set", "seeds=[true]"], 2, "config seeds"),
    (["train", "--frozen", "--set", "loss={video_to_text: 0, text_to_video: 0}"], 2, "nothing to learn"),
    (["train", "--frozen", "--set", "optim.batch=2020-99-99"], 2, "optim.batch: Input should be a valid integer"),
    (["eval", "--zero-shot", "--template", "{", "--cache", "CACHE"], 2, "expected one {} for the class name"),
    (["eval", "--zero-shot", "--template", "w " * 100 + "{}", "--cache", "CACHE"], 2, "longer than the 77 tokens"),
    (["demo", "--set", "optm.rate=1"], 2, "did you mean 'optim.rate'?"),
    (["datasets", "make", "k40"], 2, "unknown dataset 'k40'; did you mean 'k400'?"),
    (["datasets", "make", "folder"], 2, "only toy can"),
    (["frobnicate"], 2, "No such command 'frobnicate'"),
    (["demo", "--vidoes", "3"], 2, "No such option"),
]


@pytest.mark.parametrize(
    ("arguments", "code", "said"), WRONG, ids=lambda value: " ".join(value) if isinstance(value, list) else None
)
def test_a_mistake_is_one_line_the_right_code_and_leaves_nothing(
    arguments: list[str],
    code: int,
    said: str,
    tmp_path: Path,
    small_folder: Path,
    small_desk: Desk,
    monkeypatch: pytest.MonkeyPatch,
    plfeat: Callable[..., Said],
) -> None:
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "VIDEOS").symlink_to(small_folder)
    (tmp_path / "CACHE").symlink_to(small_desk.store.path)
    (tmp_path / "FILE").write_text("a file")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PLFEAT_CACHE", raising=False)
    monkeypatch.delenv("PLFEAT_DATA", raising=False)
    before = everything_under(tmp_path)
    done = plfeat(*arguments)
    assert (done.code, done.out) == (code, ""), done.err
    assert said in done.err
    *begun, error = done.err.splitlines()
    assert all(line.endswith("…") for line in begun), done.err  # on a slow machine: what it was doing until then
    assert error.startswith("plfeat: ")
    assert everything_under(tmp_path) == before


def test_two_stores_are_listed_and_one_must_be_chosen(small_desk: Desk, tmp_path: Path, capfd) -> None:
    for name in ("one", "two"):
        (tmp_path / "toy").mkdir(exist_ok=True)
        (tmp_path / "toy" / name).symlink_to(small_desk.store.path)
    assert main(["train", "--frozen", "--cache", str(tmp_path)]) == 2
    err = capfd.readouterr().err
    assert "2 stores" in err
    assert str(tmp_path / "toy" / "one") in err
    assert str(tmp_path / "toy" / "two") in err


def test_debug_shows_where_and_keeps_the_exit_code(tmp_path: Path) -> None:
    command = [*PLFEAT, "--debug", "train"]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("plfeat: train: say --frozen")


def test_interrupted_it_exits_130_and_the_same_command_continues(
    toy_folder: Path, tmp_path: Path, plfeat: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["extract", "--dataset", "toy", "--root", str(toy_folder), "--set", "shard=8"]
    run = subprocess.Popen(
        [*PLFEAT, *command, "--quiet"], cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    )
    deadline = time.time() + 120
    while not list(tmp_path.glob("cache/toy/*/shards/*.h5")) and time.time() < deadline:
        time.sleep(0.02)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=60)
    assert (run.returncode, len(err.strip().splitlines())) == (130, 1), err
    assert not list(tmp_path.glob("cache/toy/*/manifest.json"))
    assert not list(tmp_path.rglob("*.part"))
    monkeypatch.chdir(tmp_path)
    done = plfeat(*command, "--json")
    assert done.code == 0
    assert json.loads(done.out)["reused"] > 0


def test_json_is_one_document_and_nothing_else_on_stdout(
    small_folder: Path, tmp_path: Path, plfeat: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = plfeat("extract", "--dataset", "toy", "--root", str(small_folder), "--json")
    assert json.loads(made.out)["videos"] == 48
    assert "encoding videos: 48/48" in made.err
    for command in (
        ["train", "--frozen", "--set", "optim.epochs=1", "--json", "--quiet"],
        ["eval", "--zero-shot", "--json", "--quiet"],
        ["cache", "ls", "--json"],
        ["datasets", "ls", "--json"],
        ["models", "ls", "--json"],
        ["report", "runs", "--json", "--quiet"],
    ):
        done = plfeat(*command)
        assert (done.code, done.err) == (0, "")
        assert json.loads(done.out)
    assert {path.name for path in (tmp_path / "reports" / "table").iterdir()} == {
        "table.md",
        "table.csv",
        "confusion.png",
    }


def test_text_results_go_to_stdout_and_remarks_to_stderr(
    small_desk: Desk, small_folder: Path, tmp_path: Path, plfeat: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(small_desk.store.path, tmp_path / "cache" / "toy" / small_desk.store.path.name)
    made = plfeat("extract", "--dataset", "toy", "--root", str(small_folder), "--set", "shard=8")
    assert made.out.strip() == f"cache/toy/{small_desk.store.path.name}"
    done = plfeat("eval", "--zero-shot")
    assert done.out.startswith("method")
    assert "n = 24 test videos" in done.err
    assert "\x1b" not in done.out + done.err + made.err


def test_a_damaged_store_is_listed_as_such(small_desk: Desk, tmp_path: Path, capfd) -> None:
    (tmp_path / "toy" / "bad").mkdir(parents=True)
    (tmp_path / "toy" / "bad" / "recipe.json").write_text("{")
    (tmp_path / "toy" / "good").symlink_to(small_desk.store.path)
    assert main(["cache", "ls", "--cache", str(tmp_path), "--json"]) == 0
    listed = {Path(entry["path"]).name: entry for entry in json.loads(capfd.readouterr().out)}
    assert "recipe.json is damaged" in listed["bad"]["why"]
    assert listed["good"]["lists"].startswith("toy@")


def test_paths_come_from_the_environment_too(small_folder: Path, tmp_path: Path, monkeypatch, capfd) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "toy").symlink_to(small_folder)
    monkeypatch.setenv("PLFEAT_DATA", str(tmp_path / "all"))
    monkeypatch.setenv("PLFEAT_CACHE", str(tmp_path / "features"))
    assert main(["extract", "--dataset", "toy", "--quiet"]) == 0
    assert Path(capfd.readouterr().out.strip()).parent == tmp_path / "features" / "toy"
    assert main(["datasets", "make", "toy", "--quiet", "--videos", "24"]) == 3  # it finds the other videos there


def test_killed_while_drawing_it_leaves_no_worker_and_the_next_run_cleans_up(tmp_path: Path) -> None:
    command = [*PLFEAT, "datasets", "make", "toy", "--out", "toy", "--videos"]
    run = subprocess.Popen([*command, "4000"], cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.PIPE)
    deadline = time.time() + 60
    while not list(tmp_path.glob(".toy.*.part/*/*/*.mp4")) and time.time() < deadline:
        time.sleep(0.05)
    run.kill()
    run.communicate(timeout=30)  # returns once nobody holds the pipe: the workers are gone
    assert list(tmp_path.glob(".toy.*.part"))
    subprocess.run([*command, "24", "--quiet"], cwd=tmp_path, env=ENVIRONMENT, check=True, capture_output=True)
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]
