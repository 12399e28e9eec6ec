"""CPU time and memory of a process with its descendants, and of the machine, from /proc."""

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


@dataclass(frozen=True)
class Memory:
    """Bytes. rss counts shared pages once per process, pss shares them out."""

    rss: int
    pss: int


def process_tree(pid: int) -> list[int]:
    """The process and its living descendants."""
    tree = [pid]
    for parent in tree:
        for children in (PROC / str(parent) / "task").glob("*/children"):
            try:
                tree += [int(child) for child in children.read_text().split()]
            except OSError:  # the thread has just ended
                continue
    return tree


def parse_stat_cpu_s(stat: str) -> float:
    """Seconds of user and system time in a /proc/PID/stat line, with that of reaped children."""
    fields = stat[stat.rindex(")") + 2 :].split()  # the name may hold blanks and parentheses
    return sum(int(field) for field in fields[11:15]) / TICKS_PER_S


def cpu_s(pids: Iterable[int]) -> float:
    """CPU seconds of the trees under `pids` since they were started."""
    total = 0.0
    for root in pids:
        for pid in process_tree(root):
            try:
                total += parse_stat_cpu_s((PROC / str(pid) / "stat").read_text())
            except OSError:
                continue
    return total


def fine_cpu_s(pids: Iterable[int]) -> float:
    """The same in nanoseconds where the kernel tells them (schedstat), else in its ticks, usually
    10 ms: for short runs. Threads and processes that have ended are not counted any more."""
    total = 0.0
    for root in pids:
        for pid in process_tree(root):
            try:
                tasks = list((PROC / str(pid) / "task").iterdir())
                total += sum(_task_cpu_s(task) for task in tasks)
            except FileNotFoundError:
                continue
    return total


def _task_cpu_s(task: Path) -> float:
    try:
        return int((task / "schedstat").read_text().split()[0]) / 1e9
    except FileNotFoundError:
        fields = (task / "stat").read_text()
        user, system = fields[fields.rindex(")") + 2 :].split()[11:13]
        return (int(user) + int(system)) / TICKS_PER_S
    except OSError:  # it has just ended
        return 0.0


def machine_cpu_s() -> float:
    """CPU seconds that the machine has spent working (not idle, not waiting for a disk)."""
    fields = (PROC / "stat").read_text().splitlines()[0].split()[1:]
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(f) for f in fields[:8])
    return (user + nice + system + irq + softirq + steal) / TICKS_PER_S


def busy_share(window_s: float = 0.25) -> float:
    """Part of the machine's CPUs that worked during a window from now on (0..1)."""
    began, before = time.monotonic(), machine_cpu_s()
    time.sleep(window_s)
    return (machine_cpu_s() - before) / (time.monotonic() - began) / (os.cpu_count() or 1)


def wait_quiet(deadline_s: float, share: float = 0.15) -> bool:
    """Waits until the machine does little else; False when it never did."""
    until = time.monotonic() + deadline_s
    while time.monotonic() < until:
        if busy_share() < share:
            return True
    return False


def available_memory() -> int:
    """Bytes that new allocations can take without swapping (MemAvailable)."""
    for line in (PROC / "meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/meminfo names no MemAvailable")


def largest_rss(pids: Iterable[int]) -> int:
    """Resident bytes of the largest single process in the trees under `pids`."""
    page = os.sysconf("SC_PAGE_SIZE")
    largest = 0
    for root in pids:
        for pid in process_tree(root):
            try:
                resident = int((PROC / str(pid) / "statm").read_text().split()[1])
            except OSError:
                continue
            largest = max(largest, resident * page)
    return largest


def memory(pids: Iterable[int]) -> Memory:
    rss = pss = 0
    for root in pids:
        for pid in process_tree(root):
            try:
                text = (PROC / str(pid) / "smaps_rollup").read_text()
            except OSError:
                continue
            sizes = {line.split()[0]: int(line.split()[1]) * 1024 for line in text.splitlines()[1:]}
            rss += sizes["Rss:"]
            pss += sizes["Pss:"]
    return Memory(rss, pss)


def pin(pids: Iterable[int], cpus: Iterable[int]) -> None:
    """Ties every thread of the trees under `pids` to `cpus`; later threads inherit it."""
    wanted = set(cpus)
    for root in pids:
        for pid in process_tree(root):
            for task in (PROC / str(pid) / "task").iterdir():
                try:
                    os.sched_setaffinity(int(task.name), wanted)
                except OSError:
                    continue
