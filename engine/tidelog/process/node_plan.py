"""Which nodes a host runs, and on which addresses. Pure: no sockets, no files.

Node i of a host (counted from 0) adds i to the port of the first one; `advertised.listeners` may
instead list one address for each node (for mapped ports). With port 0 every node gets a free port
of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tidelog.config.definition import ConfigValueError
from tidelog.config.listeners import Endpoint, parse_listeners
from tidelog.errors import TidelogError
from tidelog.limits import WORKERS_AUTO_MAX, WORKERS_MAX


class PlanError(TidelogError):
    """What was asked for cannot be started. The message is one line for the user."""


class NodePlan(NamedTuple):
    """node_ids: to be started; surplus: recorded, but not among them."""

    node_ids: tuple[int, ...]
    surplus: tuple[int, ...]


def plan_nodes(
    recorded: Iterable[int], first_node_id: int | None, workers: int | None, cores: int
) -> NodePlan:
    """The nodes to run. workers: None means as many as recorded, or one per core in a new
    directory.

    first_node_id: None means the recorded ones, or 1. Raises PlanError.
    """
    known = sorted(recorded)
    first = first_node_id if first_node_id is not None else (known[0] if known else 1)
    if first < 0:
        raise PlanError(f"--node-id {first}: a node id is 0 or more")
    if known and first != known[0]:
        raise PlanError(
            f"--node-id {first}: the data directory belongs to nodes {known[0]} to {known[-1]}"
        )
    if workers is None:
        workers = len(known) if known else max(1, min(cores, WORKERS_AUTO_MAX))
    if not 1 <= workers <= WORKERS_MAX:
        raise PlanError(f"--workers {workers}: from 1 to {WORKERS_MAX} are possible")
    node_ids = tuple(range(first, first + workers))
    return NodePlan(node_ids, tuple(node for node in known if node not in node_ids))


def plan_listeners(
    values: Sequence[str], protocols: dict[str, str], controller_names: Iterable[str], nodes: int
) -> list[tuple[Endpoint, ...]]:
    """For each node its listening addresses, from `listeners`. Listeners of a KRaft controller are
    left out: this broker has none. Raises ConfigValueError.
    """
    left_out = {name.upper() for name in controller_names}
    per_node = _per_node("listeners", values, protocols, nodes)
    plan = [tuple(e for e in endpoints if e.name not in left_out) for endpoints in per_node]
    if not plan[0]:
        raise ConfigValueError("listeners", ",".join(values), "there is no listener for clients")
    for endpoint in plan[0]:
        if endpoint.protocol != "PLAINTEXT":
            raise ConfigValueError(
                "listeners", endpoint.name, f"{endpoint.protocol} is not supported yet"
            )
    return plan


def plan_advertised(
    values: Sequence[str] | None, protocols: dict[str, str], nodes: int
) -> list[dict[str, Endpoint]]:
    """For each node its advertised addresses by listener, from `advertised.listeners`; empty when
    unset.
    """
    if not values:
        return [{} for _ in range(nodes)]
    return [
        {endpoint.name: endpoint for endpoint in endpoints}
        for endpoints in _per_node("advertised.listeners", values, protocols, nodes)
    ]


def _per_node(
    key: str, values: Sequence[str], protocols: dict[str, str], nodes: int
) -> list[tuple[Endpoint, ...]]:
    by_name: dict[str, list[Endpoint]] = {}
    for endpoint in parse_listeners(key, values, protocols, repeated=True):
        by_name.setdefault(endpoint.name, []).append(endpoint)
    plan = []
    for index in range(nodes):
        endpoints = []
        for name, given in by_name.items():
            if len(given) == 1:
                endpoints.append(_shifted(key, given[0], index))
            elif len(given) == nodes:
                endpoints.append(given[index])
            else:
                raise ConfigValueError(
                    key,
                    name,
                    f"{len(given)} addresses: one is needed, or one for each of {nodes} nodes",
                )
        plan.append(tuple(endpoints))
    return plan


def _shifted(key: str, endpoint: Endpoint, index: int) -> Endpoint:
    if endpoint.port == 0 or index == 0:
        return endpoint
    port = endpoint.port + index
    if port > 65535:
        raise ConfigValueError(key, endpoint.name, f"there is no port {port} for node {index + 1}")
    return endpoint._replace(port=port)
