"""The command as a whole: help, and exit statuses."""

from __future__ import annotations

import pytest

from tidelog.cli.app import run


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    commands = "serve topics produce consume offsets configs metadata dump-log"
    assert all(command in text for command in commands.split())
    assert run(["topics", "--help"]) == 0
    text = capsys.readouterr().out
    for command in ("create", "list", "describe", "delete", "alter"):
        assert command in text


def test_no_command_is_a_wrong_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    assert run(["nonsense"]) == 2
    assert "nonsense" in capsys.readouterr().err
