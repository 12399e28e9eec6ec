"""What a worker tells over its pipe; the clients themselves run in tests/clients/test_bench.py."""

import pickle
import time
from multiprocessing import Pipe

from confluent_kafka import KafkaError, KafkaException

from tidelog.benchmarks.histogram import Histogram
from tidelog.benchmarks.real_workers import DUE, Order, Outcome, begin, told, work


def test_orders_and_outcomes_go_over_a_pipe() -> None:
    histogram = Histogram()
    histogram.record(5)
    outcome = pickle.loads(pickle.dumps(Outcome(records=1, latencies={"produce": histogram})))
    assert outcome.latencies["produce"].to_json() == histogram.to_json()
    order = Order({"a": 1}, ["t"], assigned=[("t", 0, 5)])
    assert pickle.loads(pickle.dumps(order)) == order
    assert DUE.size == 8


def test_a_failure_is_an_outcome_and_a_closed_pipe_is_the_end() -> None:
    ours, theirs = Pipe()

    def fail() -> Outcome:
        raise KafkaException(KafkaError(KafkaError._INVALID_ARG, "no such setting"))

    work(theirs, fail)
    assert ours.recv().error == "no such setting (_INVALID_ARG)"
    ours.close()

    def gone() -> Outcome:
        raise EOFError

    work(theirs, gone)
    work(theirs, Outcome)  # nobody reads it
    assert told(KafkaError(29, "refused")) == "refused (TOPIC_AUTHORIZATION_FAILED)"


def test_a_run_begins_when_it_is_told() -> None:
    ours, theirs = Pipe()
    at_ns = time.monotonic_ns() + 5_000_000
    ours.send(at_ns)
    assert begin(theirs) == at_ns <= time.monotonic_ns()
