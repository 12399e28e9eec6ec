"""The table of workloads is whole: what it names exists."""

from bench.versus.judge import BEST_ON_DISK
from bench.versus.peers import NAMES
from bench.versus.peers.base import FEATURES
from bench.versus.shapes import SHAPES
from bench.versus.tables import COLUMNS

OF_LOADS = {"requests_per_s", "mb_per_s", "cpu_s_per_gb", "p99_us"}
OF_LATENCY = {"p50_us", "p99_us", "p999_us"}


def test_every_shape_can_be_run_and_judged() -> None:
    for name, shape in SHAPES.items():
        assert shape.name == name
        assert (shape.load is None) != (shape.bench is None)
        assert shape.needs <= FEATURES
        assert ("nodes" in shape.needs) == (shape.nodes > 1)
        assert ("latency" in shape.needs) == (shape.kind == "latency")
        assert shape.headline in COLUMNS
        for threshold in shape.thresholds:
            assert threshold.against in (*NAMES, BEST_ON_DISK)
            assert threshold.metric in (OF_LATENCY if shape.kind == "latency" else OF_LOADS)


def test_what_is_replicated_waits_for_all() -> None:
    for shape in SHAPES.values():
        if shape.load is not None and shape.nodes > 1:
            assert shape.load.acks == -1
        if shape.bench is not None:
            assert shape.bench.replication_factor == shape.nodes
            assert shape.bench.rate == 20_000


def test_the_floor_is_asked_only_where_it_runs() -> None:
    for shape in SHAPES.values():
        if any(threshold.against == "floor" for threshold in shape.thresholds):
            assert not shape.needs
