"""One node of this host as the supervisor sees it: its addresses, its present life, its next one.

A slot lives as long as the supervisor; a life is one process. Everything here is the supervisor's
loop's.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket

from tidelog.config.listeners import Endpoint as ListenAddress
from tidelog.metadata.records import Endpoint
from tidelog.process.backoff import RestartPolicy
from tidelog.process.listening import known_host, listen, port_of, reachable_host
from tidelog.process.node_report import NodePhase, NodeReport
from tidelog.process.worker_link import WorkerLink


class WorkerSlot:
    """A node's listening sockets and its worker, if one runs.

    addresses: where to listen; a port 0 becomes the port that was got first. advertised: what
    clients are told instead, by listener.
    """

    def __init__(
        self,
        node_id: int,
        addresses: tuple[ListenAddress, ...],
        advertised: dict[str, ListenAddress],
    ) -> None:
        self.node_id = node_id
        self.addresses = list(addresses)
        self.advertised = advertised
        self.sockets: list[socket.socket] = []
        self.policy = RestartPolicy()
        self.link: WorkerLink | None = None
        self.node_epoch = -1
        self.exited = False
        self.pid: int | None = None
        self.pidfd: int | None = None
        self.exit_status: asyncio.Future[int] | None = None
        self.served = False
        self.deaths = 0
        self.failure: str | None = None
        self.gone = asyncio.Event()
        self.gone.set()

    def listen(self, backlog: int) -> None:
        """Opens the listening sockets that are not open. Raises ListenError."""
        for index in range(len(self.sockets), len(self.addresses)):
            sock = listen(self.addresses[index], backlog)
            self.sockets.append(sock)
            self.addresses[index] = self.addresses[index]._replace(port=port_of(sock))

    def stop_listening(self) -> None:
        """Closes them: clients are refused and go elsewhere."""
        for sock in self.sockets:
            sock.close()
        self.sockets.clear()

    def endpoints(self, *, other_hosts: bool = False) -> tuple[Endpoint, ...]:
        """Where clients reach the node, for the metadata. Host "": where they reached the node that
        they asked, which does only while all nodes are on one host.
        """
        found = []
        for address in self.addresses:
            told = self.advertised.get(address.name)
            if told is None:
                host = known_host(address.host) if other_hosts else ""
                found.append(Endpoint(address.name, host, address.port, address.protocol))
            else:
                port = told.port or address.port
                found.append(Endpoint(address.name, told.host, port, address.protocol))
        return tuple(found)

    def internode(self, *, other_hosts: bool = False) -> tuple[str, int]:
        """Host and port where other nodes reach the node."""
        if other_hosts:
            endpoint = self.endpoints(other_hosts=True)[0]
            return endpoint.host, endpoint.port
        first = self.addresses[0]
        return reachable_host(first.host), first.port

    def report(self) -> NodeReport:
        """What the node is at."""
        link = self.link
        if self.pid is None or link is None or self.exited:
            return NodeReport(self.node_id, self.node_epoch, NodePhase.GONE)
        phase = NodePhase.SERVING if link.serving else NodePhase.STARTING
        return NodeReport(self.node_id, self.node_epoch, phase, link.version)

    def born(self, link: WorkerLink, pid: int, pidfd: int) -> None:
        """A process runs for this node."""
        self.link, self.pid, self.pidfd = link, pid, pidfd
        self.exited = False
        self.exit_status = asyncio.get_running_loop().create_future()
        self.gone.clear()

    def buried(self) -> None:
        """The process has ended."""
        if self.pidfd is not None:
            os.close(self.pidfd)
        self.link = None
        self.pid = self.pidfd = None
        self.gone.set()

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Signals the worker, whatever else may have its pid by now."""
        if self.pidfd is None:
            return
        try:
            signal.pidfd_send_signal(self.pidfd, number)
        except ProcessLookupError:
            # It has ended by itself; the pidfd says so to the loop.
            return
