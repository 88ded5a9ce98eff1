"""What a terminal of 40, 80 or 200 columns shows: counts in full, and nothing broken but between words."""

import csv
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from conftest import ENVIRONMENT, HOME

from plfeat.flows import catalog
from plfeat.presets import PRESETS
from plfeat_cli import layout
from plfeat_cli.main import main

WIDTHS = [40, 80, 200]


def shown(width: int, *command: str, cwd: Path = HOME) -> str:
    """What a Python process writes to a real terminal of so many columns."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "COLUMNS"} | {"TERM": "xterm"}
    run = subprocess.Popen([sys.executable, *command], stdin=its, stdout=its, stderr=its, cwd=cwd, env=environment)
    os.close(its)
    said = b""
    while True:
        try:
            part = os.read(ours, 1 << 16)
        except OSError:  # so Linux says that nobody holds the other end any more
            break
        if not part:
            break
        said += part
    os.close(ours)
    assert run.wait() == 0, said
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said.decode().replace("\r", "\n"))


BARS = """
from plfeat_cli import output
with output.progress(False) as tick:
    tick("reading the list", 0, 1)
    tick("reading the list", 1, 1)
    tick("checking shards", 117, 117)
    tick("encoding videos", 0, 240_000)
    tick("encoding videos", 123_456, 240_000, "decode 180 videos/s, encode 9251 frames/s, limit: decode")
"""


@pytest.mark.parametrize("width", WIDTHS)
def test_bars_keep_their_counts_and_notes_wrap(width: int) -> None:
    said = shown(width, "-c", BARS)
    lines = [line.rstrip() for line in said.splitlines()]
    assert max(map(len, lines)) <= width
    assert "…" not in said
    last = " ".join(lines[-8:])
    for whole in ("encoding videos", "123456/240000", "checking shards", "117/117", "9251 frames/s,", "limit: decode"):
        assert whole in " ".join(last.split()), said
    assert ("━" in last) == (width > 40)
    assert "reading the list" not in last


@pytest.mark.parametrize("width", WIDTHS)
def test_the_presets_are_readable_at_any_width(width: int) -> None:
    said = shown(width, "-m", "plfeat_cli.main", "train", "--list-presets")
    lines = said.splitlines()
    assert max(map(len, lines)) <= width
    known = catalog.presets()
    everything = " ".join(said.split())
    for each in known:
        assert re.search(rf"^{each['preset']}\b", said, re.MULTILINE)
    words = {word for each in known for word in each["what"].split()}
    assert words <= set(everything.split())
    for remark in catalog.presets_remarks(known):
        assert remark in everything


def test_a_report_breaks_between_columns_and_words_and_is_whole_in_a_pipe() -> None:
    with (HOME / "reports" / "ladder" / "table.md").open() as file:
        rows = [line.strip().strip("|").split("|") for line in file if line.startswith("| ") and "---" not in line]
    lines = [[cell.strip() for cell in row] for row in rows]
    assert max(map(len, layout.table(lines))) > 200
    for width in WIDTHS:
        said = list(layout.table(lines, width))
        assert max(map(len, said)) <= width
        figures = [cell for line in lines[1:] for cell in line[1:] if "[" in cell]
        assert len(figures) == 2 * len(lines[1:]) - 1
        assert sorted(re.findall(r"[+-]?[0-9.]+ \[[^]%]*\]", "\n".join(said))) == sorted(figures)
        words = {word for line in lines for cell in line for word in cell.split()}
        assert words <= {word for line in said for word in line.split()}


def test_a_name_that_leaves_no_room_stands_above_its_figures() -> None:
    path = "cache/" + "a" * 60
    lines = [["path", "videos", "failed"], [path, "120", "3"], ["cache/b", "7", "0"]]
    assert list(layout.table(lines, 40)) == [
        "path",
        "  videos  failed",
        "  ------  ------",
        path,
        "     120       3",
        "cache/b",
        "       7       0",
    ]


def test_sentences_break_at_words_only_on_a_terminal() -> None:
    text = "changed: videos on which the two rows disagree\nsha256 " + "0" * 30
    assert layout.sentence(text, None) == text
    assert layout.sentence(text, 24, under=2).splitlines() == [
        "changed: videos on which",
        "  the two rows disagree",
        "sha256",
        "  " + "0" * 30,
    ]


def test_every_preset_says_what_it_is_and_no_other_does() -> None:
    with (HOME / "plfeat" / "flows" / "presets.csv").open(newline="") as file:
        said = {row["preset"]: row for row in csv.DictReader(file)}
    assert list(said) == list(PRESETS)
    assert all(row["what"] and row["cost"] for row in said.values())


def test_toy_scores_are_those_of_the_ladder() -> None:
    with (HOME / "reports" / "ladder" / "table.csv").open(newline="") as file:
        measured = {row["method"]: f"{100 * float(row['top1']):.1f}" for row in csv.DictReader(file)}
    rows = {", ".join(filter(None, [each["preset"], each["with"]])): each["toy"] for each in catalog.presets()}
    assert {row: toy for row, toy in rows.items() if toy} == {row: toy for row, toy in measured.items() if row in rows}
    assert len([toy for toy in rows.values() if toy]) > 10


def test_the_settings_of_a_preset_stay_within_reach(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--list-presets", "--json"]) == 0
    assert {each["preset"]: each["settings"] for each in json.loads(capsys.readouterr().out)} == PRESETS
