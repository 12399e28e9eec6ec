"""What a cluster has to keep to under single faults, measured with clients that write and read.

Owner: `__main__`. A host that is cut off, both ways: how long
nothing is acknowledged in the partition that waits longest. A rolling restart: nothing that a
client gives its user as an error.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from tests.faults.client import now_ms
from tests.faults.cluster import CLIENTS, SESSION_TIMEOUT_MS, Cluster, Host
from tests.faults.faults import FAULTS, Fault, Heal
from tests.faults.history import Operation, Send, Transaction, Trouble
from tests.faults.nemesis import Nemesis, Stroke, gaps_ms
from tests.faults.workload import STEADY_PLAN, Workload
from tidelog.cli.wire import Wire

#: After the session timeout.
ALLOWED_MS: Final = 1000
#: Longer than a lost host may go unnoticed.
_CUT_S: Final = 2 * SESSION_TIMEOUT_MS / 1000
_WRITER: Final = "writer-1"


def host_lost(cluster: Cluster, workload: Workload, times: int, say: Callable[[str], None]) -> None:
    """The controller's host and others in turn; what takes too long is a problem."""
    nemesis = Nemesis(cluster, 1, say)
    strokes: list[tuple[Stroke, str]] = []
    workload.start(STEADY_PLAN)
    for number in range(times):
        nemesis.wait_whole()
        workload.go_on()
        controller = cluster.controller()
        leads = number % 2 == 0
        others = [host for host in cluster.hosts if host is not controller]
        host = controller if leads else others[number // 2 % len(others)]
        left = next(one for one in cluster.hosts if one is not host)
        with ThreadPoolExecutor(1) as pool:
            moved = pool.submit(leaders_moved_ms, cluster, host, left)
            stroke = nemesis.strike(_cut_fault(host), _CUT_S)
        what = f"{host.name}{' (controller)' if leads else ''}: others lead after"
        strokes.append((stroke, f"{what} {moved.result() - stroke.begin_ms} ms"))
    workload.finish()
    operations = workload.operations()
    for stroke, what in strokes:
        gap_ms = max(gaps_ms(operations, stroke, "log", _WRITER).values())
        line = f"{what}, {gap_ms} ms without writes"
        say(line)
        if gap_ms > SESSION_TIMEOUT_MS + ALLOWED_MS:
            workload.problems.append(line)


def leaders_moved_ms(cluster: Cluster, lost: Host, left: Host) -> int:
    """When another host says that the lost one leads nothing any more."""
    address = cluster.addresses_of(left)[0]
    deadline = time.monotonic() + 3 * _CUT_S
    while time.monotonic() < deadline:
        with Wire(address) as wire:
            topics = wire.all_topics().topics
        leaders = {one.leader_id for topic in topics for one in topic.partitions}
        if not leaders & set(lost.nodes):
            break
        time.sleep(0.02)
    return now_ms()


def rolling_restart(
    cluster: Cluster, workload: Workload, times: int, say: Callable[[str], None]
) -> None:
    """Whatever a client tells its user is a problem."""
    nemesis = Nemesis(cluster, 1, say)
    fault = next(fault for fault in FAULTS if fault.name == "rolling-restart")
    workload.start(STEADY_PLAN)
    workload.go_on()
    strokes = []
    for _ in range(times):
        nemesis.wait_whole()
        strokes.append(nemesis.strike(fault))
        workload.go_on()
    workload.finish()
    operations = workload.operations()
    for stroke in strokes:
        gap_ms = max(gaps_ms(operations, stroke, "log", _WRITER).values())
        say(f"{stroke.fault}: {gap_ms} ms without writes")
    workload.problems += [str(one) for one in operations if is_failure(one)]


def is_failure(operation: Operation) -> bool:
    """Whether a client could not do what its user had asked for."""
    if isinstance(operation, Send | Transaction):
        return operation.result == "info"
    return isinstance(operation, Trouble)


def _cut_fault(host: Host) -> Fault:
    """The host alone: ZooKeeper has machines of its own, and goes on."""

    def begin(cluster: Cluster, _: random.Random) -> tuple[str, Heal]:
        side = [host.name]
        others = [CLIENTS, *(name for name in cluster.names() if name != host.name)]
        cluster.network.cut_apart(side, others)
        return host.name, lambda: cluster.network.heal_apart(side, others)

    return Fault("host-lost", begin)
