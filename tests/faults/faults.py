"""The faults: each begins, and returns how it is healed.

A fault leaves the cluster whole once it is healed: what it has killed is started again, what it has
stopped goes on, what it has cut is joined. Who is hit is chosen by the random numbers that it is
given, and half of the time it is the controller.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from tests.faults.cluster import CLIENTS, Cluster, Host, wait_for

Heal = Callable[[], None]
Begin = Callable[[Cluster, random.Random], tuple[str, Heal]]


class Fault(NamedTuple):
    """begin returns whom it has hit, and how to heal it; seconds: between both, from and to."""

    name: str
    begin: Begin
    seconds: tuple[float, float] = (1.0, 8.0)


def some_host(cluster: Cluster, rng: random.Random) -> Host:
    return cluster.controller() if rng.random() < 0.5 else rng.choice(cluster.hosts)


def kill_worker(cluster: Cluster, rng: random.Random) -> tuple[str, Heal]:
    host = some_host(cluster, rng)
    node = rng.choice(host.nodes)
    killed = host.workers()[node]
    host.kill_worker(node)
    return f"node {node}", lambda: wait_for(
        lambda: host.workers().get(node, killed) != killed, f"node {node} is back"
    )


def kill_workers(cluster: Cluster, rng: random.Random) -> tuple[str, Heal]:
    """Of a host, several times in a row."""
    host = some_host(cluster, rng)
    for _ in range(3):
        for node in host.workers():
            host.kill_worker(node)
        time.sleep(rng.uniform(0.05, 0.5))
    return host.name, lambda: wait_for(
        lambda: len(host.workers()) == len(host.nodes), f"the nodes of {host.name} are back"
    )


def kill_supervisor(cluster: Cluster, rng: random.Random) -> tuple[str, Heal]:
    host = some_host(cluster, rng)
    host.kill_supervisor()
    return host.name, host.start


def kill_host(cluster: Cluster, rng: random.Random) -> tuple[str, Heal]:
    host = some_host(cluster, rng)
    host.kill()
    return host.name, host.start


def kill_two_hosts(cluster: Cluster, rng: random.Random) -> tuple[str, Heal]:
    hosts = rng.sample(cluster.hosts, 2)
    for host in hosts:
        host.kill()
    return " ".join(host.name for host in hosts), lambda: _start(hosts)


def kill_all_hosts(cluster: Cluster, rng: random.Random) -> tuple[str, Heal]:
    hosts = rng.sample(cluster.hosts, len(cluster.hosts))
    for host in hosts:
        host.kill()
    return "all", lambda: _start(hosts)


def stop_host(cluster: Cluster, rng: random.Random) -> tuple[str, Heal]:
    host = some_host(cluster, rng)
    _stop(host)
    return host.name, host.start


def rolling_restart(cluster: Cluster, rng: random.Random) -> tuple[str, Heal]:
    hosts = rng.sample(cluster.hosts, len(cluster.hosts))
    for host in hosts:
        _stop(host)
        host.start()
    return "all", lambda: None


def pause_worker(cluster: Cluster, rng: random.Random) -> tuple[str, Heal]:
    host = some_host(cluster, rng)
    node = rng.choice(host.nodes)
    host.pause([host.workers()[node]])
    return f"node {node}", host.resume


def pause_supervisor(cluster: Cluster, rng: random.Random) -> tuple[str, Heal]:
    host = some_host(cluster, rng)
    host.pause([host.supervisor])
    return host.name, host.resume


def pause_host(cluster: Cluster, rng: random.Random) -> tuple[str, Heal]:
    host = some_host(cluster, rng)
    host.pause(host.all_pids())
    return host.name, host.resume


def cut_host(cluster: Cluster, rng: random.Random) -> tuple[str, Heal]:
    """The host, and the ZooKeeper server beside it, from everything else."""
    host = some_host(cluster, rng)
    side = [host.name, host.zookeeper_name]
    return host.name, _apart(cluster, side, [CLIENTS, *_without(cluster.names(), side)])


def cut_from_hosts(cluster: Cluster, rng: random.Random) -> tuple[str, Heal]:
    """ZooKeeper and clients still reach it."""
    host = some_host(cluster, rng)
    others = [one.name for one in cluster.hosts if one is not host]
    return host.name, _apart(cluster, [host.name], others)


def cut_from_controller(cluster: Cluster, rng: random.Random) -> tuple[str, Heal]:
    controller = cluster.controller()
    host = rng.choice([one for one in cluster.hosts if one is not controller])
    return f"{host.name} {controller.name}", _apart(cluster, [host.name], [controller.name])


def cut_from_clients(cluster: Cluster, rng: random.Random) -> tuple[str, Heal]:
    host = some_host(cluster, rng)
    return host.name, _apart(cluster, [host.name], [CLIENTS])


def cut_one_way(cluster: Cluster, rng: random.Random) -> tuple[str, Heal]:
    """Packets go, or come, but not both."""
    host = some_host(cluster, rng)
    others = _without([*cluster.names(), CLIENTS], [host.name])
    if rng.random() < 0.5:
        others = [rng.choice([one.name for one in cluster.hosts if one is not host])]
    goes_out = rng.random() < 0.5
    links = [(host.name, other) if goes_out else (other, host.name) for other in others]
    way = "to" if goes_out else "from"
    return f"{way} {host.name}, {len(links)} links", _cut(cluster, links)


def cut_from_zookeeper(cluster: Cluster, rng: random.Random) -> tuple[str, Heal]:
    host = some_host(cluster, rng)
    servers = [one.zookeeper_name for one in cluster.hosts]
    return host.name, _apart(cluster, [host.name], servers)


def swizzle(cluster: Cluster, rng: random.Random) -> tuple[str, Heal]:
    """Links are cut one by one, and healed in another order."""
    names = cluster.names()
    links = rng.sample([(a, b) for a in names for b in names if a != b], 6)
    for link in links:
        cluster.network.cut(*link)
        time.sleep(rng.uniform(0.0, 1.0))

    def heal() -> None:
        for link in rng.sample(links, len(links)):
            cluster.network.heal(*link)
            time.sleep(rng.uniform(0.0, 1.0))

    return f"{len(links)} links", heal


def kill_zookeeper_leader(cluster: Cluster, rng: random.Random) -> tuple[str, Heal]:
    server = cluster.zookeeper.leader()
    server.kill()
    return f"server {server.number}", lambda: cluster.zookeeper.restart(server)


def pause_zookeeper_leader(cluster: Cluster, rng: random.Random) -> tuple[str, Heal]:
    server = cluster.zookeeper.leader()
    server.pause()
    return f"server {server.number}", server.resume


def kill_zookeeper(cluster: Cluster, rng: random.Random) -> tuple[str, Heal]:
    """All servers: nobody is elected, and leaders go on."""
    servers = list(cluster.zookeeper.servers)
    for server in servers:
        server.kill()

    def heal() -> None:
        for server in servers:
            server.start()
        cluster.zookeeper.wait_serving()

    return "all servers", heal


def disturb_host(cluster: Cluster, rng: random.Random) -> tuple[str, Heal]:
    """All that comes to one host and goes from it is late, some of it lost or doubled."""
    host = some_host(cluster, rng)
    others = _without([*cluster.names(), CLIENTS], [host.name])
    links = [link for other in others for link in ((host.name, other), (other, host.name))]
    return host.name, _disturb(cluster, rng, links)


def disturb_hosts(cluster: Cluster, rng: random.Random) -> tuple[str, Heal]:
    """The same between all hosts and ZooKeeper's servers."""
    names = cluster.names()
    return "all", _disturb(cluster, rng, [(a, b) for a in names for b in names if a != b])


