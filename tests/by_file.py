"""How a run of the suite is spread over processes, and told: a line for every file that is done.

With pytest-xdist, the whole suite (no file named, no `-n` said) takes a process a core, four at most. A file stays
within one process, since its tests share what it made. `-n 0` or `-p no:xdist` runs all of it in this process; `-q` and
`-v` show what pytest itself shows.
"""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

MOST = 4  # processes; each takes 1 to 2 GB


def spread(config: pytest.Config) -> None:
    """Ask xdist for its processes, if it is there and nobody asked for anything else. Its processes ask for none."""
    option = config.option
    asked = getattr(option, "numprocesses", 0) is not None or option.usepdb or option.collectonly
    if not asked and "PYTEST_XDIST_WORKER" not in os.environ and config.args_source is config.ArgsSource.TESTPATHS:
        option.numprocesses, option.dist = min(MOST, _cores()), "loadfile"


def _cores() -> int:
    """Those that this process may use, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class ByFile:
    """Listens to results, wherever they come from, and writes a file's line with its last one."""

    def __init__(self, reporter: Any) -> None:
        self.reporter = reporter
        reporter.showfspath = False
        self.left: Counter[str] = Counter()
        self.came: dict[str, Counter[str]] = {}
        self.seconds: Counter[str] = Counter()
        self.expected = self.done = 0

    def expect(self, names: Iterable[str]) -> None:
        if not self.expected:  # every process of xdist collects the same, and one that replaces a crashed one again
            self.left = Counter(_file(name) for name in names)
            self.expected = sum(self.left.values())

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.expect(item.nodeid for item in session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        self.expect(ids)

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: Any) -> tuple[str, str, str] | None:
        return ("passed", "", "") if report.passed and report.when == "call" else None

    def pytest_runtest_logreport(self, report: Any) -> None:
        file = _file(report.nodeid)
        self.seconds[file] += report.duration
        came = self.came.setdefault(file, Counter())
        if report.when == "call" or not report.passed:
            came[report.outcome] += 1
        if report.when == "teardown":
            self.left[file] -= 1
            self.done += 1
            if not self.left[file]:
                self._say(file, came)

    def _say(self, file: str, came: Counter[str]) -> None:
        said = ", ".join(f"{count} {outcome}" for outcome, count in sorted(came.items()))
        share = f"[{100 * self.done // self.expected:3d} %]"
        self.reporter.write_line(f"{share} {file}: {said} in {self.seconds[file]:.1f} s", red="failed" in came)


def _file(nodeid: str) -> str:
    return nodeid.partition("::")[0]
