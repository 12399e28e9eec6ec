"""Compaction beside Apache Kafka's own: the same log cleaned by both, ours opened by Kafka, and
ours read by kafka-dump-log."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import confluent_kafka
import confluent_kafka.admin
import pytest

from tests.clients.test_restarts import wait_for
from tests.compat.reference import ReferenceBroker
from tests.compat.test_dump_log import COMPLAINT, FIRST_RECORD, files
from tests.compat.tools import ToolServer
from tests.oracle.storage.cleaner_twin import HORIZON, TwinBatch, parse_log
from tests.unit.storage.cleaner_fixtures import Compacted, compacted
from tidelog.clock import SystemClock
from tidelog.record.builder import Producer, end_txn_marker
from tidelog.storage.checkpoints import CLEANER_CHECKPOINT, read_offsets
from tidelog.storage.segment_files import parse_name

pytestmark = [pytest.mark.usefixtures("java"), pytest.mark.timeout(300)]
TOPIC = "t"
DELETE_RETENTION_MS = 3_600_000
CONFIG = {"delete_retention_ms": str(DELETE_RETENTION_MS), "file_delete_delay_ms": "0"}
SETTINGS = {"log.cleaner.backoff.ms": "50", "log.segment.delete.delay.ms": "0"}


async def transaction(node: Compacted, producer_id: int, *, aborted: bool) -> None:
    """A batch of two keys and its marker."""
    await node.put(
        (b"key-1", b"of a transaction"), (b"key-txn", b"%d" % producer_id),
        producer=Producer(producer_id, 0, 0), is_transactional=True,
    )  # fmt: skip
    marker = end_txn_marker(
        producer_id=producer_id,
        producer_epoch=0,
        is_commit=not aborted,
        coordinator_epoch=0,
        timestamp=node.clock.wall_ms(),
    )
    await node.append_fetched(bytearray(marker))
    node.appended.append((None, None))
    node.log.core.producers.on_high_watermark(node.log.core.log_end_offset)


async def fill(node: Compacted) -> None:
    """All codecs, deletions, idempotent producers, transactions of both ends."""
    for turn in range(6):
        await node.fill(15, seal=False)
        for codec in range(5):
            await node.put(
                (b"codec-%d" % codec, b"v" * 90), (b"key-%d" % turn, b"w" * 40), codec=codec
            )
        await node.put((b"key-2", b"idempotent"), producer=Producer(900, 2, turn))
        await transaction(node, 100 + turn, aborted=turn % 2 == 0)
        await node.seal()


def prepared(folder: Path, *, cleanings: int) -> tuple[Path, Path, dict[int, object]]:
    """(the log as it was, the log as we cleaned it, its records)."""

    async def run() -> dict[int, object]:
        async with compacted(folder / "node", **CONFIG) as node:
            # Producers that wrote long ago are forgotten.
            node.clock.now_ms = SystemClock().wall_ms() - 60_000
            await fill(node)
            shutil.copytree(node.log.directory, folder / "before")
            for _ in range(cleanings):
                assert await node.manager.cleaner.clean_next()
            found = dict(node.records())
            await node.manager.close(clean=True)
            shutil.copytree(node.log.directory, folder / "cleaned")
            node.manager._logs.clear()
            return dict(found)

    records = asyncio.run(run())
    return folder / "before", folder / "cleaned", records


def batches_of(folder: Path) -> list[TwinBatch]:
    return [batch for path in files(folder, ".log") for batch in parse_log(path.read_bytes())]


class KafkaLog:
    """One topic of a reference broker, whose files are put there while it is stopped."""

    def __init__(self, folder: Path, source: Path, **configs: str) -> None:
        self.broker = ReferenceBroker(data_dir=folder, overrides=SETTINGS)
        self.broker.start()
        admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": self.broker.bootstrap})
        new = confluent_kafka.admin.NewTopic(TOPIC, 1, 1, config=configs)
        admin.create_topics([new])[TOPIC].result(60)
        self.folder = self.broker.data_dir / f"{TOPIC}-0"
        wait_for(self.folder.exists, "the topic is there")
        self.broker.stop()
        for path in self.folder.iterdir():
            if parse_name(path.name):
                path.unlink()
        for path in source.iterdir():
            # Segments only in their own formats: digests are not Kafka's.
            if parse_name(path.name) and path.suffix != ".digest":
                shutil.copy(path, self.folder / path.name)
        self.broker.start()

    def wait_cleaned(self) -> None:
        checkpoint = str(self.broker.data_dir / CLEANER_CHECKPOINT)
        names = [parse_name(name) for name in os.listdir(self.folder)]
        active = max(found[0] for found in names if found and found[1] == ".log")
        wait_for(lambda: read_offsets(checkpoint).get((TOPIC, 0), -1) >= active, "Kafka cleaned")

    def records(self, end: int) -> dict[int, object]:
        """What a consumer of committed records reads."""
        reader = confluent_kafka.Consumer(
            {
                "bootstrap.servers": self.broker.bootstrap,
                "group.id": "g",
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
            }
        )
        reader.assign([confluent_kafka.TopicPartition(TOPIC, 0, 0)])
        found: dict[int, object] = {}
        while True:
            message = reader.poll(30)
            assert message is not None
            if message.error() is not None:
                assert message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF
                break
            offset = message.offset()
            assert offset is not None
            found[offset] = (message.key(), message.value())
        reader.close()
        return found


def indexed(folder: Path) -> bytes:
    """The transaction indexes."""
    return b"".join(path.read_bytes() for path in files(folder, ".txnindex"))


def plain(batch: TwinBatch) -> TwinBatch:
    """Without what depends on the moment or on a codec's library."""
    base = 0 if batch.has(HORIZON) else batch.base_timestamp
    return replace(batch, base_timestamp=base, original=b"")