def fill_disk(cluster: Cluster, rng: random.Random) -> tuple[str, Heal]:
    """Not a byte is left on one host's disk."""
    host = some_host(cluster, rng)
    host.fill_disk()
    return host.name, host.empty_disk


def move_clock(cluster: Cluster, rng: random.Random) -> tuple[str, Heal]:
    """One host's wall clock is wrong, by less than a record's timestamp may be ahead."""
    host = some_host(cluster, rng)
    seconds = rng.choice((-1, 1)) * rng.choice((1, 10, 100, 3000))
    host.move_clock(seconds)
    return f"{host.name} by {seconds} s", lambda: host.move_clock(0)


#: Needs hosts with clocks of their own.
CLOCK_FAULT: Final = "move-clock"

FAULTS: Final = (
    Fault("kill-worker", kill_worker, (0.0, 1.0)),
    Fault("kill-workers", kill_workers, (0.0, 1.0)),
    Fault("kill-supervisor", kill_supervisor, (0.0, 6.0)),
    Fault("kill-host", kill_host, (0.0, 8.0)),
    Fault("kill-two-hosts", kill_two_hosts, (0.0, 6.0)),
    Fault("kill-all-hosts", kill_all_hosts, (0.0, 3.0)),
    Fault("stop-host", stop_host, (0.0, 5.0)),
    Fault("rolling-restart", rolling_restart, (0.0, 0.0)),
    Fault("pause-worker", pause_worker, (0.5, 7.0)),
    Fault("pause-supervisor", pause_supervisor, (0.5, 9.0)),
    Fault("pause-host", pause_host, (0.5, 9.0)),
    Fault("cut-host", cut_host, (1.0, 10.0)),
    Fault("cut-from-hosts", cut_from_hosts, (1.0, 10.0)),
    Fault("cut-from-controller", cut_from_controller, (1.0, 10.0)),
    Fault("cut-from-clients", cut_from_clients, (1.0, 8.0)),
    Fault("cut-one-way", cut_one_way, (1.0, 10.0)),
    Fault("cut-from-zookeeper", cut_from_zookeeper, (1.0, 10.0)),
    Fault("swizzle", swizzle, (1.0, 8.0)),
    Fault("disturb-host", disturb_host, (3.0, 10.0)),
    Fault("disturb-hosts", disturb_hosts, (3.0, 10.0)),
    Fault(CLOCK_FAULT, move_clock, (3.0, 8.0)),
    Fault("fill-disk", fill_disk, (0.5, 5.0)),
    Fault("kill-zookeeper-leader", kill_zookeeper_leader, (0.0, 5.0)),
    Fault("pause-zookeeper-leader", pause_zookeeper_leader, (1.0, 8.0)),
    Fault("kill-zookeeper", kill_zookeeper, (0.0, 8.0)),
)


