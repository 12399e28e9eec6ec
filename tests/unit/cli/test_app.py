"""The command as a whole: help, and exit statuses."""

from __future__ import annotations

import pytest

from tidelog.cli.app import run


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    commands = "serve topics produce consume offsets groups top configs metadata dump-log"
    assert all(command in text for command in commands.split())
    assert run(["topics", "--help"]) == 0
    text = capsys.readouterr().out
    for command in ("create", "list", "describe", "delete", "alter"):
        assert command in text


def test_no_command_is_a_wrong_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["topics"]):
        assert run(arguments) == 2
        out, err = capsys.readouterr()
        assert out == ""
        # The help as --help shows it, in its lines.
        assert run([*arguments, "--help"]) == 0
        assert capsys.readouterr().out.strip() == err.strip()
    assert run(["nonsense"]) == 2
    err = capsys.readouterr().err
    assert "nonsense" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    "command",
    [
        "topics describe",
        "topics delete a",
        "topics create",
        "groups describe",
        "groups delete",
        "groups reset --all-topics --to-latest",
        "transactions describe",
        "transactions abort",
        "offsets",
        "consume",
        "produce",
    ],
)
def test_a_name_that_is_empty(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*command.split(), ""]) == 2
    assert "a name is empty" in capsys.readouterr().err
