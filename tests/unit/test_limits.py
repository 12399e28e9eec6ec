"""How the limits hang together: a change of one that breaks another is found here."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from tidelog import limits
from tidelog.config.tables.broker_tidelog import ROWS
from tidelog.metadata.records import PartitionRecord, TopicRecord
from tidelog.process.channel import encode_frame
from tidelog.process.messages import Delta, Snapshot

LARGEST_NODE = 2**31 - 1


def largest_partition() -> PartitionRecord:
    replicas = (LARGEST_NODE,) * limits.REPLICATION_FACTOR_MAX
    return PartitionRecord(
        bytes(16), 2**31 - 1, replicas, replicas, LARGEST_NODE, 2**31 - 1, 2**31 - 1
    )


def test_a_snapshot_part_fits_into_a_frame() -> None:
    part = Snapshot(2**63 - 1, (largest_partition(),) * limits.SNAPSHOT_FRAME_RECORDS, True)
    assert len(encode_frame(part)) < limits.CONTROL_FRAME_BYTES_MAX // 8


def test_the_largest_request_fits_into_a_frame() -> None:
    """Several requests may be decided together; a delta that is too long becomes a snapshot."""
    topic = TopicRecord(bytes(16), "x" * limits.TOPIC_NAME_CHARS_MAX)
    records = (topic, *[largest_partition()] * limits.PARTITIONS_PER_REQUEST_MAX)
    size = len(encode_frame(Delta(1, records)))
    assert size * 8 < limits.CONTROL_FRAME_BYTES_MAX
    assert size < limits.CONTROL_QUEUE_BYTES_MAX


def test_a_spawn_order_has_room_for_its_sockets() -> None:
    # The kernel passes 253 descriptors in one message (SCM_MAX_FD).
    assert 2 <= limits.ZYGOTE_FDS_MAX <= 253


def test_a_folder_name_fits() -> None:
    name = "x" * limits.TOPIC_NAME_CHARS_MAX
    assert len(f"{name}-{limits.PARTITIONS_PER_REQUEST_MAX - 1}") <= 255


def test_backoffs_grow_and_the_first_death_is_free() -> None:
    waits = limits.RESTART_BACKOFF_MS
    assert waits[0] == 0
    assert list(waits) == sorted(waits)
    # A worker that is waited for is fenced at some time, or its clients would hang for ever.
    assert waits[-1] > limits.RESTART_FENCED_MS
    assert len(waits) >= limits.START_ATTEMPTS_MAX


def test_a_stop_has_time_for_what_is_in_work() -> None:
    assert limits.STOP_GRACE_MS < limits.CLOSED_CHANNEL_KILL_MS < limits.STOP_TIMEOUT_MS
    # A worker that waits for an orphan's lock waits for as long as the orphan may take to stop.
    assert limits.NODE_LOCK_TIMEOUT_MS >= limits.STOP_TIMEOUT_MS


def test_every_limit_is_a_positive_number() -> None:
    values = {name: value for name, value in vars(limits).items() if name.isupper()}
    assert len(values) > 20
    for name, value in values.items():
        numbers = value if isinstance(value, tuple) else (value,)
        assert all(isinstance(number, int) for number in numbers), name
        assert all(number > 0 for number in numbers) or name == "RESTART_BACKOFF_MS", name
    assert msgspec.json.encode(values)


ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "limits.md").read_text()


def test_the_page_names_tests_that_exist() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
    assert len(named) > 30
    for path, test in named:
        assert f"def {test}(" in (ROOT / path).read_text(), (path, test)
    for line in PAGE.splitlines():
        if line.startswith("|") and not line.startswith(("|---", "| limit |")):
            assert "::test_" in line, line


def test_every_limit_of_the_network_is_on_the_page() -> None:
    source = Path(limits.__file__).read_text()
    network = re.findall(r"^([A-Z_]+): Final", source.partition("# --- network")[2], re.M)
    records = re.findall(
        r"^([A-Z_]+): Final", source.partition("# --- records")[2].partition("# --- ")[0], re.M
    )
    configs = [row[0] for row in ROWS if ".max." in row[0]]
    assert len(network) > 10 and len(configs) >= 4
    for name in [*network, *records, *configs]:
        assert f"`{name}`" in PAGE, name