def test_kafka_keeps_the_same_of_the_same_log(tmp_path: Path) -> None:
    before, cleaned, _ = prepared(tmp_path, cleanings=1)
    kafka = KafkaLog(
        tmp_path / "kafka",
        before,
        **{
            "cleanup.policy": "compact",
            "min.cleanable.dirty.ratio": "0.0",
            "delete.retention.ms": str(DELETE_RETENTION_MS),
        },
    )
    try:
        kafka.wait_cleaned()
    finally:
        kafka.broker.stop()
    ours, theirs = batches_of(cleaned), batches_of(kafka.folder)
    assert len(ours) < len(batches_of(before))
    assert [plain(batch) for batch in ours] == [plain(batch) for batch in theirs]
    same_bytes = [
        (a.original, b.original)
        for a, b in zip(ours, theirs, strict=True)
        if not a.has(HORIZON) and not a.attributes & 7
    ]
    assert len(same_bytes) > 10
    assert all(a == b for a, b in same_bytes)
    assert indexed(cleaned) == indexed(kafka.folder)
    assert indexed(cleaned)


def test_kafka_opens_what_we_cleaned(tmp_path: Path) -> None:
    _, cleaned, records = prepared(tmp_path, cleanings=1)
    kafka = KafkaLog(tmp_path / "kafka", cleaned, **{"cleanup.policy": "compact"})
    try:
        found = kafka.records(0)
        producer = confluent_kafka.Producer(
            {"bootstrap.servers": kafka.broker.bootstrap, "enable.idempotence": True}
        )
        producer.produce(TOPIC, b"value", b"key")
        assert producer.flush(30) == 0
    finally:
        kafka.broker.stop()
    assert found == records


def test_dump_log_accepts_what_we_cleaned(tools: ToolServer, tmp_path: Path) -> None:
    _, cleaned, _ = prepared(tmp_path, cleanings=1)
    # The tool reads a topic's name off the folder.
    folder = cleaned.rename(tmp_path / f"{TOPIC}-0")
    indexes = [*files(folder, ".index"), *files(folder, ".timeindex"), *files(folder, ".txnindex")]
    every = [*files(folder, ".log"), *indexes, *files(folder, ".snapshot")]
    deep = tools.run(
        "kafka-dump-log", "--deep-iteration", "--files", ",".join(map(str, every))
    ).ok()
    # Offsets that are gone are what compaction is about.
    gaps = re.compile(r"Non-consecutive offsets in \S+\n(\s+-?\d+ is followed by \d+\n)+")
    for text in (deep.out, deep.err):
        text = FIRST_RECORD.sub("", gaps.sub("", text))
        found = COMPLAINT.search(text)
        assert found is None, text[max(0, found.start() - 400) : found.end() + 200]
    assert "deleteHorizonMs: OptionalLong[" in deep.out
    assert "endTxnMarker: ABORT" in deep.out
