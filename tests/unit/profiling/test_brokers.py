"""Floor and broker: how a round becomes figures, what is doubtful, what is written; and the floor
itself, short. tests/clients/test_profile.py runs both."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidelog.benchmarks.process_stats import Memory
from tidelog.benchmarks.shapes import Report
from tidelog.benchmarks.side_by_side import Measurement
from tidelog.profiling.brokers import (
    SHAPES,
    BrokerPlace,
    BrokerTables,
    Warnings,
    fill_bytes,
    measure_brokers,
    needed_bytes,
    run_bytes,
)
from tidelog.profiling.gather import Limits, ProfileError

LIMITS = Limits(5, 40.0, 20_000_000_000)


def measurement(rate: float, cpu_s: float, client: float = 0.5, others: float = 0.0) -> Measurement:
    found = Report(
        "x",
        requests_per_s=rate,
        mb_per_s=rate / 10,
        elapsed_s=2.0,
        latency_us={"p50": 10.0, "p99": 20.0},
        client_cpu_s=client * 2,
        counts={"record_bytes": 1_000_000_000},
    )
    return Measurement(found, cpu_s, others, Memory(1, 1))


def test_a_round_gives_the_brokers_part_of_the_floor() -> None:
    tables = BrokerTables(["floor", "tidelog"])
    for rate in (400.0, 500.0):
        tables.add("a", {"floor": measurement(1000, 1.0), "tidelog": measurement(rate, 3.0)})
    section = tables.section(LIMITS, {"broker": "x"}, ["note"], ["warning"])
    assert (section.name, section.notes, section.warnings) == ("broker", ["note"], ["warning"])
    found = {table.name: table for table in section.tables}
    assert found["requests"].rows[0].cells == [[1000, 1000], [400, 500], [0.4, 0.5]]
    assert found["CPU"].rows[0].cells == [[1, 1], [3, 3], [3, 3]]
    assert [column.name for column in found["the client"].columns] == ["floor", "tidelog"]
    for table in section.tables:
        table.check()


def test_the_floor_alone_has_no_ratio() -> None:
    tables = BrokerTables(["floor"])
    tables.add("a", {"floor": measurement(1000, 1.0)})
    section = tables.section(LIMITS, {}, [], [])
    assert section.name == "floor"
    assert all(len(table.columns) == 1 for table in section.tables)


def test_a_broker_of_unknown_cpu_has_none() -> None:
    tables = BrokerTables(["floor", "tidelog"])
    unknown = measurement(500, float("nan"))
    tables.add("a", {"floor": measurement(1000, 1.0), "tidelog": unknown})
    section = tables.section(LIMITS, {}, [], [])
    cpu = next(table for table in section.tables if table.name == "CPU")
    assert [column.name for column in cpu.columns] == ["floor"]


def test_what_is_doubtful_is_told() -> None:
    warnings = Warnings()
    warnings.look("a", {"floor": measurement(1, 1.0)})
    assert warnings.texts() == []
    warnings.look("a", {"floor": measurement(1, 1.0, client=0.97)})
    warnings.look("b", {"floor": measurement(1, 1.0, others=0.4)})
    bound, others = warnings.texts()
    assert bound.startswith("a, floor: the client's thread was busy for up to 97%")
    assert others == "others used up to 40% of the machine during runs of b"


@pytest.mark.parametrize("sides", [1, 2])
def test_limits_are_kept(sides: int) -> None:
    produced = [shape for shape in SHAPES if shape.workload.kind == "produce"]
    runs = (LIMITS.rounds + 1) * sides
    most = sum(run_bytes(LIMITS, shape, sides) * runs for shape in produced)
    assert most + sides * fill_bytes(LIMITS, sides) <= LIMITS.write_bytes
    largest = max(run_bytes(LIMITS, shape, sides) for shape in produced)
    assert needed_bytes(LIMITS, sides) >= largest + sides * fill_bytes(LIMITS, sides)


def test_the_floor_is_measured_and_gone(tmp_path: Path) -> None:
    limits = Limits(1, 2.0, 100_000_000)
    section = measure_brokers(tmp_path, limits, BrokerPlace(), True, lambda *_: None)
    requests = section.tables[0]
    assert [row.name for row in requests.rows] == [shape.name for shape in SHAPES]
    assert all(row.cells[0][0] > 0 for row in requests.rows)
    assert list(tmp_path.iterdir()) == []


def test_a_broker_that_is_none(tmp_path: Path) -> None:
    place = BrokerPlace("127.0.0.1:1")
    with pytest.raises(ProfileError, match="Connection refused"):
        measure_brokers(tmp_path, Limits(1, 0.5, 100_000_000), place, False, lambda *_: None)
    assert list(tmp_path.iterdir()) == []
