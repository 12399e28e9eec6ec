"""Topics of a round are gone after it; what goes wrong is one line."""

import struct

import pytest

from tests.unit.benchmarks.test_cluster import FakeKafka, topic_answers
from tests.unit.native.loadgen_peer import peer
from tidelog.benchmarks.cluster import KafkaError
from tidelog.benchmarks.native_load import BenchError
from tidelog.benchmarks.stage import (
    PREFIX,
    Target,
    close_after_failure,
    opened,
    plain_errors,
    topic_name,
)
from tidelog.benchmarks.workloads import WORKLOADS, changed

WORKLOAD = changed(WORKLOADS["latency"], {"partitions": "2", "topics": "2"})


def test_topics_have_names_of_their_own() -> None:
    names = {topic_name("w") for _ in range(20)}
    assert len(names) == 20
    assert all(name.startswith(f"{PREFIX}-w-") for name in names)


def made_and_deleted(kafka: FakeKafka) -> tuple[list[str], list[str]]:
    made = [r.topics[0].name for r in kafka.requests if type(r).__name__ == "CreateTopicsRequest"]
    gone = [r.topic_names[0] for r in kafka.requests if type(r).__name__ == "DeleteTopicsRequest"]
    return made, gone


@pytest.mark.parametrize("failure", [None, KeyboardInterrupt(), BenchError("x"), OSError("y")])
def test_what_was_created_is_deleted(failure: BaseException | None) -> None:
    kafka = topic_answers(0)
    with peer(kafka) as broker:
        kafka.address = host, port = broker.address

        def act() -> None:
            with opened(Target(f"{host}:{port}"), WORKLOAD, lambda what, share: None) as stage:
                assert [len(layout.leaders) for layout in stage.make_topics()] == [2, 2]
                if failure:
                    raise failure

        if failure is None:
            act()
        else:
            with pytest.raises((KeyboardInterrupt, BenchError)):
                act()
    made, gone = made_and_deleted(kafka)
    assert len(made) == 2
    assert sorted(made) == sorted(gone)


def test_a_second_ctrl_c_leaves_no_topic_behind() -> None:
    calls: list[BaseException | None] = [KeyboardInterrupt(), None]

    def close() -> None:
        failure = calls.pop(0)
        if failure:
            raise failure

    close_after_failure(close, (OSError,))
    assert calls == []
    calls += [OSError(), KeyboardInterrupt()]
    close_after_failure(close, (OSError,))
    assert len(calls) == 1


def test_a_refused_topic_is_told() -> None:
    kafka = topic_answers(29)
    with peer(kafka) as broker:
        kafka.address = host, port = broker.address
        with (
            pytest.raises(BenchError, match="TOPIC_AUTHORIZATION_FAILED"),
            opened(Target(f"{host}:{port}"), WORKLOAD, lambda what, share: None) as stage,
        ):
            stage.make_topics()


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (KafkaError("CreateTopics of t", 29), "TOPIC_AUTHORIZATION_FAILED"),
        (ValueError("the broker has no API 7"), "no API 7"),
        (struct.error("x"), "not Kafka's protocol"),
        (ConnectionRefusedError(111, "Connection refused"), "h:1: Connection refused"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_errors_are_one_line(error: Exception, text: str) -> None:
    with pytest.raises(BenchError, match=text), plain_errors("h:1"):
        raise error
