"""`tidelog scrub`: checks a data directory for damage, while the broker runs or not. Reads only."""

from __future__ import annotations

import dataclasses
import fcntl
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

from tidelog.cli.cluster import CommandError, Json, print_json
from tidelog.process.broker import DEFAULT_DATA_DIR
from tidelog.process.data_directory import LOCK_FILE, node_folders
from tidelog.storage.files import SYSTEM_FILES
from tidelog.storage.scrub import (
    Damage,
    Scrubbed,
    SegmentToScrub,
    find_logs,
    find_segments,
    scrub_segment,
)


def scrub(
    directories: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[DIRECTORY...]",
            help="Data directories, folders of nodes, or folders of logs. "
            f"Default: {DEFAULT_DATA_DIR}.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Check logs against their checksums and digests, and name what is damaged."""
    segments, passed_over = _segments(directories or [Path(DEFAULT_DATA_DIR)])
    done: list[Scrubbed] = []
    console = Console(stderr=True)
    with Progress(
        "scrubbing", BarColumn(), DownloadColumn(), TimeRemainingColumn(),
        console=console, transient=True, disable=not console.is_terminal,
    ) as progress:  # fmt: skip
        task = progress.add_task("scrub", total=sum(segment.size for segment in segments))
        for segment in segments:
            try:
                found = scrub_segment(SYSTEM_FILES, segment)
            except OSError as error:
                problem = f"cannot be read: {error.strerror or error}"
                found = Scrubbed(segment, 0, 0, False, (Damage(segment.path, problem),))
            progress.advance(task, segment.size)
            if found is None:
                passed_over += 1
                continue
            done.append(found)
            if not json:
                for damage in found.damage:
                    typer.echo(_told(damage))
    _report(done, passed_over, json)
    if any(found.damage for found in done):
        raise typer.Exit(1)


def _segments(directories: list[Path]) -> tuple[list[SegmentToScrub], int]:
    """What is to be read, and how many segments a broker is writing. Raises CommandError."""
    segments: list[SegmentToScrub] = []
    passed_over = logs = 0
    for directory in directories:
        try:
            for folder in node_folders(directory) or [directory]:
                in_use = _in_use(folder)
                for log in find_logs(SYSTEM_FILES, str(folder)):
                    logs += 1
                    for segment in find_segments(SYSTEM_FILES, log):
                        if segment.last and in_use:
                            passed_over += 1
                        else:
                            segments.append(segment)
        except OSError as error:
            raise CommandError(f"{directory}: {error.strerror or error}") from error
    if not logs:
        names = ", ".join(map(str, directories))
        raise CommandError(f"{names}: there is no log in this folder")
    return segments, passed_over


def _in_use(directory: Path) -> bool:
    """Whether a broker holds the directory, or one that it is in."""
    for path in (directory, *directory.absolute().parents[:2]):
        lock = path / LOCK_FILE
        if not lock.is_file():
            continue
        with lock.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    return False


def _told(damage: Damage) -> str:
    words = [f"{damage.path}: {damage.problem}"]
    if damage.position >= 0:
        words.append(f"position={damage.position}")
    if damage.offset >= 0:
        words.append(f"offset={damage.offset}")
    return " ".join(words)


def _report(done: list[Scrubbed], passed_over: int, json: bool) -> None:
    damaged = [found for found in done if found.damage]
    totals = {
        "segments": len(done),
        "bytes": sum(found.bytes_read for found in done),
        "batches": sum(found.batches for found in done),
        "without_digest": sum(not found.digest for found in done),
        "passed_over": passed_over,
        "damaged_segments": len(damaged),
    }
    if json:
        damage = [dataclasses.asdict(one) for found in damaged for one in found.damage]
        print_json({**totals, "damage": damage})
        return
    typer.echo(
        "{segments} segments, {bytes} bytes, {batches} batches: {damaged_segments} damaged;"
        " {without_digest} without a digest (checksums only), {passed_over} passed over"
        " (in use or gone)".format(**totals)
    )
