"""CPU and memory of processes, checked on processes of the test itself."""

import os
import subprocess
import sys

from tidelog.benchmarks.process_stats import (
    TICKS_PER_S,
    available_memory,
    busy_share,
    cpu_s,
    fine_cpu_s,
    largest_rss,
    machine_cpu_s,
    memory,
    parse_stat_cpu_s,
    pin,
    process_tree,
    wait_quiet,
)

CHILD = "import subprocess, sys; p = subprocess.Popen(['cat']); print(p.pid, flush=True); p.wait()"


def test_a_stat_line_with_an_ugly_name() -> None:
    fields = ["S", "1", *["0"] * 9, "300", "50", "7", "3", *["0"] * 30]
    line = f"42 (a) b (c) {' '.join(fields)}"
    assert parse_stat_cpu_s(line) == 360 / TICKS_PER_S


def test_descendants_are_found_and_measured() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None and child.stdin is not None
        grandchild = int(child.stdout.readline())
        assert process_tree(child.pid) == [child.pid, grandchild]
        assert {child.pid, grandchild} <= set(process_tree(os.getpid()))
        both, one = memory([child.pid]), memory([grandchild])
        assert 0 < one.rss < both.rss
        assert 0 < both.pss <= both.rss
        cpu = min(os.sched_getaffinity(0))
        pin([child.pid], [cpu])
        assert os.sched_getaffinity(grandchild) == {cpu}
        child.stdin.close()
    assert process_tree(child.pid) == [child.pid]
    assert cpu_s([child.pid]) == 0


def test_fine_cpu_is_the_same_in_small() -> None:
    pids, until = [os.getpid()], cpu_s([os.getpid()]) + 0.1
    fine = fine_cpu_s(pids)
    while cpu_s(pids) < until:
        pass
    assert fine_cpu_s(pids) - fine > 0.05
    assert fine_cpu_s([4_194_999]) == 0


def test_quiet_is_what_is_asked_for() -> None:
    assert 0 <= busy_share(0.02) <= 1.5
    assert wait_quiet(5, share=2.0)
    assert not wait_quiet(0.0)


def test_available_memory_is_some() -> None:
    assert 1 << 20 < available_memory() < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_work_shows_in_the_process_and_in_the_machine() -> None:
    own, machine = cpu_s([os.getpid()]), machine_cpu_s()
    total = 0
    while cpu_s([os.getpid()]) - own < 3 / TICKS_PER_S:
        total += sum(range(10_000))
    assert total
    assert machine_cpu_s() > machine


def test_the_largest_process_of_a_tree() -> None:
    block = b"x" * 50_000_000
    with subprocess.Popen(["sleep", "30"]) as child:
        try:
            own = largest_rss([os.getpid()])
            assert own > len(block)
            assert largest_rss([child.pid]) < own
        finally:
            child.kill()
    assert largest_rss([child.pid]) == 0
