"""`tidelog profile stages`: where the time of a running broker goes, under the load that it has.

Runs in the user's shell on the machine of the broker; the broker takes the samples itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tidelog.cli.cluster import (
    DEFAULT_BOOTSTRAP,
    Bootstrap,
    CommandError,
    Json,
    check_reachable,
    print_json,
)
from tidelog.cli.result_files import check_writable, write_file, write_json
from tidelog.limits import SAMPLING_MS_MAX, SAMPLING_RATE_HZ_MAX


def stages(
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
    seconds: Annotated[
        float, typer.Option(min=0.1, max=SAMPLING_MS_MAX / 1000, help="How long.")
    ] = 5.0,
    rate: Annotated[
        int,
        typer.Option(min=1, max=SAMPLING_RATE_HZ_MAX, help="Samples a second of each loop."),
    ] = 997,
    node: Annotated[
        list[int] | None,
        typer.Option(metavar="ID", help="Only this node; may be given many times."),
    ] = None,
    flame: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", help="Write a flame graph.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write everything as JSON.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Where the time of a running broker goes: stages, functions, a flame graph."""
    from tidelog.benchmarks import machine
    from tidelog.cpu_samples import Order
    from tidelog.profiling.flame import flame_of
    from tidelog.profiling.gather import ProfileError
    from tidelog.profiling.results import Report
    from tidelog.profiling.sampling import nodes_of, sample_nodes
    from tidelog.profiling.stages import section_of

    check_reachable(bootstrap)
    for file in (flame, output):
        check_writable(file)
    try:
        found = nodes_of(bootstrap)
        wanted = tuple(sorted(set(node or found.node_ids)))
        if strangers := set(wanted) - set(found.node_ids):
            raise CommandError(f"there is no node {min(strangers)} in the cluster")
        samples = sample_nodes(found.cluster_id, wanted, Order(round(seconds * 1000), rate))
    except ProfileError as error:
        raise CommandError(str(error)) from error
    report = Report(
        {"command": "stages", "bootstrap": bootstrap, "seconds": seconds, "rate_hz": rate},
        [section_of(one) for one in samples],
        versions=machine.versions(),
        machine=machine.describe(),
    )
    if flame is not None:
        write_file(flame, flame_of(samples))
    if output is not None:
        write_json(output, report.to_json())
    if as_json:
        print_json(report.to_json())
        return
    from tidelog.cli.bench_view import show_warnings
    from tidelog.cli.profile_view import show_section

    for number, section in enumerate(report.sections):
        show_section(section, first=number == 0)
    show_warnings([warning for section in report.sections for warning in section.warnings])
