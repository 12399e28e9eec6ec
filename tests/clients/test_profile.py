"""`tidelog profile` as a user types it: short runs of every part, two hosts, comparisons, and that
nothing stays, however it ends. No test looks at how fast anything was.
"""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from tests.house.broker import ServedBroker
from tidelog.cli.main import main
from tidelog.profiling.brokers import LABEL, SHAPES
from tidelog.profiling.place import PREFIX
from tidelog.profiling.results import Report

PROGRAM = str(Path(sys.executable).with_name("tidelog"))
SHORT = ("--quick", "--seconds", "0.5", "--bytes", "100000000")


def tidelog(*arguments: str) -> tuple[int, str, str]:
    """Exit status, standard output, standard error."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = main(arguments)
    return status, out.getvalue(), err.getvalue()


def profile(folder: Path, *arguments: str) -> dict[str, Any]:
    """Sections of a short run by name, as JSON has them; nothing is left in the folder."""
    options = (*SHORT, "--json", "--directory", str(folder))
    status, out, err = tidelog("profile", *arguments, *options)
    assert status == 0, err
    data = json.loads(out)
    assert Report.from_json(data).to_json() == data
    assert list(folder.iterdir()) == []
    return {section["name"]: section for section in data["sections"]}


def figures(section: dict[str, Any], table: str, column: str) -> dict[str, list[float]]:
    """The rounds of a column by row."""
    [found] = [one for one in section["tables"] if one["name"] == table]
    index = [one["name"] for one in found["columns"]].index(column)
    return {row["name"]: row["cells"][index] for row in found["rows"]}


def test_everything_beside_each_other(tmp_path: Path) -> None:
    sections = profile(tmp_path)
    assert list(sections) == ["disk", "network", "broker", "stages"]
    shapes = {shape.name for shape in SHAPES}
    for column in ("floor", "tidelog", "of the floor"):
        found = figures(sections["broker"], "requests", column)
        assert set(found) == shapes
        assert all(len(cell) == 1 and cell[0] > 0 for cell in found.values())
    assert figures(sections["broker"], "CPU", "tidelog")
    for shape in SHAPES:
        found = figures(sections["stages"], "share of the loop's CPU time", shape.name)
        assert sum(sum(cell) for cell in found.values()) == pytest.approx(100)
    assert figures(sections["disk"], "sequential append", "page cache")
    assert figures(sections["network"], "throughput by message size", "throughput")


def test_the_floor_alone(tmp_path: Path) -> None:
    sections = profile(tmp_path, "floor")
    assert list(sections) == ["floor"]
    assert set(figures(sections["floor"], "requests", "floor")) == {s.name for s in SHAPES}


def test_a_broker_that_runs(tmp_path: Path) -> None:
    data, folder = tmp_path / "data", tmp_path / "folder"
    folder.mkdir()
    with ServedBroker(data) as broker:
        place = ("--bootstrap", broker.bootstrap_servers)
        sections = profile(folder, "broker", *place, "--pid", str(broker.pid))
        assert all(cell[0] > 0 for cell in figures(sections["broker"], "CPU", "tidelog").values())
        client = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
        names = client.list_topics(timeout=30).topics
        assert [name for name in names if name.startswith(LABEL)] == []


def test_report_page_and_comparison(tmp_path: Path) -> None:
    folder, file, page = tmp_path / "folder", tmp_path / "a.json", tmp_path / "a.html"
    folder.mkdir()
    more = ("--bytes", "300000000")
    files = ("--output", str(file), "--html", str(page), "--directory", str(folder))
    status, out, err = tidelog("profile", "disk", *SHORT, "--rounds", "2", *more, *files)
    assert status == 0, err
    assert "sequential append, MB/s" in out
    assert "±" in out
    assert "Disk is measured" in err
    assert page.read_text().startswith("<!doctype html>")
    assert json.loads(file.read_text())["format"] == "tidelog-profile"
    status, out, err = tidelog("profile", "compare", str(file), str(file))
    assert (status, "equal" in out) == (0, True), err
    assert "too few to tell a difference" in err
    status, out, err = tidelog("profile", "compare", str(file), str(file), "--json")
    compared = json.loads(out)
    assert compared["tables"][0]["figures"]["512 B, page cache (MB/s)"]["ratio"] == 1.0


@contextmanager
def served() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`tidelog profile --serve` on a free port: where, and the process."""
    command = [PROGRAM, "profile", "--serve", "127.0.0.1:0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            assert line.startswith("tidelog profile serves at 127.0.0.1:"), line
            yield line.split()[4], process
        finally:
            process.kill()


def test_a_peer_serves_until_ctrl_c(tmp_path: Path) -> None:
    with served() as (place, process):
        sections = profile(tmp_path, "network", "--peer", place)
        assert sections["network"]["facts"]["peer"] == place
        assert figures(sections["network"], "round trips", "p50")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert process.stderr is not None
        assert "a session begins" in process.stderr.read()


def test_a_peer_that_talks_garbage(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"220 mail.example ESMTP\r\n" * 3)
                connection.recv(100)

        thread = threading.Thread(target=answer)
        thread.start()
        place = f"127.0.0.1:{listener.getsockname()[1]}"
        options = (*SHORT, "--directory", str(tmp_path), "--peer", place)
        status, out, err = tidelog("profile", "network", *options)
        thread.join()
    assert (status, out) == (1, "")
    assert err == f"tidelog: {place}: that is no tidelog profile --serve\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "status", "problem"),
    [
        (("disc",), 2, "one of disk, network"),
        (("disk", "--peer", "x"), 2, "--peer is for the network"),
        (("network", "--peer", "x:y"), 2, "HOST or HOST:PORT"),
        (("network", "--peer", "127.0.0.1:1"), 1, "127.0.0.1:1: Connection refused"),
        (("disk", "--bootstrap", "x:1"), 2, "--bootstrap is for the part broker"),
        (("broker", "--pid", "7"), 2, "--pid belongs to --bootstrap"),
        (("broker", "--bootstrap", "127.0.0.1:1"), 1, "127.0.0.1:1: Connection refused"),
        (("disk", "--bytes", "5"), 2, "--bytes"),
        (("disk", "--rounds", "900"), 1, "too few for 900 rounds of the disk"),
        (("disk", "--directory", "/no/such/place"), 1, "/no/such/place: No such file"),
        (("disk", "--directory", "/proc/self/stat"), 1, "/proc/self/stat: Not a directory"),
        (("disk", "--directory", "/sys"), 1, "/sys: 0 MB are free"),
        (("disk", "--output", "/no/such/place"), 1, "/no/such/place: No such file"),
        (("--serve", "127.0.0.1:x"), 2, "HOST or HOST:PORT"),
        (("--serve", "192.0.2.1:1"), 1, "192.0.2.1:1: Cannot assign requested address"),
        (("compare", "/no/such/a", "/no/such/b"), 1, "/no/such/a: No such file"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    options: tuple[str, ...], status: int, problem: str, tmp_path: Path
) -> None:
    short = () if options[0] in ("compare", "--serve") else SHORT[:3]
    if short and "--directory" not in options:
        short += ("--directory", str(tmp_path))
    found, out, err = tidelog("profile", *options, *short)
    assert (found, out) == (status, ""), err
    assert problem in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_other_files_are_no_profiles(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    for text, problem in (("[]", "not a result of tidelog profile"), ("{", "it is no JSON")):
        file.write_text(text)
        status, out, err = tidelog("profile", "compare", str(file), str(file))
        assert (status, out) == (1, "")
        assert problem in err


def test_a_disk_that_fills_up_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("tidelog.profiling.disk.reserve", full)
    status, out, err = tidelog("profile", "disk", *SHORT, "--directory", str(tmp_path))
    assert (status, out) == (1, "")
    assert err == f"tidelog: {tmp_path}: No space left on device\n"
    assert list(tmp_path.iterdir()) == []


def started(folder: Path) -> bool:
    """Whether a part is at work."""
    return any(names for place, _, names in os.walk(folder) if PREFIX in place)


def a_broker_writes(folder: Path) -> bool:
    walked = os.walk(folder)  # which does not mind what vanishes meanwhile
    return any(
        name.endswith(".log")
        for place, _, names in walked
        if PREFIX in place and "/data" in place
        for name in names
    )


def processes_of(folder: Path) -> list[int]:
    """That have the folder on their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder).encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize(
    ("part", "begun", "number", "ending"),
    [
        ("disk", started, signal.SIGINT, (130, b"tidelog: stopped\n")),
        ("network", started, signal.SIGHUP, (129, b"")),
        ("broker", a_broker_writes, signal.SIGINT, (130, b"tidelog: stopped\n")),
        ("broker", a_broker_writes, signal.SIGTERM, (143, b"")),
    ],
)
def test_nothing_stays_when_it_is_stopped(
    part: str,
    begun: Callable[[Path], bool],
    number: int,
    ending: tuple[int, bytes],
    tmp_path: Path,
) -> None:
    options = ["--directory", str(tmp_path), "--seconds", "600", "--bytes", "2000000000"]
    command = [PROGRAM, "profile", part, *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        try:
            while not begun(tmp_path):
                assert running.poll() is None
            assert processes_of(tmp_path)
            running.send_signal(number)
            out, err = running.communicate(timeout=50)
        finally:
            running.kill()
    assert out == b""
    assert (running.returncode, err) == ending
    assert list(tmp_path.iterdir()) == []
    assert processes_of(tmp_path) == []