def _apart(cluster: Cluster, some: Sequence[str], others: Sequence[str]) -> Heal:
    cluster.network.cut_apart(some, others)
    return lambda: cluster.network.heal_apart(some, others)


def _cut(cluster: Cluster, links: Sequence[tuple[str, str]]) -> Heal:
    for link in links:
        cluster.network.cut(*link)

    def heal() -> None:
        for link in links:
            cluster.network.heal(*link)

    return heal


def _disturb(cluster: Cluster, rng: random.Random, links: Sequence[tuple[str, str]]) -> Heal:
    cluster.network.disturb(
        links, rng.randrange(2**32), rng.choice((5, 30, 100)), rng.choice((0.0, 0.02, 0.1)), 0.02
    )
    return cluster.network.calm


def _without(names: Sequence[str], left_out: Sequence[str]) -> list[str]:
    return [name for name in names if name not in left_out]


def _start(hosts: Sequence[Host]) -> None:
    """All at once: none of them may be able to serve before the others are there."""
    for host in hosts:
        host.begin_start()
    for host in hosts:
        host.wait_started()


def _stop(host: Host) -> None:
    """Raises RuntimeError when the host does not stop cleanly."""
    status = host.stop()
    if status:
        raise RuntimeError(f"{host.name} stopped with exit status {status}")
