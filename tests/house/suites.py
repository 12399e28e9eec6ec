"""Runs test suites one after another, each in its own pytest process, and tells which are slow.

    python tests/house/suites.py test                all of `make test` in tests/budgets.toml
    python tests/house/suites.py test unit oracle    only these
    python tests/house/suites.py --mode debug debug  the suites of `make debug` on checked modules

The last line is `total: N passed, N failed, N skipped`. A suite that collected nothing has not
passed: unless the list says why it may be empty, that is a failure. Exit status 0 only if nothing
failed.

A suite over its budget, or a target over its total, is named as slow and has not failed for it: a
shared machine has hours at a third of its speed, and whoever makes a suite slower sees it in the
table. What takes several times its budget hangs: it is stopped and has failed. What is only run
if there is time is left out, by name, when its target's total is used up.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import signal
import subprocess
import sys
import time
import tomllib
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BUDGETS = ROOT / "tests" / "budgets.toml"
REPORTS = ROOT / "build" / "reports"
# A suite that is stopped gets this long to print where it was, then it is killed.
GRACE_S = 10
PYTEST_NO_TESTS = 5


@dataclasses.dataclass(frozen=True)
class Suite:
    """One entry of the list: what to run, on which modules, how long it should take at most."""

    name: str
    target: str
    paths: tuple[str, ...]
    budget_s: int
    workers: int = 1
    mode: str = "release"
    only_in_ci: bool = False
    only_if_time: bool = False
    empty_because: str = ""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a suite. `problem` is empty if it passed."""

    suite: Suite
    passed: int
    failed: int
    skipped: int
    seconds: float
    problem: str = ""
    note: str = ""


def load_suites(table: dict[str, Any]) -> list[Suite]:
    """The suites of budgets.toml, in order."""
    return [Suite(**{**entry, "paths": tuple(entry["paths"])}) for entry in table["suite"]]


def chosen(suites: list[Suite], target: str, names: list[str], in_ci: bool) -> list[Suite]:
    """Suites of a target: those named, or all; what is only for CI runs elsewhere by name."""
    of_target = [suite for suite in suites if suite.target == target]
    if unknown := set(names) - {suite.name for suite in of_target}:
        raise SystemExit(f"no suite of 'make {target}': {', '.join(sorted(unknown))}")
    if names:
        return [suite for suite in of_target if suite.name in names]
    return [suite for suite in of_target if in_ci or not suite.only_in_ci]


def counts(report: Path) -> tuple[int, int, int]:
    """(passed, failed, skipped) of a JUnit file; errors count as failed. Zeros if there is none."""
    try:
        root = ElementTree.parse(report).getroot()
    except (OSError, ElementTree.ParseError):
        return 0, 0, 0
    total = failed = skipped = 0
    for suite in root.iter("testsuite"):
        total += int(suite.get("tests", 0))
        failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped += int(suite.get("skipped", 0))
    return max(0, total - failed - skipped), failed, skipped


def judge(
    suite: Suite, status: int | None, result: tuple[int, int, int], seconds: float, stop_s: float
) -> Outcome:
    """Turn a pytest run into an outcome. `status` is None if the run was stopped after `stop_s`."""
    passed, failed, skipped = result
    problem = ""
    note = f"slow: over its budget of {suite.budget_s} s" if seconds > suite.budget_s else ""
    if status is None:
        problem = f"stopped after {stop_s:.0f} s; it should take {suite.budget_s} s at most"
    elif status == PYTEST_NO_TESTS or (status == 0 and passed + failed + skipped == 0):
        if suite.empty_because:
            note = f"no tests: {suite.empty_because}"
        else:
            problem = "no tests were found"
    elif status != 0 and not failed:
        problem = f"pytest ended with status {status}"
    elif failed:
        problem = f"{failed} failed"
    if problem and not failed:
        failed = 1  # a suite that went wrong without a failing test is one failure
    return Outcome(suite, passed, failed, skipped, seconds, problem, note)


