"""ListOffsets, OffsetForLeaderEpoch and DeleteRecords."""

from __future__ import annotations

from tests.compat.parity.batches import BASE_TIMESTAMP, Batch, Record
from tests.compat.parity.scenarios_produce import producing
from tests.compat.parity.session import Session, scenario
from tidelog.protocol.messages.delete_records import (
    DeleteRecordsPartition,
    DeleteRecordsRequest,
    DeleteRecordsTopic,
)
from tidelog.protocol.messages.list_offsets import (
    ListOffsetsPartition,
    ListOffsetsRequest,
    ListOffsetsTopic,
)
from tidelog.protocol.messages.offset_for_leader_epoch import (
    OffsetForLeaderEpochRequest,
    OffsetForLeaderPartition,
    OffsetForLeaderTopic,
)
from tidelog.protocol.messages.produce import ProduceResponse


def listing(
    topic: str,
    timestamp: int,
    *,
    partition: int = 0,
    leader_epoch: int = -1,
    isolation_level: int = 0,
) -> ListOffsetsRequest:
    return ListOffsetsRequest(
        replica_id=-1,
        isolation_level=isolation_level,
        topics=[
            ListOffsetsTopic(
                name=topic,
                partitions=[
                    ListOffsetsPartition(
                        partition_index=partition,
                        current_leader_epoch=leader_epoch,
                        timestamp=timestamp,
                    )
                ],
            )
        ],
    )


@scenario
def list_offsets(s: Session) -> None:
    """Ends, times and words, on an empty and on a filled partition."""
    s.create("lo-empty")
    s.create("lo")
    # Times 100, 50 | 200, 200 | 150: not in order, the largest twice.
    for deltas in ((100, 50), (200, 200), (150,)):
        data = Batch([Record(timestamp_delta=d) for d in deltas]).encode()
        answer = s.call(producing("lo", data), 9, ProduceResponse)
        assert answer.responses[0].partition_responses[0].error_code == 0
    for version in range(1, 12):
        for timestamp in (-1, -2, -3, -4, -5, -6, -7, -100):
            s.ask(f"{timestamp} v{version}", listing("lo", timestamp), version)
            s.ask(f"empty {timestamp} v{version}", listing("lo-empty", timestamp), version)
    for delta in (-1000, 0, 50, 51, 100, 101, 150, 151, 200, 201, 10**6):
        s.ask(f"at {delta}", listing("lo", BASE_TIMESTAMP + delta), 7)
    s.ask("time 0", listing("lo", 0), 7)
    s.ask("empty at 0", listing("lo-empty", 0), 7)
    s.ask("unknown topic", listing("no-such", -1), 7)
    s.ask("unknown partition", listing("lo", -1, partition=3), 7)
    for epoch in (0, 1, 7):
        s.ask(f"leader epoch {epoch}", listing("lo", -1, leader_epoch=epoch), 7)
    s.ask("read committed", listing("lo", -1, isolation_level=1), 7)
    twice = listing("lo", -1)
    twice.topics[0].partitions.append(ListOffsetsPartition(partition_index=0, timestamp=-2))
    s.ask("a partition twice", twice, 7)
    follower = listing("lo", -1)
    follower.replica_id = 5
    s.ask("a replica that is none", follower, 7)


@scenario
def offset_for_leader_epoch(s: Session) -> None:
    """Epochs that are, were never, or will be."""
    s.create("ofle-empty")
    s.create("ofle")
    s.call(producing("ofle", Batch().encode()), 9, ProduceResponse)

    def ask(label: str, topic: str, epoch: int, current: int = -1, partition: int = 0) -> None:
        for version in (2, 3, 4):
            request = OffsetForLeaderEpochRequest(
                topics=[
                    OffsetForLeaderTopic(
                        topic=topic,
                        partitions=[
                            OffsetForLeaderPartition(
                                partition=partition,
                                current_leader_epoch=current,
                                leader_epoch=epoch,
                            )
                        ],
                    )
                ]
            )
            if version >= 3:
                request.replica_id = -1
            s.ask(f"{label} v{version}", request, version)

    ask("epoch 0", "ofle", 0)
    ask("epoch 1", "ofle", 1)
    ask("epoch -1", "ofle", -1)
    ask("epoch 0 of an empty log", "ofle-empty", 0)
    ask("current epoch is newer", "ofle", 0, 5)
    ask("current epoch fits", "ofle", 0, 0)
    ask("unknown topic", "no-such", 0)
    ask("unknown partition", "ofle", 0, partition=4)


@scenario
def delete_records(s: Session) -> None:
    """Moving the start of a log."""
    s.create("dr")
    for _ in range(3):
        data = Batch([Record(), Record()]).encode()
        s.call(producing("dr", data), 9, ProduceResponse)

    def delete(
        label: str, offset: int, topic: str = "dr", partition: int = 0, version: int = 2
    ) -> None:
        request = DeleteRecordsRequest(
            topics=[
                DeleteRecordsTopic(
                    name=topic,
                    partitions=[DeleteRecordsPartition(partition_index=partition, offset=offset)],
                )
            ],
            timeout_ms=5000,
        )
        s.ask(label, request, version)

    delete("beyond the end", 7)
    delete("far beyond", 10**12)
    delete("-2", -2)
    delete("0", 0)
    delete("1", 1)
    delete("inside a batch", 3)
    delete("backwards", 2)
    delete("v0", 4, version=0)
    delete("v1", 4, version=1)
    s.ask("start", listing("dr", -2), 7)
    delete("unknown topic", 1, "no-such")
    delete("unknown partition", 1, partition=5)
    delete("to the high watermark", -1)
    delete("to the high watermark again", -1)
    s.ask("start at the end", listing("dr", -2), 7)
    s.create("dr-compact", cleanup_policy="compact")
    s.call(producing("dr-compact", Batch().encode()), 9, ProduceResponse)
    delete("compacted only", 1, "dr-compact")
    delete("of the offsets topic", 0, "__consumer_offsets")
