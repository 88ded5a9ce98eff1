"""How the suite is run: the whole of it in a few processes, and these in no more."""

from types import SimpleNamespace
from typing import Any

import pytest
from by_file import MOST, spread


@pytest.mark.parametrize(
    ("within", "source", "asked", "processes"),
    [
        (False, "TESTPATHS", None, MOST),
        (False, "ARGS", None, None),  # some files
        (False, "TESTPATHS", 0, 0),
        (True, "TESTPATHS", None, None),  # a process of xdist reads the same settings
    ],
)
def test_only_the_whole_suite_is_spread_and_only_once(
    within: bool, source: str, asked: int | None, processes: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    if within:
        monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    monkeypatch.setattr("os.sched_getaffinity", lambda process: range(64), raising=False)
    option = SimpleNamespace(numprocesses=asked, dist="no", usepdb=False, collectonly=False)
    sources = pytest.Config.ArgsSource
    config: Any = SimpleNamespace(option=option, args_source=sources[source], ArgsSource=sources)
    spread(config)
    assert option.numprocesses == processes
    assert option.dist == ("loadfile" if processes else "no")
