"""Runs on floors: what is measured, and that no topic stays."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.benchmarks.floors import running_floor
from tidelog.benchmarks.cluster import KafkaError, TopicLayout
from tidelog.benchmarks.floor import FloorCluster
from tidelog.benchmarks.shapes import WORKLOADS, ClusterLike
from tidelog.benchmarks.side_by_side import Bench, Limits, warm_memory
from tidelog.benchmarks.targets import ForeignTarget

LIMITS = Limits(seconds=0.05, warmup_s=0.0, max_run_bytes=2_000_000, ramp_s=0.01)


class Recorded(FloorCluster):
    """Remembers which topics there are."""

    topics: set[str]

    def create_topic(self, topic: str, *args: object, **more: object) -> TopicLayout:
        self.topics.add(topic)
        return super().create_topic(topic)

    def delete_topic(self, topic: str) -> None:
        self.topics.discard(topic)


class RecordedTarget(ForeignTarget):
    def __init__(self, folder: Path, address: tuple[str, int], topics: set[str]) -> None:
        super().__init__(folder, "floor=x:1")
        self.address, self.topics = address, topics

    def cluster(self) -> ClusterLike:
        cluster = Recorded(self.address)
        cluster.topics = self.topics
        return cluster


def test_runs_are_measured_and_topics_go(tmp_path: Path) -> None:
    topics: set[str] = set()
    with (
        running_floor(tmp_path) as (_, address),
        Bench(RecordedTarget(tmp_path, address, topics), LIMITS, "mine") as bench,
    ):
        written = bench.measure(WORKLOADS["produce-16k"])
        assert written.report.counts["requests"] > 0
        assert written.metric("mb_per_s") == written.report.mb_per_s
        assert topics == set()


def test_a_filled_topic_stays_until_the_end_of_the_workload(tmp_path: Path) -> None:
    topics: set[str] = set()
    with running_floor(tmp_path) as (_, address):
        with Bench(RecordedTarget(tmp_path, address, topics), LIMITS, "mine") as bench:
            bench.measure(WORKLOADS["fetch-1m"])
            [first] = topics
            assert first.startswith("mine-fetch-1m-")
            bench.measure(WORKLOADS["fetch-1m"])
            assert topics == {first}
        assert topics == set()


def test_what_ends_a_run_is_told_and_the_topic_goes_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    topics: set[str] = set()
    monkeypatch.setattr("tidelog.benchmarks.shapes.Load.run", stopped)
    with running_floor(tmp_path) as (_, address):
        target = RecordedTarget(tmp_path, address, topics)
        with pytest.raises(KeyboardInterrupt), Bench(target, LIMITS, "mine") as bench:
            bench.measure(WORKLOADS["produce-16k"])
        assert topics == set()

        def refused(*_: object) -> None:
            raise KafkaError("DeleteTopics", 29)

        monkeypatch.setattr(Recorded, "delete_topic", refused)
        with pytest.raises(KeyboardInterrupt), Bench(target, LIMITS, "mine") as bench:
            bench.measure(WORKLOADS["produce-16k"])


def test_the_cpu_of_a_broker(tmp_path: Path) -> None:
    with running_floor(tmp_path) as (_, address):
        target = RecordedTarget(tmp_path, address, set())
        for fine in (False, True):
            with Bench(target, replace(LIMITS, fine_cpu=fine)) as bench:
                target.pid = target._pid = 0
                assert math.isnan(bench.measure(WORKLOADS["produce-16k"]).metric("cpu_s_per_gb"))
                target.pid = target._pid = os.getpid()  # the floor is a thread here
                assert bench.measure(WORKLOADS["produce-16k"]).broker_cpu_s >= 0


def test_warm_memory_tells_how_long_it_took() -> None:
    assert warm_memory(3_000_000) > 0
