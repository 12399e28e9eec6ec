"""`partition.metadata` in a partition's folder: the id of the topic it belongs to (KIP-516).

Format (Kafka's, version 0): two lines of text, `version: 0` and `topic_id: ` with the id in
URL-safe base64 without padding; no newline at the end. Written once, when the log is made; runs on
helper threads. It never decides what happens to a folder whose topic is another one.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode

from tidelog.storage.checkpoints import MalformedFileError, integer
from tidelog.storage.files import SYSTEM_FILES, Files
from tidelog.types import ZERO_TOPIC_ID, TopicId

PARTITION_METADATA = "partition.metadata"
PARTITION_METADATA_VERSION = 0

_ID_BYTES = 16


def format_topic_id(topic_id: bytes) -> str:
    """Kafka's text form of a 16-byte id: URL-safe base64, 22 characters."""
    if len(topic_id) != _ID_BYTES:
        raise ValueError(f"an id has 16 bytes, not {len(topic_id)}")
    return urlsafe_b64encode(topic_id).rstrip(b"=").decode()


def parse_topic_id(text: str) -> TopicId | None:
    """The inverse of format_topic_id; None when the text is no id."""
    try:
        raw = urlsafe_b64decode(text + "==")
    except ValueError:
        return None
    # The decoder skips foreign characters and ignores spare bits: only the canonical form is an id.
    if len(raw) != _ID_BYTES or format_topic_id(raw) != text:
        return None
    return TopicId(raw)


def encode_partition_metadata(topic_id: bytes) -> bytes:
    """The file's content."""
    text = f"version: {PARTITION_METADATA_VERSION}\ntopic_id: {format_topic_id(topic_id)}"
    return text.encode()


def decode_partition_metadata(data: bytes, path: str) -> TopicId:
    """Raises MalformedFileError (`path` only names the file)."""
    try:
        lines = data.decode("ascii").splitlines()
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise MalformedFileError(path, number, "not ASCII") from None
    found: dict[str, tuple[str, int]] = {}
    for number, line in enumerate(lines, 1):
        key, separator, value = line.partition(": ")
        if not separator or key in found:
            raise MalformedFileError(path, number, f"malformed line {line[:100]!r}")
        found[key] = value.strip(), number
    version, version_line = found.get("version", ("", 0))
    if integer(version) != PARTITION_METADATA_VERSION:
        raise MalformedFileError(
            path, version_line, f"version {PARTITION_METADATA_VERSION} expected"
        )
    text, line_of_id = found.get("topic_id", ("", 0))
    topic_id = parse_topic_id(text)
    if topic_id is None or topic_id == ZERO_TOPIC_ID:
        raise MalformedFileError(path, line_of_id, f"no topic id: {text[:100]!r}")
    return topic_id


def read_partition_metadata(path: str, files: Files = SYSTEM_FILES) -> TopicId | None:
    """None when there is no such file. Raises MalformedFileError, OSError."""
    try:
        data = files.read(path)
    except FileNotFoundError:
        return None
    return decode_partition_metadata(data, path)


def write_partition_metadata(path: str, topic_id: bytes, files: Files = SYSTEM_FILES) -> None:
    """Replaces the file atomically and durably. Raises OSError."""
    files.write(path, encode_partition_metadata(topic_id))