def environment(mode: str) -> dict[str, str]:
    """Environment of a pytest process whose compiled modules are those of `mode`."""
    environ = dict(os.environ)
    if mode == "release":
        return environ
    environ["PYTHONPATH"] = str(ROOT / "build" / mode)
    environ["TIDELOG_TEST_MODE"] = mode
    if mode in ("address", "fuzz"):
        library = subprocess.run(
            [os.environ.get("CC", "gcc"), "-print-file-name=libasan.so"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        environ["LD_PRELOAD"] = library
        # Python keeps memory until it ends, and its own allocator would hide what happens inside
        # its arenas.
        environ["ASAN_OPTIONS"] = "detect_leaks=0:halt_on_error=1:abort_on_error=1"
        environ["PYTHONMALLOC"] = "malloc"
    return environ


def command(suite: Suite, report: Path) -> list[str]:
    """The pytest command line of a suite."""
    line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:benchmark"]
    if suite.workers > 1:
        # A file stays on one worker: fixtures of a module are set up once.
        line += ["-n", str(suite.workers), "--dist", "loadfile"]
    existing = [path for path in suite.paths if (ROOT / path).exists()]
    return [*line, f"--junitxml={report}", *existing]


def run_suite(suite: Suite, stopped_at: float) -> Outcome:
    """Run one suite, for at most so many times its budget."""
    report = REPORTS / f"{suite.target}-{suite.name}.xml"
    report.unlink(missing_ok=True)
    stop_s = suite.budget_s * stopped_at
    print(f"\n== {suite.name} ({suite.mode}, budget {suite.budget_s} s)", flush=True)
    if not any((ROOT / path).exists() for path in suite.paths):
        return judge(suite, PYTEST_NO_TESTS, (0, 0, 0), 0.0, stop_s)
    started = time.monotonic()
    # A process group of its own, so that brokers a stopped test left behind end with it.
    process = subprocess.Popen(
        command(suite, report), cwd=ROOT, env=environment(suite.mode), start_new_session=True
    )
    try:
        status: int | None = process.wait(timeout=stop_s)
    except subprocess.TimeoutExpired:
        status = None
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(timeout=GRACE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    except KeyboardInterrupt:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return judge(suite, status, counts(report), time.monotonic() - started, stop_s)


def summary(outcomes: list[Outcome]) -> list[str]:
    """The closing lines: a table, the problems by name, the totals."""
    lines = ["", f"{'suite':<12} {'passed':>7} {'failed':>7} {'skipped':>8} {'seconds':>9}  budget"]
    for outcome in outcomes:
        suite = outcome.suite
        lines.append(
            f"{suite.name:<12} {outcome.passed:>7} {outcome.failed:>7} {outcome.skipped:>8}"
            f" {outcome.seconds:>9.1f}  {suite.budget_s} s"
            + (f"  ({outcome.note})" if outcome.note else "")
        )
    lines += [
        f"FAILED {outcome.suite.target}/{outcome.suite.name}: {outcome.problem}"
        for outcome in outcomes
        if outcome.problem
    ]
    passed, failed, skipped = (
        sum(getattr(outcome, field) for outcome in outcomes)
        for field in ("passed", "failed", "skipped")
    )
    lines.append(f"total: {passed} passed, {failed} failed, {skipped} skipped")
    return lines


def prepare_mode(mode: str) -> bool:
    """Compile the modules of a checked mode (outside of any budget). False if they do not build."""
    driver = [sys.executable, str(ROOT / "ext" / "tools" / "build.py"), "--mode", mode]
    return subprocess.run(driver, cwd=ROOT, check=False).returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Run test suites, and tell which are slow.")
    parser.add_argument("target")
    parser.add_argument("suite", nargs="*")
    parser.add_argument("--mode", default="", help="modules to test: release, debug or address")
    options = parser.parse_args()
    table = tomllib.loads(BUDGETS.read_text())
    suites = chosen(
        load_suites(table), options.target, options.suite, os.environ.get("CI") == "true"
    )
    if options.mode:
        suites = [dataclasses.replace(suite, mode=options.mode) for suite in suites]
    REPORTS.mkdir(parents=True, exist_ok=True)
    total_s = float(table["targets"][options.target]["total_s"])
    began = time.monotonic()
    outcomes: list[Outcome] = []
    for suite in suites:
        if suite.only_if_time and time.monotonic() - began > total_s:
            why = f"left out: the suites before it took more than {total_s:.0f} s"
            outcomes.append(Outcome(suite, 0, 0, 1, 0.0, note=why))
            continue
        if suite.mode != "release" and not prepare_mode(suite.mode):
            outcomes.append(Outcome(suite, 0, 1, 0, 0.0, f"the {suite.mode} modules do not build"))
            continue
        outcomes.append(run_suite(suite, table["stopped_at"]))
    print("\n".join(summary(outcomes)), flush=True)
    return 1 if any(outcome.problem for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
