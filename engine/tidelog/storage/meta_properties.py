"""`meta.properties` of a log directory: which cluster and node it belongs to.

Format (Kafka's, version 1): Java properties, version=1, cluster.id, node.id, and directory.id, an
id of the directory itself (KIP-858). Runs on helper threads, or before a loop runs. It never
decides whether a directory may be used: that is the log manager's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from tidelog.config.properties import ConfigFileError, Property, parse_properties
from tidelog.storage.checkpoints import MalformedFileError, integer
from tidelog.storage.files import SYSTEM_FILES, Files
from tidelog.storage.partition_metadata import format_topic_id, parse_topic_id

META_PROPERTIES = "meta.properties"
META_PROPERTIES_VERSION = 1

_ESCAPED = frozenset("\\:=#!")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True)
class MetaProperties:
    """`directory_id`: 16 bytes, or None in a directory that an older Kafka made."""

    cluster_id: str
    node_id: int
    directory_id: bytes | None = None


def encode_meta_properties(meta: MetaProperties, now_ms: int) -> bytes:
    """The file's content; `now_ms` goes into the comment that Java heads such a file with."""
    now = datetime.fromtimestamp(now_ms // 1000, UTC)
    day, month = _DAYS[now.weekday()], _MONTHS[now.month - 1]
    lines = [
        "#",
        f"#{day} {month} {now.day:02d} {now:%H:%M:%S} UTC {now.year}",
        f"cluster.id={_escape(meta.cluster_id)}",
    ]
    if meta.directory_id is not None:
        lines.append(f"directory.id={format_topic_id(meta.directory_id)}")
    lines += [f"node.id={meta.node_id}", f"version={META_PROPERTIES_VERSION}", ""]
    return "\n".join(lines).encode()


def decode_meta_properties(data: bytes, path: str) -> MetaProperties:
    """Raises MalformedFileError (`path` only names the file). Other properties are ignored."""
    try:
        # Java reads these files as Latin-1; anything else is escaped in them.
        found = {one.key: one for one in parse_properties(data.decode("latin-1"), path)}
    except ConfigFileError as error:
        # "path:line: what is wrong"
        line, _, problem = error.problems[0].removeprefix(f"{path}:").partition(": ")
        raise MalformedFileError(path, integer(line) or 0, problem) from error
    version = _wanted(found, "version", path)
    if integer(version.value) != META_PROPERTIES_VERSION:
        raise MalformedFileError(path, version.line, f"version={META_PROPERTIES_VERSION} expected")
    node = _wanted(found, "node.id", path)
    node_id = integer(node.value)
    if node_id is None or not 0 <= node_id < 2**31:
        raise MalformedFileError(path, node.line, f"no node id: {node.value[:100]!r}")
    directory_id = None
    if directory := found.get("directory.id"):
        directory_id = parse_topic_id(directory.value)
        if directory_id is None:
            raise MalformedFileError(path, directory.line, f"no id: {directory.value[:100]!r}")
    return MetaProperties(_wanted(found, "cluster.id", path).value, node_id, directory_id)


def read_meta_properties(path: str, files: Files = SYSTEM_FILES) -> MetaProperties | None:
    """None when there is no such file. Raises MalformedFileError, OSError."""
    try:
        data = files.read(path)
    except FileNotFoundError:
        return None
    return decode_meta_properties(data, path)


def write_meta_properties(
    path: str, meta: MetaProperties, now_ms: int, files: Files = SYSTEM_FILES
) -> None:
    """Replaces the file atomically and durably. Raises OSError."""
    files.write(path, encode_meta_properties(meta, now_ms))


def _wanted(found: dict[str, Property], key: str, path: str) -> Property:
    if key not in found or not found[key].value:
        raise MalformedFileError(path, found[key].line if key in found else 0, f"{key} is missing")
    return found[key]


def _escape(value: str) -> str:
    out = []
    for position, character in enumerate(value):
        if character in _ESCAPED or (character == " " and position == 0):
            out.append(f"\\{character}")
        elif " " <= character <= "~":
            out.append(character)
        else:
            units = character.encode("utf-16-be")
            out += [f"\\u{units[i : i + 2].hex().upper()}" for i in range(0, len(units), 2)]
    return "".join(out)
