"""`tidelog serve` never loads what only the command line needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tidelog.cli.main import main

FORBIDDEN = ("typer", "click", "rich", "confluent_kafka", "kafka", "aiokafka", "kio")


def test_serve_loads_no_command_line_and_no_client_library() -> None:
    """Also what the zygote loads, and what the supervisor loads after the fork."""
    code = (
        "import sys; from tidelog.cli.main import main\n"
        "try: main(['serve', '--help'])\n"
        "except SystemExit: pass\n"
        "from tidelog.process.serve import load_worker; load_worker()\n"
        "import tidelog.process.broker\n"
        "print(*sorted(name for name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}
    assert "tidelog" in loaded and "uvloop" in loaded
    assert not loaded & set(FORBIDDEN)


def test_serve_has_its_own_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for option in ("--listen", "--data-dir", "--workers", "--node-id", "--config", "--set"):
        assert option in text


def test_other_commands_go_to_the_application(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "topics" in capsys.readouterr().out
