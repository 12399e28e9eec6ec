"""Who connects where, at which rate, and when which partition is due; errors in words."""

import pytest

from tests.unit.native.loadgen_peer import peer, plain_template, produce_ok
from tidelog._native.loadgen import Histogram as NativeHistogram
from tidelog._native.loadgen import LoadError, LoadGenerator
from tidelog.benchmarks.batches import encode_batch
from tidelog.benchmarks.cluster import TopicLayout
from tidelog.benchmarks.native_load import (
    BenchError,
    Load,
    Place,
    Schedule,
    Share,
    drop_shared,
    explained,
    histogram_of,
    note_schedules,
    produce_templates,
    reader_shares,
    share_rates,
    writer_shares,
)
from tidelog.benchmarks.workloads import WORKLOADS, changed

A, B = ("a", 1), ("b", 2)
LAYOUTS = [TopicLayout("t", {0: A, 1: B, 2: A, 3: B, 4: A}), TopicLayout("u", {0: A})]
EVERY_PLACE = [("t", p) for p in range(5)] + [("u", 0)]


@pytest.mark.parametrize("producers", [1, 2, 3, 7])
def test_every_partition_has_a_writer_at_its_leader(producers: int) -> None:
    leaders = {(x.name, p): leader for x in LAYOUTS for p, leader in x.leaders.items()}
    shares = writer_shares(LAYOUTS, producers)
    assert sorted({p for share in shares for p in share.places}) == EVERY_PLACE
    assert all(leaders[p] == share.address for share in shares for p in share.places)
    assert {share.producer for share in shares} == set(range(producers))
    if producers <= len(EVERY_PLACE):
        assert sum(len(share.places) for share in shares) == len(EVERY_PLACE)
    rates = share_rates(shares, 600.0)
    assert sum(rates) == pytest.approx(600.0)
    each: dict[Place, float] = dict.fromkeys(EVERY_PLACE, 0.0)
    sharers = {p: sum(p in share.places for share in shares) for p in EVERY_PLACE}
    if all(count == 1 for count in sharers.values()):
        for share, rate in zip(shares, rates, strict=True):
            for place in share.places:
                each[place] += rate / len(share.places)
        assert set(map(round, each.values())) == {100}


@pytest.mark.parametrize("consumers", [1, 2, 9])
def test_every_partition_has_one_reader_and_a_connection_one_topic(consumers: int) -> None:
    shares = reader_shares(LAYOUTS, consumers)
    assert sorted(p for share in shares for p in share.places) == EVERY_PLACE
    assert all(len({topic for topic, _ in share.places}) == 1 for share in shares)


def test_partitions_of_a_connection_take_turns() -> None:
    workload = changed(WORKLOADS["latency"], {"partitions_per_request": "2", "batch_records": "3"})
    share = Share(0, A, [("t", 0), ("t", 1), ("t", 2)])
    batch = encode_batch([b"v"] * 3, 0)
    schedules: dict[Place, Schedule] = {}
    note_schedules(schedules, workload, share, batch, interval_ns=100, offset_ns=7)
    assert schedules == {("t", 0): (7, 200, 3), ("t", 1): (7, 200, 3), ("t", 2): (107, 200, 3)}
    templates = produce_templates(9, workload, share.places, batch, None)
    assert [t.expected_partitions for t in templates] == [2, 1]
    drop_shared(schedules, [share, Share(1, A, [("t", 1)])])
    assert set(schedules) == {("t", 0), ("t", 2)}


def test_a_load_runs_on_a_thread_and_counts() -> None:
    with peer(produce_ok) as broker, Load("write", LoadGenerator("produce", 9)) as load:
        load.connect(broker.address, [plain_template()])
        assert load.run(max_requests=5)["requests"] == 5
        load.start(max_requests=7)
        assert load.join()["requests"] == load.progress[0] == 7
        assert not load.running


def test_what_the_broker_does_wrong_is_told() -> None:
    with peer(lambda index, frame: b"\0\0\0\1x") as broker:
        load = Load("write", LoadGenerator("produce", 9))
        gone = broker.address
        load.connect(gone, [plain_template()])
        with load, pytest.raises(BenchError, match="could not write: connection 0"):
            load.run(max_requests=5)
    with pytest.raises(BenchError, match="cannot be reached"):
        Load("write", LoadGenerator("produce", 9)).connect(gone, [plain_template()])
    refused = LoadError("m", "broker", 29, 0, 0)
    assert explained("write", refused).startswith(
        "the broker refused to write: TOPIC_AUTHORIZATION_FAILED (Kafka error code 29)"
    )


def test_a_native_histogram_loses_nothing() -> None:
    native = NativeHistogram()
    for value in (3, 500, 500, 123_456_789):
        native.record(value)
    found = histogram_of(native)
    assert (found.count, found.min_ns, found.max_ns) == (4, 3, 123_456_789)
    assert found.buckets() == native.buckets()
    assert found.mean_ns == native.mean
