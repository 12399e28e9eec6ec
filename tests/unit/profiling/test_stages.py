"""Stages of stacks, by the names that a broker's functions have, and the tables."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.unit.profiling.samples import node_samples, thread
from tidelog._native import sampler
from tidelog.cpu_samples import NATIVE, PYTHON, RUNNING, Frame, Stack
from tidelog.process.sampling.symbols import readable
from tidelog.profiling import stages
from tidelog.profiling.results import Row, Section, Table


def native(module: str, name: str) -> Frame:
    return Frame(NATIVE, module, name)


HANDLE = native("transport", "Transport.handle_frame")
PRODUCE = native("produce_lane", "ProduceLane.handle")
FETCH = native("fetch_lane", "FetchLane.handle")


@pytest.mark.parametrize(
    ("stage", "frames"),
    [
        ("receive", [native("connection", "Connection.receive"), native("libc", "recv")]),
        ("parse", [HANDLE, PRODUCE, native("produce_message", "ProduceMessage.parse_topics")]),
        ("check", [PRODUCE, native("batch", "crc_ok")]),
        ("append", [PRODUCE, native("batch", "stamp_checked")]),
        ("append", [PRODUCE, native("segment", "Segment.write"), native("libc", "pwrite")]),
        ("index", [PRODUCE, native("index", "OffsetIndex.append")]),
        ("look-up", [FETCH, native("segment", "Segment.locate")]),
        ("look-up", [FETCH, native("index", "OffsetIndex.lookup")]),
        ("header", [FETCH, native("fetch_message", "FetchMessage.encode_part")]),
        ("sendfile", [native("connection", "Connection.send_some"), native("libc", "sendfile")]),
        ("answer", [native("connection", "Connection.send_some"), native("libc", "send")]),
        ("flush", [Frame(PYTHON, "tidelog.storage.files", "_sync"), native("libc", "fdatasync")]),
        ("wait", [native("partition", "Partition.advance_high_watermark")]),
        ("event loop", [native("loop", "uv_run"), native("libc", "epoll_pwait")]),
        ("other requests", [Frame(PYTHON, "tidelog.handlers.metadata", "handle")]),
        ("counters", [HANDLE, native("request_stats", "RequestStats.lap")]),
        ("other", [native("mystery", "mystery+0x10")]),
        ("other", []),
    ],
)
def test_the_innermost_function_that_has_a_stage_decides(stage: str, frames: list[Frame]) -> None:
    assert stages.stage_of(frames) == stage


@pytest.mark.parametrize(
    ("stage", "caller"),
    [
        ("check", native("produce_lane", "ProduceTask.entry_of")),
        ("look-up", native("fetch_lane", "FetchTask.find_topic")),
    ],
)
def test_of_a_function_that_several_stages_use_the_caller_decides(
    stage: str, caller: Frame
) -> None:
    shared = native("partition", "PartitionTable.find_id")
    assert stages.stage_of([caller, shared, native("libc", "bcmp")]) == stage


def test_every_rule_names_functions_that_exist() -> None:
    """A function that is renamed takes its rule along, or its stage is wrong without a word."""
    folder = Path(sampler.__file__).parent
    names: dict[str, list[str]] = {}
    for path in folder.glob("*.so"):
        module = path.name.split(".")[0]
        listed = subprocess.run(["nm", path], capture_output=True, text=True, check=True).stdout
        names[module] = [
            readable(module, line.split()[-1])[1]
            for line in listed.splitlines()
            if " U " not in line
        ]
    foreign = {"uvloop.loop", "loop", "libpython3"}
    # Inlined into their callers, by this compiler at least.
    inlined = {"FetchTask.forget_waits"}
    for module, beginnings, _ in stages._NATIVE_RULES:
        if module in foreign:
            continue
        for beginning in set(beginnings) - inlined:
            assert any(name.startswith(beginning) for name in names[module]), (module, beginning)
    for _, _, stage in stages._NATIVE_RULES:
        assert stage in stages.STAGES
    for stage in [*stages.KERNEL_CALLS.values(), *(stage for _, stage in stages._PYTHON_RULES)]:
        assert not stage or stage in stages.STAGES


def rows_of(table: Table) -> dict[str, Row]:
    table.check()
    return {row.name: row for row in table.rows}


def test_the_table_of_stages() -> None:
    rows = rows_of(stages.stage_table(node_samples()))
    assert list(rows) == ["receive", "append"]
    # 200 of 800 running ticks of 0.8 s, for 1600 requests; 600 of them for 1000 Produces
    assert rows["receive"].cells == [[25.0], [125_000.0], [200.0], [0.0]]
    assert rows["append"].cells == [[75.0], [600_000.0], [600.0], [5.0]]


def test_a_stage_without_its_requests_has_no_time_for_one() -> None:
    frames = [native("fetch_lane", "FetchTask.read")]
    samples = node_samples([Stack(0, RUNNING, 7, (0,))], frames=frames)
    assert rows_of(stages.stage_table(samples))["look-up"].cells[1] == []


def test_what_no_rule_knows_is_shown() -> None:
    rows = rows_of(stages.stage_table(node_samples([Stack(0, RUNNING, 9, (7,))])))
    assert rows["other"].cells[0] == [100.0]


def test_functions_and_threads() -> None:
    rows = rows_of(stages.function_table(node_samples()))
    assert [(name, row.cells[0][0]) for name, row in rows.items()] == [
        ("libc: pwrite", 75.0),
        ("libc: recv", 25.0),
    ]
    two = node_samples(threads=[thread(), thread(name="helper", wall=False), thread(name="helper")])
    threads = rows_of(stages.thread_table(two))
    assert list(threads) == ["loop", "helper", "helper (2)", "(not sampled)"]
    alone = rows_of(stages.thread_table(node_samples()))
    assert alone["(not sampled)"].cells[0] == [pytest.approx(10.0)]


def test_requests_by_clock() -> None:
    rows = rows_of(stages.request_table(node_samples()))
    assert rows["Produce flush"].cells == [[1000.0], [2.0]]


def test_a_section_is_json_and_back() -> None:
    section = stages.section_of(node_samples())
    assert Section.from_json(section.to_json()).to_json() == section.to_json()
    assert not section.warnings and not section.notes
    assert section.facts["loop without a CPU"] == "5%"


def test_what_is_doubtful_is_said() -> None:
    poor = node_samples(
        [],
        threads=[thread(samples=10, ticks=10, asleep_ticks=0, waiting_ticks=0, lost=3, cut=4)],
        threads_left_out=2,
        python_frames=False,
    )
    section = stages.section_of(poor)
    assert len(section.notes) == 2 and len(section.warnings) == 3
    idle = node_samples([], threads=[])
    assert stages.section_of(idle).warnings
