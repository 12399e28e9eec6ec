"""What is reckoned from histories and faults: gaps in acknowledgements, failures of clients."""

from __future__ import annotations

import itertools

from tests.faults.faults import FAULTS
from tests.faults.history import Operation, Send, Transaction, Trouble
from tests.faults.measures import is_failure
from tests.faults.nemesis import Stroke, gap_lines, gaps_ms


def sends(partition: int, *times_ms: int, result: str = "ok", producer: str = "p.0") -> list[Send]:
    """Records of topic t that were answered at these times."""
    return [
        Send(producer, number, 0, at, "t", partition, f"{partition}.{number}", result, number)  # type: ignore[arg-type]
        for number, at in enumerate(times_ms)
    ]


STROKE = Stroke("cut", "host1", 1000, 2000, 3000)


def test_the_longest_gap_of_each_partition_counts() -> None:
    operations: list[Operation] = [
        *sends(0, 900, 950, 1500, 2900, 3100),
        *sends(1, 500, 990, 1010, 1020),
        *sends(1, 1600, result="info"),
    ]
    assert gaps_ms(operations, STROKE, "t") == {0: 1400, 1: 20}
    assert gaps_ms(operations, STROKE, "u") == {}


def test_a_gap_counts_that_begins_or_ends_with_the_fault() -> None:
    assert gaps_ms(sends(0, 100, 1000, 1001, 3000, 9000), STROKE, "t") == {0: 6000}
    # What is before it or after it is not its doing.
    assert gaps_ms(sends(0, 0, 999, 1000, 3001, 9999), STROKE, "t") == {0: 2001}


def test_the_gap_of_one_writer() -> None:
    operations = [*sends(0, 1000, 2000), *sends(0, 1000, 1500, 2000, producer="q.0")]
    assert gaps_ms(operations, STROKE, "t") == {0: 500}
    assert gaps_ms(operations, STROKE, "t", "p") == {0: 1000}


def test_faults_of_a_kind_are_one_line() -> None:
    strokes = [STROKE, Stroke("cut", "host2", 5000, 6000, 7000), Stroke("kill", "all", 0, 1, 2)]
    lines = gap_lines(sends(0, 0, 1000, 1400, 5000, 5100, 7000), strokes, "t")
    assert [" ".join(line.split()) for line in lines] == [
        "cut 2 times, longest gap 3600 ms median 3600 ms at most",
        "kill 1 times, longest gap 1000 ms median 1000 ms at most",
    ]


def test_what_a_user_is_told_is_a_failure() -> None:
    aborted = Transaction("1", 0, 0, "fail")
    assert not any(map(is_failure, [*sends(0, 1), aborted]))
    unknown = Transaction("1", 0, 0, "info")
    assert all(map(is_failure, [*sends(0, 1, result="info"), unknown, Trouble("c", 0, "gone")]))


def test_faults_have_names_of_their_own() -> None:
    assert all(one.name != other.name for one, other in itertools.combinations(FAULTS, 2))
    assert all(0 <= fault.seconds[0] <= fault.seconds[1] < 15 for fault in FAULTS)
