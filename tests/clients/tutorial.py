"""Executes docs/tutorial.md: the commands of its blocks in terminals, and what they have to show.

A block's info string says whose commands it has (tidelog, apache or both) and in which terminals it
happens. `console 0` runs to its end and prints what follows the command; in other terminals a
command stays until ^C. `text` is what these terminals show together, in any order, since they were
last looked at. `...` stands for anything: within a line, or for any lines.

Owned by tests/clients/test_tutorial.py and tests/compat/test_tutorial.py.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import admin as confluent

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```(console|text) (tidelog|apache|both) ([\d ]+)\n(.*?)^```", re.M | re.S)
TIMEOUT_S = 40.0


class Block(NamedTuple):
    kind: str
    whose: str
    terminals: list[int]
    text: str


def blocks(whose: str) -> list[Block]:
    """The blocks of one of the two ways through the page."""
    found = [
        Block(kind, owner, [int(n) for n in terminals.split()], text)
        for kind, owner, terminals, text in BLOCK.findall(PAGE.read_text())
    ]
    return [block for block in found if block.whose in (whose, "both")]


def matches(wanted: list[str], shown: list[str]) -> bool:
    """Whether the lines are these, with `...` for anything."""
    if not wanted:
        return not shown
    if wanted[0] == "...":
        return any(matches(wanted[1:], shown[n:]) for n in range(len(shown) + 1))
    if not shown:
        return False
    pattern = ".*".join(map(re.escape, wanted[0].split("...")))
    return re.fullmatch(pattern, shown[0]) is not None and matches(wanted[1:], shown[1:])


def words(line: str) -> str:
    """Columns are as wide as what stands in them."""
    return " ".join(line.split())


class Terminal:
    """A command that stays, and what it shows."""

    def __init__(self, command: str, run: Callable[[str], subprocess.Popen[str]]) -> None:
        self.command = command
        self.lines: list[str] = []
        self._process = run(command)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.rstrip("\n"))

    def take(self) -> list[str]:
        """What it showed since the last time."""
        taken, self.lines = self.lines, []
        return taken

    def interrupt(self) -> None:
        """Ctrl-C."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(TIMEOUT_S)
        self._reader.join()

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


class Walk:
    """One walk through the page. variables: of the commands' environment; folder: where they run;
    here: what to write in the place of the page's address.
    """

    def __init__(
        self, whose: str, bootstrap: str, folder: Path, variables: Mapping[str, str]
    ) -> None:
        self._blocks = blocks(whose)
        self._bootstrap = bootstrap
        self._folder = folder
        self._variables = {**os.environ, **variables}
        self._terminals: dict[int, Terminal] = {}
        self._admin = confluent.AdminClient({"bootstrap.servers": bootstrap})
        self.executed = 0

    def run(self) -> None:
        try:
            for block in self._blocks:
                self._execute(block)
        finally:
            for terminal in self._terminals.values():
                terminal.end()

    def _execute(self, block: Block) -> None:
        lines = block.text.splitlines()
        if block.kind == "text":
            self._await_lines(block.terminals, lines)
            return
        for number in block.terminals:
            if lines == ["^C"]:
                self._terminals[number].interrupt()
            elif number == 0:
                self._run_to_end(lines)
            else:
                (command,) = lines
                self._terminals[number] = Terminal(command.removeprefix("$ "), self._start)
        self.executed += 1
        self._await_groups()

    def _start(self, command: str) -> subprocess.Popen[str]:
        # exec: the signal is for the command, not for a shell around it.
        line = command.replace("127.0.0.1:9092", self._bootstrap)
        line = line if "|" in line else f"exec {line}"
        return subprocess.Popen(
            ["sh", "-c", line],
            cwd=self._folder,
            env=self._variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if "|" in command else subprocess.DEVNULL,
            text=True,
        )

    def _run_to_end(self, lines: list[str]) -> None:
        command, *wanted = lines
        process = self._start(command.removeprefix("$ "))
        out, errors = process.communicate(timeout=TIMEOUT_S)
        shown = [words(line) for line in out.splitlines()]
        assert matches(list(map(words, wanted)), shown), (command, shown, errors)

    def _await_lines(self, terminals: list[int], wanted: list[str]) -> None:
        """A terminal that has just started, or ended, may still have something to show."""
        shown: list[str] = []
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            for number in terminals:
                shown += self._terminals[number].take()
            if wanted == ["..."] and shown:
                return
            if wanted != ["..."] and len(shown) >= len(wanted):
                break
            time.sleep(0.05)
        assert sorted(shown) == sorted(wanted), terminals

    def _await_groups(self) -> None:
        """Who started a consumer waits until it has its part before going on."""
        for group in ("readers", "archive"):
            members = sum(
                f"--group {group}" in terminal.command and terminal._process.poll() is None
                for terminal in self._terminals.values()
            )
            deadline = time.monotonic() + TIMEOUT_S
            while not self._has_settled(group, members):
                assert time.monotonic() < deadline, (group, members)
                time.sleep(0.05)

    def _has_settled(self, group: str, members: int) -> bool:
        try:
            described = self._admin.describe_consumer_groups([group])[group].result(TIMEOUT_S)
        except Exception:  # The group is not there yet.
            return members == 0
        parts = [each.assignment.topic_partitions for each in described.members if each.assignment]
        return len(described.members) == members and (
            members == 0 or (described.state.name == "STABLE" and sum(map(len, parts)) == 3)
        )
