"""`tidelog profile`: what the machine's disk and network can do, and how near Tidelog comes to it.

Runs in the user's shell; the work is done by `tidelog.profiling`, which is loaded when it is
needed. What it writes is gone when it ends, also by Ctrl-C, SIGTERM and SIGHUP.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.core import TyperGroup

from tidelog.cli.cluster import CommandError, Json, check_reachable, print_json
from tidelog.cli.profile_stages import stages
from tidelog.cli.result_files import check_writable, read_report, write_report

if TYPE_CHECKING:
    from tidelog.profiling.results import Report
    from tidelog.profiling.session import Options

DEFAULT_ROUNDS: Final = 5
DEFAULT_SECONDS: Final = 40.0
DEFAULT_BYTES: Final = 20_000_000_000
#: --quick, unless the options say something else.
QUICK_ROUNDS: Final = 1
QUICK_SECONDS: Final = 4.0
QUICK_BYTES: Final = 1_000_000_000
BYTES_MIN: Final = 100_000_000
PART_NAMES: Final = ("disk", "network", "floor", "broker", "all")


class DefaultRun(TyperGroup):
    """`tidelog profile disk --quick` is `tidelog profile run disk --quick`, and `--serve` is
    `serve`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args[:1] == ["--serve"]:
            args = ["serve", *args[1:]]
        elif not args or (args[0] not in self.commands and args[0] != "--help"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    name="profile",
    cls=DefaultRun,
    help="Measure this machine's disk and network, and Tidelog against them: "
    "tidelog profile [disk|network|floor|broker|all] [OPTIONS] (profile run --help).",
    rich_markup_mode=None,
)


@app.command("run")
def run(
    parts: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PART]...", help="disk, network, floor, broker or all."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="One short round, few bytes.")] = False,
    directory: Annotated[
        Path, typer.Option(metavar="DIR", help="Where the disk is measured.")
    ] = Path(),
    rounds: Annotated[
        int | None, typer.Option(min=1, max=1000, help=f"How often ({DEFAULT_ROUNDS}).")
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(min=0.5, max=86_400, help=f"Of each part ({DEFAULT_SECONDS:g})."),
    ] = None,
    write_bytes: Annotated[
        int | None,
        typer.Option(
            "--bytes",
            min=BYTES_MIN,
            help=f"That each part writes at most ({DEFAULT_BYTES}).",
        ),
    ] = None,
    peer: Annotated[
        str,
        typer.Option(metavar="HOST[:PORT]", help="The network to tidelog profile --serve there."),
    ] = "",
    bootstrap: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="A broker that runs, not one of its own.")
    ] = "",
    pid: Annotated[int, typer.Option(min=0, help="Its process: its CPU.")] = 0,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write everything as JSON.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page with plots.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure (the default): disk, network, floor and broker."""
    from tidelog.profiling.brokers import BrokerPlace
    from tidelog.profiling.gather import Limits, ProfileError
    from tidelog.profiling.session import Options, run_profile

    limits = Limits(
        rounds or (QUICK_ROUNDS if quick else DEFAULT_ROUNDS),
        seconds or (QUICK_SECONDS if quick else DEFAULT_SECONDS),
        write_bytes or (QUICK_BYTES if quick else DEFAULT_BYTES),
    )
    options = Options(_parts(parts or []), limits, directory, peer, BrokerPlace(bootstrap, pid))
    _check(options)
    for file in (output, html):
        check_writable(file)
    from tidelog.cli.profile_view import Progress, show_report

    with ended_in_order(), Progress() as progress:
        try:
            report = run_profile(options, progress.tell, progress.heard)
        except ProfileError as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            raise typer.Abort from None
    _write(report, output, html)
    if as_json:
        print_json(report.to_json())
    else:
        show_report(report)


app.command("stages")(stages)


@app.command("compare")
def compare(
    base: Annotated[Path, typer.Argument(metavar="A.json")],
    other: Annotated[Path, typer.Argument(metavar="B.json")],
    as_json: Json = False,
) -> None:
    """Compare two results that --output has written: B to A."""
    from tidelog.profiling.compare import compare_reports

    reports = [_read(base), _read(other)]
    try:
        comparison = compare_reports(*reports)
    except ValueError as error:
        raise CommandError(f"{base} and {other} cannot be compared: {error}") from error
    if as_json:
        print_json(comparison.to_json())
        return
    from tidelog.cli.profile_view import show_comparison

    show_comparison(comparison)


@app.command("serve")
def serve(
    place: Annotated[
        str, typer.Argument(metavar="[HOST:PORT]", help="Where it listens.")
    ] = "0.0.0.0",
) -> None:
    """Be the other side of a network's profile (also --serve)."""
    from tidelog.profiling.gather import ProfileError
    from tidelog.profiling.network import parse_place
    from tidelog.profiling.peer import PeerServer, listening, stopped_by_signals

    try:
        host, port = parse_place(place)
    except ProfileError as error:
        raise typer.BadParameter(str(error)) from error
    try:
        listener = listening(host, port)
    except OSError as error:
        raise CommandError(f"{place}: {error.strerror or error}") from error
    with listener:
        server = PeerServer(listener, lambda text: typer.echo(text, err=True))
        with stopped_by_signals(server):
            at = listener.getsockname()
            typer.echo(f"tidelog profile serves at {at[0]}:{at[1]} until Ctrl-C", err=True)
            server.serve()


@contextlib.contextmanager
def ended_in_order() -> Iterator[None]:
    """SIGTERM, from timeout, systemd or docker, and SIGHUP, from a terminal that is closed, end it
    as Ctrl-C does, with status 143 and 129."""

    def end(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _parts(given: list[str]) -> tuple[str, ...]:
    """In the order in which they are measured. Raises typer.BadParameter."""
    from tidelog.profiling.session import EVERYTHING, PARTS

    for name in given:
        if name not in PART_NAMES:
            raise typer.BadParameter(f"{name}: one of {', '.join(PART_NAMES)} is expected")
    wanted = set(given) - {"all"}
    if not given or "all" in given:
        wanted |= set(EVERYTHING)
    if "broker" in wanted:  # which measures the floor beside it
        wanted.discard("floor")
    return tuple(part for part in PARTS if part in wanted)


def _check(options: Options) -> None:
    """What does not fit together, before the time is spent. Raises typer.BadParameter or
    CommandError."""
    from tidelog.benchmarks.machine import check_pid
    from tidelog.profiling.gather import ProfileError
    from tidelog.profiling.network import parse_place

    broker = options.broker
    if options.peer:
        if "network" not in options.parts:
            raise typer.BadParameter("--peer is for the network")
        try:
            parse_place(options.peer)
        except ProfileError as error:
            raise typer.BadParameter(f"--peer {error}") from error
    if broker.pid and not broker.bootstrap:
        raise typer.BadParameter("--pid belongs to --bootstrap")
    if broker.bootstrap:
        if "broker" not in options.parts:
            raise typer.BadParameter("--bootstrap is for the part broker")
        check_reachable(broker.bootstrap)
        if broker.pid and not check_pid(broker.pid):
            raise CommandError(f"there is no process {broker.pid}")


def _write(report: Report, output: Path | None, html: Path | None) -> None:
    """Raises CommandError."""
    from tidelog.profiling.page import page

    write_report(report, page, output, html)


def _read(file: Path) -> Report:
    """Raises CommandError."""
    from tidelog.profiling.results import Report

    return read_report(file, Report.from_json)
