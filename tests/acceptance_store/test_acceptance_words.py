"""What is written down: the format, the commands' options and codes, one name for one thing."""

import csv
import json
import re
from collections import Counter
from pathlib import Path

import forge
import h5py
import pytest
import worlds
from worlds import HOME, Plfeat

PAGES = HOME / "cache" / "README.md"


@pytest.mark.slow
def test_the_page_of_the_format_names_everything_that_lies_in_a_store(tmp_path: Path) -> None:
    """So that someone could write a reader from it alone."""
    page, store = PAGES.read_text(encoding="utf-8"), forge.copy(tmp_path)
    wanted = {path.name.split(".")[0].split("-")[0].split("@")[0] for path in store.iterdir()}
    for path in [*store.rglob("shards/*.h5"), *store.rglob("text/*.h5")]:
        with h5py.File(path) as file:
            wanted |= set(file) | set(file.attrs)
    manifest = worlds.manifest(store)
    wanted |= set(manifest) | set(manifest["shards"][0]) | set(manifest["texts"][0])
    wanted |= {key for listed in manifest["lists"].values() for key in listed}
    wanted |= set(json.loads((store / "recipe.json").read_text()))
    with (store / "catalogue.csv").open(encoding="utf-8") as file:
        wanted |= set(next(csv.reader(file)))
    with next((store / "lists").glob("*.csv")).open(encoding="utf-8") as file:
        wanted |= set(json.loads(file.readline().removeprefix("#"))) | set(next(csv.reader(file)))
    assert sorted(name for name in wanted if not re.search(rf"\b{re.escape(name)}\b", page)) == []
    assert "spec.json" not in page or "format 2" in page


def options(plfeat: Plfeat, monkeypatch: pytest.MonkeyPatch, *command: str) -> set[str]:
    monkeypatch.setenv("COLUMNS", "200")
    said = plfeat(*command, "--help")
    assert said.code == 0
    return set(re.findall(r"--[a-z][a-z-]+", said.out))


@pytest.mark.parametrize(
    ("command", "there", "gone"),
    [
        (
            "extract",
            "dataset root lists names pool split folds name no-tower views retry part",
            "fold templates",
        ),
        ("train", "dataset fold split folds names templates cache frozen", ""),
        ("eval", "dataset fold names templates zero-shot cache", ""),
        ("cache verify", "live repair", ""),
    ],
)
def test_the_options_are_those_of_the_plan(
    plfeat: Plfeat, monkeypatch: pytest.MonkeyPatch, command: str, there: str, gone: str
) -> None:
    found = options(plfeat, monkeypatch, *command.split())
    assert {f"--{name}" for name in there.split()} - found == set()
    assert {f"--{name}" for name in gone.split()} & found == set()


def test_the_help_and_the_readme_say_what_the_exit_codes_mean(plfeat: Plfeat) -> None:
    said = plfeat("--help").out
    for text in (said, (HOME / "README.md").read_text(encoding="utf-8")):
        for code in ("0 ok", "2 usage", "3 data", "130 interrupted"):
            assert code in " ".join(text.split())


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("extract", "--dataset", "folder", "--root", "{tmp}/mine", "--split", "70/10"), 2),
        (("extract", "--dataset", "folder", "--root", "{tmp}/mine", "--split", "70/10/30"), 2),
        (("extract", "--dataset", "folder", "--root", "{tmp}/mine", "--split", "a/b/c"), 2),
        (("extract", "--dataset", "folder", "--root", "{tmp}/mine", "--split", "-10/10/100"), 2),
        (("extract", "--dataset", "folder", "--root", "{tmp}/mine", "--split", "nan/10/20"), 2),
        (("extract", "--dataset", "folder", "--root", "{tmp}/mine", "--folds", "1"), 2),
        (("extract", "--dataset", "folder", "--root", "{tmp}/mine", "--folds", "0"), 2),
        (("extract", "--dataset", "folder", "--root", "{tmp}/mine", "--folds", "5", "--split", "70/10/20"), 2),
        (("extract", "--dataset", "folder", "--root", "{tmp}/nowhere", "--split", "70/10/20"), 3),
        (("cache", "info", "{tmp}/nowhere"), 4),
        (("cache", "verify", "{tmp}/nowhere"), 4),
        (("train", "--frozen", "--cache", "{tmp}/nowhere"), 4),
    ],
)
def test_wrong_words_are_one_line_and_their_code(
    plfeat: Plfeat, tmp_path: Path, arguments: tuple[str, ...], code: int
) -> None:
    for number in range(3):
        worlds.write(tmp_path / "mine" / "kind" / f"{number}.mp4", f"no film {number}")
    words = [argument.replace("{tmp}", str(tmp_path)) for argument in arguments]
    if words[0] == "extract":
        words += [*worlds.MODEL, "--cache", str(tmp_path / "cache"), "--quiet"]
    said = plfeat(*words)
    worlds.refused(said, codes=(code,))
    assert not list(tmp_path.rglob("*.h5"))


def test_one_name_is_one_thing() -> None:
    sources = [path for path in (HOME / "plfeat").rglob("*.py") if path.name != "__init__.py"]
    named = Counter(path.name for path in sources)
    for name in ("runs.py", "work.py"):
        assert named[name] <= 1, f"{named[name]} files are called {name}"
    assert named["text.py"] + named["texts.py"] <= 2
    classes = Counter(
        name for path in sources for name in re.findall(r"^class (\w+)", path.read_text(encoding="utf-8"), re.M)
    )
    for name in ("Recipe", "Take", "VideoList", "Store", "Desk"):
        assert classes[name] == 1, f"class {name} stands {classes[name]} times"
    assert classes["Pace"] <= 1


def test_rooms_are_there_and_nobody_reads_a_raw_spec() -> None:
    for room in ("extract", "frames", "bench", "shards", "datasets"):
        assert list((HOME / "plfeat" / room).glob("*.py")), room
    assert len(list((HOME / "plfeat" / "flows").glob("*.py"))) < 21
    raw = [
        f"{path.relative_to(HOME)}:{number}"
        for path in (HOME / "plfeat").rglob("*.py")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(r"\bspec\[", line)
    ]
    assert raw == []


def test_the_floors_stand_in_contributing_as_a_picture_that_a_script_makes() -> None:
    page = (HOME / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for room in ("flows", "extract", "desk", "frames", "shards", "datasets", "train", "toy", "bench"):
        assert room in page
    scripts = [HOME / name for name in re.findall(r"[\w./-]+\.(?:py|sh)\b", page)]
    assert any(path.exists() for path in scripts), "the page names the script"
