"""The options of `tidelog serve`."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tidelog.process.serve import (
    EXIT_USAGE,
    PROPERTIES_BYTES_MAX,
    UsageError,
    load_worker,
    main,
    parse_workers,
    parser,
    raise_descriptor_limit,
    read_properties,
)


def test_defaults() -> None:
    options = parser().parse_args([])
    assert (options.listen, options.data_dir, options.node_id, options.config) == (None,) * 4
    assert options.workers == "auto"
    assert options.settings == []
    assert options.log_level == "warning"


def test_all_options() -> None:
    words = "--listen h:1 --data-dir d --workers 3 --node-id 2 --config f --set a=b --set c=d"
    options = parser().parse_args(words.split())
    assert (options.listen, options.data_dir, options.node_id) == ("h:1", "d", 2)
    assert (options.config, options.settings) == ("f", ["a=b", "c=d"])


def test_the_descriptor_of_a_parent_is_no_option_for_people(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert parser().parse_args([]).parent_fd is None
    assert parser().parse_args(["--parent-fd", "7"]).parent_fd == 7
    with pytest.raises(SystemExit):
        parser().parse_args(["--help"])
    assert "parent" not in capsys.readouterr().out


def test_workers() -> None:
    assert parse_workers("auto") is None
    assert parse_workers("12") == 12
    for wrong in ("", "-1", "1.5", "all", "\u0663", "9" * 30):
        with pytest.raises(UsageError):
            parse_workers(wrong)


def test_properties(tmp_path: Path) -> None:
    assert read_properties(None) == ""
    file = tmp_path / "server.properties"
    file.write_text("a=ü\n")
    assert read_properties(str(file)) == "a=ü\n"
    file.write_bytes(b"a=\xff")
    with pytest.raises(UsageError, match="byte 2"):
        read_properties(str(file))
    file.write_bytes(b" " * (PROPERTIES_BYTES_MAX + 1))
    with pytest.raises(UsageError, match="more than"):
        read_properties(str(file))
    with pytest.raises(UsageError, match="Is a directory"):
        read_properties(str(tmp_path))


def test_usage_is_checked_before_any_process_is_made(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidelog.process.serve.fork_zygote", lambda load: pytest.fail("a fork"))
    assert main(["--workers", "x"]) == EXIT_USAGE
    assert capsys.readouterr().err == "tidelog serve: --workers x: a number or auto is expected\n"


def test_the_zygote_loads_the_worker() -> None:
    from tidelog.process.worker import worker_main

    assert load_worker() is worker_main


def test_the_zygote_loads_nothing_that_a_fork_must_not_inherit() -> None:
    """No thread, no open file, no database, no running loop."""
    code = (
        "import os, sys\n"
        "before = os.listdir('/proc/self/fd')\n"
        "from tidelog.process.serve import load_worker; load_worker()\n"
        "print(len(os.listdir('/proc/self/task')), os.listdir('/proc/self/fd') == before,"
        " 'sqlite3' in sys.modules, 'tidelog.metastore' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["1", "True", "False", "False"]


def test_the_limit_of_open_files_is_raised() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 512), hard))
        raise_descriptor_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
        raise_descriptor_limit()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_what_is_wrong_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(["--bogus"])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "tidelog serve: unrecognized arguments: --bogus (tidelog serve --help)"
