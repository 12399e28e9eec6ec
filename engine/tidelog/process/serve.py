"""`tidelog serve`: reads the command line and the properties file, forks the zygote, runs the
supervisor.

The process that the user starts. It imports no command-line library beyond argparse and no client
library, and loads what needs time only after the zygote is forked, so that both load side by side.

Exit status: 0 after a clean stop, 1 when the broker could not start or go on, 2 for a wrong
command line or file. Each of them is explained in one line on standard error.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final, NoReturn

from tidelog.process.zygote import WorkerMain, ZygoteHandle, fork_zygote

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2

#: A properties file is some kilobytes; more is another kind of file.
PROPERTIES_BYTES_MAX: Final = 4 * 1024 * 1024


class UsageError(Exception):
    """The command line or the properties file is wrong; the message says how."""


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong, without the usage before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"{self.prog}: {message} ({self.prog} --help)\n")


def parser() -> argparse.ArgumentParser:
    """The options of `tidelog serve`."""
    made = _Parser(
        prog="tidelog serve",
        description="Start a broker. When it serves, one line on standard output says so.",
        epilog="Stop it with SIGTERM or Ctrl-C; a second one stops it at once.",
        allow_abbrev=False,
    )
    made.add_argument(
        "--listen",
        metavar="HOST:PORT",
        help="where the first node listens; node i adds i-1 to the port, port 0 takes free ports "
        "(default: listeners of the file, or 127.0.0.1:9092)",
    )
    made.add_argument(
        "--data-dir",
        metavar="DIR",
        help="where everything is kept (default: log.dirs of the file, or ./tidelog-data)",
    )
    made.add_argument(
        "--workers",
        metavar="N|auto",
        default="auto",
        help="worker processes, each a node (default: auto: as many as before in this directory, "
        "at first one per core, at most 8)",
    )
    made.add_argument(
        "--node-id", metavar="ID", type=int, help="id of the first node (default: node.id, or 1)"
    )
    made.add_argument(
        "--config",
        metavar="FILE",
        help="a server.properties as Apache Kafka's; unknown keys are warned about",
    )
    made.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        dest="settings",
        help="one config over the file's; may be given many times",
    )
    made.add_argument(
        "--zookeeper",
        metavar="HOST:PORT,.../CHROOT",
        help="be one of several hosts, which find each other there and keep their metadata in it",
    )
    made.add_argument(
        "--cluster-listen",
        metavar="HOST:PORT",
        help="with --zookeeper: where the other hosts reach this one (default: the host of the "
        "first listener, any free port)",
    )
    made.add_argument(
        "--metrics",
        metavar="HOST:PORT",
        help="also serve metrics for Prometheus at /metrics, and /health and /ready, for all nodes",
    )
    made.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default="warning",
        help="which log lines go to standard error (default: warning)",
    )
    # For whoever starts a broker as a part of itself (`embed`): a pipe or socket whose end, or a
    # byte in it, is the order to stop. Unlike a signal it comes whatever the starter ignored or
    # blocked, and also when the starter was killed.
    made.add_argument("--parent-fd", metavar="FD", type=int, help=argparse.SUPPRESS)
    return made


def main(argv: Sequence[str]) -> int:
    """Runs the broker; returns the exit status."""
    options = parser().parse_args(argv)
    try:
        workers = parse_workers(options.workers)
        text = read_properties(options.config)
    except UsageError as error:
        return _complain(str(error), EXIT_USAGE)
    raise_descriptor_limit()  # before the fork: the workers inherit it
    zygote = fork_zygote(partial(_load_apart, options.parent_fd))
    return run(options, workers, text, zygote)


def run(options: argparse.Namespace, workers: int | None, text: str, zygote: ZygoteHandle) -> int:
    """Everything after the fork."""
    # Only now: what is imported here would otherwise delay the zygote, which loads its own share
    # meanwhile.
    from tidelog.process.broker import BrokerOptions, StartFailure, run_broker

    broker = BrokerOptions(
        listen=options.listen,
        data_dir=options.data_dir,
        workers=workers,
        node_id=options.node_id,
        properties=text,
        properties_name=options.config or "server.properties",
        settings=tuple(options.settings),
        log_level=options.log_level,
        parent_fd=options.parent_fd,
        metrics=options.metrics,
        zookeeper=options.zookeeper,
        cluster_listen=options.cluster_listen,
    )
    try:
        return run_broker(broker, zygote, _say)
    except StartFailure as failure:
        return _complain(str(failure), EXIT_USAGE if failure.usage else EXIT_FAILED)


def raise_descriptor_limit() -> None:
    """The soft limit of open files up to the hard one: shells start with 1,024, and every segment
    and connection needs one. (The soft limit protects programs that use select(); none is here.)
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def parse_workers(text: str) -> int | None:
    """The number of workers, None for auto. Raises UsageError."""
    if text == "auto":
        return None
    if text.isascii() and text.isdigit() and len(text) <= 9:
        return int(text)
    raise UsageError(f"--workers {text}: a number or auto is expected")


def read_properties(path: str | None) -> str:
    """The file's text, "" without a file. Raises UsageError."""
    if path is None:
        return ""
    try:
        with Path(path).open("rb") as file:
            data = file.read(PROPERTIES_BYTES_MAX + 1)
        if len(data) > PROPERTIES_BYTES_MAX:
            raise UsageError(f"--config {path}: more than {PROPERTIES_BYTES_MAX} bytes")
        return data.decode()
    except OSError as error:
        raise UsageError(f"--config {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"--config {path}: not UTF-8 at byte {error.start}") from error


def load_worker() -> WorkerMain:
    """Imports what a worker needs; runs in the zygote."""
    from tidelog.process.worker import worker_main

    return worker_main


def _load_apart(parent_fd: int | None) -> WorkerMain:
    """The same, without the descriptor that only the supervisor reads."""
    if parent_fd is not None:
        os.close(parent_fd)
    return load_worker()


def _say(line: str) -> None:
    """One line on standard output; a reader that has gone is no reason to stop."""
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except OSError:
        return


def _complain(problem: str, status: int) -> int:
    for line in problem.splitlines():
        sys.stderr.write(f"tidelog serve: {line}\n")
    return status
