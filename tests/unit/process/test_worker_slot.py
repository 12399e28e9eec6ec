"""A node of the host: its sockets, its addresses in the metadata, its process."""

from __future__ import annotations

import asyncio
import os
import signal
import socket

import pytest

from tidelog.config.listeners import Endpoint as ListenAddress
from tidelog.metadata.records import Endpoint
from tidelog.process.listening import ListenError
from tidelog.process.worker_link import WorkerLink
from tidelog.process.worker_slot import WorkerSlot

PLAIN = ListenAddress("PLAINTEXT", "PLAINTEXT", "127.0.0.1", 0)
OTHER = ListenAddress("OTHER", "PLAINTEXT", "127.0.0.1", 0)


async def test_a_port_once_got_is_kept() -> None:
    slot = WorkerSlot(1, (PLAIN, OTHER), {})
    slot.listen(5)
    ports = [address.port for address in slot.addresses]
    assert 0 not in ports and len(set(ports)) == 2
    slot.stop_listening()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", ports[0]), 10)
    slot.listen(5)
    assert [sock.getsockname()[1] for sock in slot.sockets] == ports
    slot.listen(5)
    assert len(slot.sockets) == 2
    slot.stop_listening()


async def test_a_port_that_was_taken_meanwhile() -> None:
    slot = WorkerSlot(1, (PLAIN,), {})
    slot.listen(5)
    port = slot.addresses[0].port
    slot.stop_listening()
    with socket.create_server(("127.0.0.1", port)), pytest.raises(ListenError):
        slot.listen(5)
    slot.listen(5)
    slot.stop_listening()


async def test_what_clients_are_told() -> None:
    advertised = {"OTHER": ListenAddress("OTHER", "PLAINTEXT", "out.example", 0)}
    slot = WorkerSlot(1, (PLAIN, OTHER), advertised)
    slot.listen(5)
    ports = [address.port for address in slot.addresses]
    # Without an advertised host there is none; an advertised port 0 is the one that was got.
    assert slot.endpoints() == (
        Endpoint("PLAINTEXT", "", ports[0]),
        Endpoint("OTHER", "out.example", ports[1]),
    )
    advertised["OTHER"] = advertised["OTHER"]._replace(port=19092)
    assert slot.endpoints()[1].port == 19092
    slot.stop_listening()


async def test_signals_go_to_that_process_and_to_no_later_one() -> None:
    slot = WorkerSlot(1, (PLAIN,), {})
    slot.kill()
    child = await asyncio.create_subprocess_exec("sleep", "600")
    slot.born(WorkerLink.__new__(WorkerLink), child.pid, os.pidfd_open(child.pid))
    assert not slot.gone.is_set()
    slot.kill(signal.SIGTERM)
    assert await child.wait() == -signal.SIGTERM
    slot.kill()
    slot.buried()
    assert slot.pid is None and slot.link is None
    await slot.gone.wait()
