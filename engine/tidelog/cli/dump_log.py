"""`tidelog dump-log`: what is in the files of a log directory, without a broker."""

from __future__ import annotations

import dataclasses
import json as json_format
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from tidelog.cli.cluster import CommandError, Json
from tidelog.cli.log_checks import verify as verify_segment
from tidelog.cli.log_files import DECODERS, Line, Options, dump
from tidelog.errors import StorageError
from tidelog.storage.leader_epochs import LEADER_EPOCH_CHECKPOINT
from tidelog.storage.partition_metadata import PARTITION_METADATA
from tidelog.storage.segment_files import DIGEST_SUFFIX, parse_name


def dump_log(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...")],
    records: Annotated[
        bool, typer.Option("--records", help="Every record, not only batches.")
    ] = False,
    decoder: Annotated[
        str | None,
        typer.Option(
            metavar="TOPIC",
            help="Read records as those of an internal topic: 'offsets' or 'transactions'. "
            "Implies --records.",
        ),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Print defects only: checksums, order, index entries. Status 1 for any.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Print segments, indexes, snapshots, checkpoints: single files, or those of a log's folder."""
    if decoder is not None and decoder not in DECODERS:
        raise typer.BadParameter(f"--decoder {decoder}: one of {', '.join(DECODERS)} is expected")
    options = Options(records=records or decoder is not None, decoder=decoder)
    defects = 0
    for path in _expanded(files):
        if verify and (path.suffix in _WITH_THEIR_LOG or path.name in _KNOWN_NAMES):
            continue
        if not json and not verify:
            typer.echo(f"{path}:")
        try:
            lines = (
                verify_segment(path) if verify and path.suffix == ".log" else dump(path, options)
            )
            for line in lines:
                defects += line.broken
                if line.broken or not verify:
                    _print(path, line, json, verify)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise CommandError(f"{path}: {error.strerror or error}") from error
        except StorageError as error:
            raise CommandError(str(error)) from error
    if verify and not json:
        typer.echo(f"{defects} defects")
    if defects:
        raise typer.Exit(1)


def _print(path: Path, line: Line, json: bool, verify: bool) -> None:
    if json:
        found = {"file": str(path), "kind": line.kind.strip(), **line.fields}
        typer.echo(json_format.dumps(found, default=_plain))
    else:
        typer.echo(f"{path}: {line}" if verify else line)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) else str(value)  # type: ignore[arg-type]


#: What --verify checks with the segment, or leaves to `tidelog scrub`.
_WITH_THEIR_LOG = (".index", ".timeindex", DIGEST_SUFFIX)
_KNOWN = (".log", ".index", ".timeindex", ".txnindex", ".snapshot", DIGEST_SUFFIX)
_KNOWN_NAMES = (LEADER_EPOCH_CHECKPOINT, PARTITION_METADATA)
#: A data directory holds folders of nodes, and those folders of logs.
_DEPTH_MAX = 2


def _expanded(files: list[Path]) -> list[Path]:
    """Folders stand for the files of the logs in them, also of those in their folders. Raises
    CommandError.
    """
    found: list[Path] = []
    for path in files:
        try:
            if not path.is_dir():
                found.append(path)
                continue
            held = list(_files_of_logs(path, _DEPTH_MAX))
        except OSError as error:
            raise CommandError(f"{error.filename or path}: {error.strerror or error}") from error
        if not held:
            raise CommandError(f"{path}: there is no log in this folder")
        found += held
    return found


def _files_of_logs(folder: Path, depth: int) -> Iterator[Path]:
    entries = sorted(folder.iterdir())
    if any(one.suffix == ".log" and parse_name(one.name) for one in entries):
        yield from (one for one in entries if one.suffix in _KNOWN or one.name in _KNOWN_NAMES)
    elif depth:
        for entry in entries:
            if entry.is_dir():
                yield from _files_of_logs(entry, depth - 1)
