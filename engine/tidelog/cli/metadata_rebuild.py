"""`tidelog metadata rebuild`: restores a lost metadata store from the logs, without a broker. Runs
in the user's shell; prints only, the work is `process/rebuild.py`'s.
"""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any, Final

import typer
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from tidelog.cli.cluster import CommandError, print_json, print_table
from tidelog.controller.rebuild import KEEP_EVERYTHING, RebuiltTopic
from tidelog.errors import StorageError
from tidelog.process.broker import DEFAULT_DATA_DIR
from tidelog.process.rebuild import RebuildReport, rebuild_store
from tidelog.storage.partition_metadata import format_topic_id

#: What the logs cannot tell, for whoever has just lost it.
LOST: Final = (
    "Lost with the old store: configs of topics, brokers and groups. The broker's defaults apply,"
    f" except {', '.join(f'{key}={value}' for key, value in KEEP_EVERYTHING.items())} on restored"
    " topics: nothing is removed until you set them (tidelog configs alter)."
)


def run_rebuild(data_dir: Path | None, *, force: bool, json: bool) -> None:
    """The whole command. Raises CommandError."""
    try:
        report = _rebuild(data_dir or Path(DEFAULT_DATA_DIR), force)
    except StorageError as error:
        raise CommandError(str(error)) from error
    if json:
        print_json(_described(report))
        return
    _print(report)


def _rebuild(data_dir: Path, force: bool) -> RebuildReport:
    """With a count of the logs while it takes its time. Raises StorageError."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.completed} logs"), TimeElapsedColumn())
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        task = progress.add_task("logs", total=None)
        return rebuild_store(
            data_dir.absolute(),
            now_ms=time.time_ns() // 1_000_000,
            rng=random.SystemRandom(),
            force=force,
            on_log=lambda: progress.advance(task),
        )


def _print(report: RebuildReport) -> None:
    nodes = ", ".join(map(str, report.nodes))
    typer.echo(f"cluster {report.cluster_id}  nodes {nodes}  logs {report.logs}")
    typer.echo(f"replaced because {report.reason}")
    if report.topics:
        typer.echo("")
        print_table(
            {"topic": "left", "id": "left", "partitions": "right", "empty": "right",
             "nodes": "left", "configs": "right"},
            (_row(topic) for topic in report.topics),
        )  # fmt: skip
    if report.notes:
        typer.echo("")
    for note in report.notes:
        typer.echo(f"{note.where}: {note.what}")
    typer.echo("")
    partitions = sum(len(topic.partitions) for topic in report.topics)
    kept = f", the old one is {report.set_aside.name}" if report.set_aside else ""
    typer.echo(
        f"{report.store}: {len(report.topics)} topics, {partitions} partitions restored{kept}"
    )
    if report.configs_lost:
        typer.echo(LOST)


def _row(topic: RebuiltTopic) -> tuple[object, ...]:
    nodes = sorted({partition.leader for partition in topic.partitions})
    return (
        topic.name,
        format_topic_id(topic.topic_id) + (" (new)" if topic.new_id else ""),
        len(topic.partitions),
        len(topic.new_partitions) or "",
        ",".join(map(str, nodes)),
        _configs(topic),
    )


def _described(report: RebuildReport) -> dict[str, Any]:
    return {
        "cluster_id": report.cluster_id,
        "nodes": [{"id": node, "folder": folder} for node, folder in report.nodes.items()],
        "store": str(report.store),
        "reason": report.reason,
        "set_aside": None if report.set_aside is None else str(report.set_aside),
        "configs_lost": report.configs_lost,
        "logs": report.logs,
        "topics": [
            {
                "name": topic.name,
                "id": format_topic_id(topic.topic_id),
                "new_id": topic.new_id,
                "configs": dict(topic.configs),
                "partitions": [
                    {
                        "partition": one.partition,
                        "node": one.leader,
                        "leader_epoch": one.leader_epoch,
                        "empty": one.partition in topic.new_partitions,
                    }
                    for one in topic.partitions
                ],
            }
            for topic in report.topics
        ],
        "notes": [{"where": note.where, "what": note.what} for note in report.notes],
    }


def _configs(topic: RebuiltTopic) -> str:
    if topic.configs == tuple(KEEP_EVERYTHING.items()):
        return "lost: all is kept"
    return str(len(topic.configs) or "")
