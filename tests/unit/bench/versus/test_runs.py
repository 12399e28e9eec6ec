"""Rounds in turn, and what happens when a peer refuses; with floors in the place of brokers."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.versus.peers.base import FSYNC, PAGE_CACHE
from bench.versus.peers.floor import FloorPeer
from bench.versus.runs import Contender, Measurement, Settings, contenders, run_shape
from bench.versus.shapes import SHAPES, Shape
from tidelog.benchmarks.cluster import KafkaError
from tidelog.benchmarks.shapes import ClusterLike

QUICK = Settings(0.05, 0.02, 2, max_run_bytes=2_000_000, warm_bytes=0)


def quick(name: str) -> Shape:
    shape = SHAPES[name]
    assert shape.load is not None
    return replace(shape, load=replace(shape.load, fill_bytes=2_000_000))


class Both(FloorPeer):
    """As a broker that has both durabilities."""

    name = "both"
    durabilities = {PAGE_CACHE: {}, FSYNC: {"flush.messages": "1"}}


class Refusing(FloorPeer):
    """One whose topics cannot be made."""

    name = "refusing"

    def cluster(self) -> ClusterLike:
        raise KafkaError("CreateTopics of x", 44, "not\nhere")


def test_who_takes_part(tmp_path: Path) -> None:
    peers = [FloorPeer(tmp_path / "a"), Both(tmp_path / "b")]
    able, unable = contenders(SHAPES["produce-16k"], peers, QUICK)
    assert [(one.name, one.durability) for one in able] == [
        ("floor", "page-cache"),
        ("both", "page-cache"),
        ("both fsync", "fsync"),
    ]
    assert not unable
    able, unable = contenders(SHAPES["fetch-1m"], peers, QUICK)
    assert [one.name for one in able] == ["floor", "both"]
    able, unable = contenders(SHAPES["idempotent-16k"], peers, QUICK)
    assert not able
    assert unable["floor"].refusal == "it checks no sequences"


@pytest.mark.parametrize("name", ["produce-16k", "fetch-1m"])
def test_rounds_in_turn(tmp_path: Path, name: str) -> None:
    heard: list[tuple[int, str]] = []

    def hear(number: int, one: Contender, measured: Measurement) -> None:
        heard.append((number, one.name))
        assert measured.metrics["mb_per_s"] > 0
        assert measured.metrics["rss_mb"] > 1

    with FloorPeer(tmp_path / "a") as first, Both(tmp_path / "b") as second:
        assert isinstance(first, FloorPeer) and isinstance(second, Both)
        found, runs = run_shape(quick(name), [first, second], QUICK, hear)
    names = ["floor", "both", "both fsync"] if name == "produce-16k" else ["floor", "both"]
    assert heard == [(1, n) for n in names] + [(2, n) for n in reversed(names)]
    assert {n: len(measured) for n, measured in runs.items()} == dict.fromkeys(names, 2)
    assert list(found) == names
    assert all(one.metrics["cpu_s_per_gb"].high >= 0 for one in found.values())


def test_a_refusal_is_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    with Refusing(tmp_path / "a") as first, FloorPeer(tmp_path / "b") as second:
        assert isinstance(first, Refusing) and isinstance(second, FloorPeer)
        found, runs = run_shape(quick("produce-16k"), [first, second], QUICK, lambda *_: None)
        assert second.answers()
    assert not found["refusing"].metrics
    assert "INVALID_CONFIG" in found["refusing"].refusal or "44" in found["refusing"].refusal
    assert "\n" not in found["refusing"].refusal
    assert runs["refusing"] == []
    assert len(runs["floor"]) == 2
