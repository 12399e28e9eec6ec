"""The line that a user reads; the supervisor as a process is tested in
tests/recovery/test_process_*.py.
"""

from __future__ import annotations

from tidelog.config.listeners import Endpoint
from tidelog.process.supervisor import bootstrap_servers
from tidelog.process.worker_slot import WorkerSlot


def slot(node_id: int, host: str, port: int) -> WorkerSlot:
    other = Endpoint("OTHER", "PLAINTEXT", "elsewhere", 1)
    return WorkerSlot(node_id, (Endpoint("PLAINTEXT", "PLAINTEXT", host, port), other), {})


async def test_bootstrap_servers_are_what_this_machine_reaches() -> None:
    slots = [slot(1, "127.0.0.1", 9092), slot(2, "", 9093), slot(3, "::", 9094), slot(4, "h", 5)]
    assert bootstrap_servers(slots) == "127.0.0.1:9092,127.0.0.1:9093,[::1]:9094,h:5"
