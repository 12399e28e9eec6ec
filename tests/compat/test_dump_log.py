"""Apache's kafka-dump-log accepts every file that a mixed workload leaves behind."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from confluent_kafka import Producer

from tests.compat.conftest import TARGET_IS_REFERENCE, Target, running_target
from tests.compat.tools import ToolServer

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
SEGMENT = re.compile(r"[0-9]{20}\Z")
COMPLAINT = re.compile(
    r"isvalid: false|Found .* invalid|Mismatches in|Non-consecutive|out of order|"
    r"Found timestamp mismatch|Index .* is corrupt|Corrupt|Exception|checksum: false",
    re.IGNORECASE,
)
# The tool takes the first record of a segment that does not begin at 0 for one after a gap.
FIRST_RECORD = re.compile(r"Non-consecutive offsets in \S+\n\s+-1 is followed by \d+\n(?!\s+\d)")
pytestmark = [pytest.mark.usefixtures("java"), pytest.mark.timeout(300)]


#: Topics by name: what the producer compresses with, and configs beside small segments.
TOPICS: dict[str, tuple[str, dict[str, str]]] = {
    **{f"dump-{codec}": (codec, {}) for codec in CODECS},
    "dump-recompressed": ("gzip", {"compression.type": "zstd"}),
    "dump-opened": ("lz4", {"compression.type": "uncompressed"}),
    "dump-append-time": ("none", {"message.timestamp.type": "LogAppendTime"}),
    "dump-append-time-snappy": ("snappy", {"message.timestamp.type": "LogAppendTime"}),
}
RECORDS = 3000


def workload(tools: ToolServer, target: Target) -> None:
    """Every codec, small and large records, idempotent and plain, several segments, a group."""
    server = ("--bootstrap-server", target.bootstrap)
    for topic, (codec, configs) in TOPICS.items():
        settings = {"segment.bytes": "1048576", "index.interval.bytes": "1024", **configs}
        chosen = [word for k, v in settings.items() for word in ("--config", f"{k}={v}")]
        create = ("--create", "--topic", topic, "--partitions", "2", *chosen)
        tools.run("kafka-topics", *server, *create).ok()
        for idempotent in (True, False):
            produce(target, topic, codec, idempotent)
    tools.run(
        "kafka-console-consumer",
        *server,
        "--topic", "dump-none",
        "--group", "dump-group",
        "--from-beginning",
        "--max-messages", "100",
        "--timeout-ms", "30000",
    ).ok()  # fmt: skip


def produce(target: Target, topic: str, codec: str, idempotent: bool) -> None:
    producer = Producer(
        {
            "bootstrap.servers": target.bootstrap,
            "compression.type": codec,
            "enable.idempotence": idempotent,
            "linger.ms": 2,
            "batch.num.messages": 20,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    for n in range(RECORDS):
        producer.produce(
            topic,
            (f"{n:06d}".encode() * (1 + n % 97)) if n % 500 else bytes(200_000),
            key=f"k{n % 41}".encode() if n % 3 else None,
            partition=n % 2,
            headers=[("h", b"1")] if n % 5 == 0 else None,
            timestamp=1_700_000_000_000 + (n * 7919) % 100_000,
        )
        producer.poll(0)
    assert producer.flush(60) == 0


@pytest.fixture(scope="module", params=[1, 3], ids=["one worker", "three workers"])
def left(
    request: pytest.FixtureRequest, tools: ToolServer, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The data folder that the workload left after a clean stop.

    While a broker runs, an index in use may be longer than its entries: the tool then complains.
    """
    if request.param > 1 and TARGET_IS_REFERENCE:
        pytest.skip("the reference is run as one node")
    folder = tmp_path_factory.mktemp("dump")
    with running_target(folder, "--workers", str(request.param)) as target:
        workload(tools, target)
    return target.data_dir


def files(folder: Path, suffix: str) -> list[Path]:
    """Files of segments with a suffix; what is not named after an offset is none of them."""
    found = (p for p in folder.rglob(f"*{suffix}") if "__cluster_metadata" not in str(p))
    return sorted(p for p in found if SEGMENT.match(p.stem))


def accepted(tools: ToolServer, *args: str) -> str:
    result = tools.run("kafka-dump-log", *args, timeout_s=120).ok()
    for text in (FIRST_RECORD.sub("", result.out), FIRST_RECORD.sub("", result.err)):
        found = COMPLAINT.search(text)
        assert found is None, text[max(0, found.start() - 400) : found.end() + 200]
    return result.out


def test_every_file_is_accepted(tools: ToolServer, left: Path) -> None:
    logs = files(left, ".log")
    assert len(logs) >= len(TOPICS) * 2
    assert any(int(p.stem) > 0 for p in logs), "no log rolled"
    out = accepted(tools, "--deep-iteration", "--files", ",".join(map(str, logs)))
    assert "isvalid: true" in out
    codecs = set(re.findall(r"compresscodec: (\w+)", out))
    assert codecs >= set(CODECS)
    records = len(re.findall(r"^\| offset: ", out, re.MULTILINE))
    assert records >= len(TOPICS) * 2 * RECORDS

    indexes = files(left, ".index")
    times = files(left, ".timeindex")
    assert len(indexes) >= len(TOPICS) * 2
    assert len(times) >= len(TOPICS) * 2
    both = ",".join(map(str, [*indexes, *times]))
    accepted(tools, "--index-sanity-check", "--files", both)
    accepted(tools, "--verify-index-only", "--files", both)
    out = accepted(tools, "--files", both)
    assert len(re.findall(r"^offset: \d+ position: \d+", out, re.MULTILINE)) > 50
    assert len(re.findall(r"^timestamp: \d+ offset: \d+", out, re.MULTILINE)) > 20

    snapshots = files(left, ".snapshot")
    assert snapshots
    out = accepted(tools, "--files", ",".join(map(str, snapshots)))
    assert "producerId: " in out


def test_committed_offsets_are_decoded(tools: ToolServer, left: Path) -> None:
    logs = [p for p in files(left, ".log") if p.parent.name.startswith("__consumer_")]
    assert logs
    out = accepted(tools, "--offsets-decoder", "--files", ",".join(map(str, logs)))
    assert '"group":"dump-group"' in out
    assert '"topic":"dump-none"' in out


def test_the_check_can_fail(tools: ToolServer, left: Path, tmp_path: Path) -> None:
    log = next(p for p in files(left, ".log") if p.stat().st_size > 10_000)
    folder = tmp_path / log.parent.name
    folder.mkdir()
    damaged = bytearray(log.read_bytes())
    damaged[100] ^= 0xFF
    copy = folder / log.name
    copy.write_bytes(damaged)
    with pytest.raises(AssertionError):
        accepted(tools, "--deep-iteration", "--files", str(copy))
