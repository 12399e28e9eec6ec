"""`tidelog bench`: named workloads against any Kafka-compatible broker.

Runs in the user's shell; the work is done by `tidelog.benchmarks`, which is loaded when it is
needed. Topics that a run creates are deleted when it ends, also by Ctrl-C.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from tidelog.cli.cluster import (
    DEFAULT_BOOTSTRAP,
    Bootstrap,
    CommandError,
    Json,
    check_reachable,
    parse_configs,
    print_json,
    print_table,
)
from tidelog.cli.result_files import check_writable, read_report, write_report

if TYPE_CHECKING:
    from tidelog.benchmarks.compare import Comparison
    from tidelog.benchmarks.results import Report, Round
    from tidelog.benchmarks.session import Measure
    from tidelog.benchmarks.stage import Target, Tell
    from tidelog.benchmarks.workloads import Workload

CLIENTS: Final = ("native", "librdkafka")

app = typer.Typer(
    name="bench",
    help="Measure a broker: any that speaks Kafka's protocol.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("list")
def list_workloads(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Show its settings.")] = None,
    as_json: Json = False,
) -> None:
    """List the workloads, or the settings of one."""
    from tidelog.benchmarks.workloads import WORKLOADS

    if name is not None:
        settings = _workload(name, None, {}).settings()
        if as_json:
            print_json(settings)
        else:
            print_table({"setting": "left", "value": "left"}, settings.items())
        return
    if as_json:
        print_json([{"name": w.name, "kind": w.kind, "text": w.text} for w in WORKLOADS.values()])
    else:
        rows = ((w.name, w.kind, w.text) for w in WORKLOADS.values())
        print_table({"workload": "left", "kind": "left", "what it does": "left"}, rows)


@app.command("run")
def run(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A workload (tidelog bench list).")],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of it; many times."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="How often it is run.")] = 5,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="Of each round, measured.")] = None,
    rate: Annotated[
        float | None, typer.Option(min=0, help="Records a second; 0: no limit.")
    ] = None,
    client: Annotated[str, typer.Option(metavar="CLIENT", help="native or librdkafka.")] = "native",
    client_settings: Annotated[
        list[str] | None,
        typer.Option("--client-set", metavar="KEY=VALUE", help="A setting of librdkafka."),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Run on this broker, too, in turn; compare."),
    ] = None,
    pid: Annotated[int, typer.Option(min=0, help="The broker's process: its CPU, memory.")] = 0,
    against_pid: Annotated[int, typer.Option(min=0, help="The same of --against.")] = 0,
    command: Annotated[
        str, typer.Option(metavar="COMMAND", help="Starts a broker (workload start).")
    ] = "",
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write everything as JSON.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page with plots.")
    ] = None,
    as_json: Json = False,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
) -> None:
    """Run a workload."""
    from tidelog.benchmarks.session import report_of, run_rounds

    workload = _workload(name, settings, {"seconds": seconds, "rate": rate})
    targets = _targets(workload, bootstrap, pid, command, against, against_pid)
    measure = _measure(workload, client, client_settings)
    for file in (output, html):
        check_writable(file)
    from tidelog.benchmarks.native_load import BenchError
    from tidelog.cli.bench_view import Progress, show_report

    with Progress(workload.name, rounds * len(targets)) as progress:
        try:
            found = run_rounds(workload, targets, rounds, measure, progress.tell, progress.heard)
        except BenchError as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            raise typer.Abort from None
    report = report_of(workload, targets, found, client)
    _write(report, output, html)
    if as_json:
        print_json(report.to_json())
    else:
        show_report(report)


@app.command("compare")
def compare(
    base: Annotated[Path, typer.Argument(metavar="A.json")],
    other: Annotated[Path, typer.Argument(metavar="B.json")],
    as_json: Json = False,
) -> None:
    """Compare two results that `run --output` has written: B to A."""
    from tidelog.benchmarks.compare import compare_reports

    reports = [_read(base), _read(other)]
    try:
        comparisons = compare_reports(*reports)
    except ValueError as error:
        raise CommandError(f"{base} and {other} cannot be compared: {error}") from error
    if as_json:
        print_json([comparison.to_json() for comparison in comparisons])
        return
    _show_comparisons(comparisons)


def _show_comparisons(comparisons: Sequence[Comparison]) -> None:
    from tidelog.cli.bench_view import show_comparison

    for comparison in comparisons:
        show_comparison(comparison)


def _workload(name: str, settings: list[str] | None, more: dict[str, float | None]) -> Workload:
    """Raises typer.BadParameter."""
    from tidelog.benchmarks.workloads import WorkloadError, changed, workload_named

    changes = parse_configs(settings, "--set")
    changes |= {key: repr(value) for key, value in more.items() if value is not None}
    try:
        return changed(workload_named(name), changes)
    except WorkloadError as error:
        raise typer.BadParameter(str(error)) from error


def _targets(
    workload: Workload,
    bootstrap: str,
    pid: int,
    command: str,
    against: str | None,
    against_pid: int,
) -> list[Target]:
    """Raises typer.BadParameter or CommandError."""
    from tidelog.benchmarks.machine import check_pid
    from tidelog.benchmarks.stage import Target

    if workload.kind == "start":
        if not command:
            raise typer.BadParameter("the workload start needs --command")
        if against:
            raise typer.BadParameter("the workload start has no --against")
        return [Target(bootstrap, 0, command)]
    if command:
        raise typer.BadParameter("--command is for the workload start")
    targets = [Target(bootstrap, pid)]
    if against:
        targets.append(Target(against, against_pid))
    for target in targets:
        check_reachable(target.bootstrap)
        if target.pid and not check_pid(target.pid):
            raise CommandError(f"there is no process {target.pid}")
    return targets


def _measure(workload: Workload, client: str, settings: list[str] | None) -> Measure:
    """Raises typer.BadParameter."""
    from tidelog.benchmarks.session import native_measure

    if client not in CLIENTS:
        raise typer.BadParameter(f"--client {client}: one of {', '.join(CLIENTS)} is expected")
    if client == "native":
        if settings:
            raise typer.BadParameter("--client-set is for --client librdkafka")
        return native_measure
    from tidelog.benchmarks import real

    if workload.kind not in real.KINDS:
        raise typer.BadParameter(f"--client {client} cannot run {workload.kind} workloads")
    more = parse_configs(settings, "--client-set")

    def measure(target: Target, workload: Workload, tell: Tell) -> Round:
        return real.measure(target, workload, tell, more)

    return measure


def _write(report: Report, output: Path | None, html: Path | None) -> None:
    """Raises CommandError."""
    from tidelog.benchmarks.page import page

    write_report(report, page, output, html)


def _read(file: Path) -> Report:
    """Raises CommandError."""
    from tidelog.benchmarks.results import Report

    return read_report(file, Report.from_json)
