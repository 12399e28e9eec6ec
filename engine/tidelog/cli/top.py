"""`tidelog top`: throughput, lag and latency, live in a terminal. Runs in the user's shell.

In a terminal the view is replaced in place; elsewhere each view is printed below the one before.
"""

from __future__ import annotations

import json as json_text
import sys
import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Final, Protocol

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tidelog.cli.cluster import DEFAULT_BOOTSTRAP, Bootstrap, CommandError, Json, connect
from tidelog.cli.top_sources import ClusterSource, MetricsSource
from tidelog.cli.top_view import Look, Row, View, compare, shown

#: The columns that hold text; the others are numbers.
_TEXTS: Final = frozenset({"topic", "group", "state", "request", "node", "up"})


class Source(Protocol):
    """Where the numbers come from."""

    def look(self) -> Look: ...


def top(
    metrics: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Where the broker was told to serve metrics; else the public APIs are asked, "
            "which know neither bytes nor latencies.",
        ),
    ] = None,
    interval: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="Between two looks.")
    ] = 2.0,
    count: Annotated[
        int | None, typer.Option(min=1, help="End after so many views (default: Ctrl-C).")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="The same as --count 1.")] = False,
    rows: Annotated[
        int, typer.Option(min=1, help="Topics and groups that are shown at most.")
    ] = 20,
    internal: Annotated[
        bool, typer.Option("--internal", help="Show the broker's own topics, too.")
    ] = False,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
    json: Json = False,
) -> None:
    """Watch throughput, lag and latency by topic, group and request."""
    if once:
        count = 1
    source: Source
    where = metrics or bootstrap
    if metrics is not None:
        host, _, port = metrics.rpartition(":")
        if not host or not (port.isascii() and port.isdigit()):
            raise typer.BadParameter(f"--metrics {metrics}: HOST:PORT is expected")
        source = MetricsSource(metrics)
    else:
        source = ClusterSource(connect(bootstrap), internal=internal)
    views = watch(source, interval, count, time.sleep)
    try:
        if json:
            for view in views:
                typer.echo(json_text.dumps(view.as_json()))
        else:
            _show(views, where, rows, internal)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def watch(
    source: Source, interval_s: float, count: int | None, sleep: Callable[[float], Any]
) -> Iterator[View]:
    """One view after the other. Raises CommandError when the first look fails; later ones are
    tried again: brokers restart.
    """
    before = source.look()
    made = 0
    while count is None or made < count:
        sleep(interval_s)
        try:
            now = source.look()
        except CommandError:
            if count is not None:
                raise
            continue
        yield compare(before, now)
        before = now
        made += 1


def _show(views: Iterator[View], where: str, rows: int, internal: bool) -> None:
    console = Console(file=sys.stdout, highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 10_000
        for view in views:
            console.print(_rendered(view, where, rows, internal))
        return
    with Live(Text("looking ..."), console=console, auto_refresh=False, screen=False) as live:
        for view in views:
            live.update(_rendered(view, where, rows, internal), refresh=True)


def _rendered(view: View, where: str, rows: int, internal: bool) -> RenderableType:
    topics = [row for row in view.topics if internal or not row["topic"].startswith("__")]
    parts: list[RenderableType] = [
        Text(
            f"{where}  {time.strftime('%H:%M:%S')}  answered in {view.answered_ms} ms  "
            f"{len(topics)} topics  {len({row['group'] for row in view.groups})} groups"
        )
    ]
    for found in (view.nodes, topics, view.groups, view.requests):
        if found:
            parts += [Text(""), _table(found, rows)]
            if len(found) > rows:
                parts.append(Text(f"... and {len(found) - rows} more"))
    return Group(*parts)


def _table(found: list[Row], rows: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in found[0]:
        title = name.replace("_per_s", "/s").replace("_", " ")
        table.add_column(title, justify="left" if name in _TEXTS else "right", no_wrap=True)
    for line in shown(found, rows):
        table.add_row(*line)
    return table
