"""A pytest plugin that makes silence fail: a skipped test, and a test of the tree that did not run.

pytest-odoo skips every browser test without a word when a package is missing, and a test file that can't be found runs
nothing; neither may look like success. Run as a script it sums up the results of several runs.
"""

import argparse
import ast
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

OUTCOMES = ("failed", "passed", "skipped", "error", "errors")


def expected_tests(root: Path, folder: Path) -> set[str]:
    """Return the node ids, without parameters, of the tests written in `folder`'s files test_*.py, seen from `root`."""
    found = set()
    for file in folder.rglob("test_*.py"):
        path = file.relative_to(root).as_posix()
        module = ast.parse(file.read_text(encoding="utf-8")).body
        found |= {f"{path}::{name}" for name in _test_functions(module)}
        for node in module:
            if isinstance(node, ast.ClassDef):
                found |= {f"{path}::{node.name}::{name}" for name in _test_functions(node.body)}
    return found


def _test_functions(body: list[ast.stmt]) -> list[str]:
    return [
        node.name
        for node in body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test")
    ]


class Completeness:
    """Collects the outcome of every test, by its node id, and writes them to the file WECHAT_TEST_RESULT."""

    def __init__(self) -> None:
        self.outcomes: dict[str, str] = {}
        self.skipped: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the worst of a test's outcomes in setup, call and teardown."""
        if report.failed:
            self.outcomes[report.nodeid] = "failed" if report.when == "call" else "error"
        elif report.skipped:
            self.outcomes.setdefault(report.nodeid, "skipped")
        elif report.when == "call":
            self.outcomes.setdefault(report.nodeid, "passed")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that can't be imported is an error; a module may also skip itself."""
        if not report.passed:
            self.outcomes[report.nodeid] = "error" if report.failed else "skipped"

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the run if something was skipped, and write the result."""
        self.skipped = [test for test, outcome in self.outcomes.items() if outcome == "skipped"]
        quiet = session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
        if quiet and self.skipped:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        Path(os.environ["WECHAT_TEST_RESULT"]).write_text(json.dumps(self.outcomes), encoding="utf-8")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Name what was skipped."""
        if self.skipped:
            terminalreporter.section("incomplete run", red=True, bold=True)
            for test in self.skipped:
                terminalreporter.write_line(f"skipped: {test}")


def pytest_configure(config: pytest.Config) -> None:
    """Register the plugin's hooks."""
    config.pluginmanager.register(Completeness(), "wechat-completeness")


def main() -> None:
    """Print what did not run, and pytest's line of totals over several runs.

    Exits with status 1 if no test ran at all, or not all of them.
    """
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("started", type=float, help="when the first run began, in seconds since the epoch")
    parser.add_argument("errors", type=int, help="failed steps that are no tests, such as the linters")
    parser.add_argument("results", type=Path, help="the folder of what the runs wrote to WECHAT_TEST_RESULT")
    parser.add_argument("--complete", type=Path, action="append", default=[], help="a folder that must run whole")
    args = parser.parse_args()
    outcomes = {}
    for file in sorted(args.results.glob("*.json")):
        outcomes.update(json.loads(file.read_text(encoding="utf-8")))
    ran = {test.partition("[")[0] for test in outcomes}
    missing = sorted(set().union(*(expected_tests(Path(), folder) for folder in args.complete)) - ran)
    for test in missing:
        sys.stdout.write(f"did not run: {test}\n")
    totals = Counter(outcomes.values()) + Counter(error=args.errors + len(missing))
    if totals["error"] > 1:
        totals["errors"] = totals.pop("error")
    words = [f"{totals[outcome]} {outcome}" for outcome in OUTCOMES if totals[outcome]] or ["no tests ran"]
    sys.stdout.write(f" {', '.join(words)} in {time.time() - args.started:.2f}s ".center(100, "=") + "\n")
    sys.exit(bool(missing) or not outcomes)


if __name__ == "__main__":
    main()
