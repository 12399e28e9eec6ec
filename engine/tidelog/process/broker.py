"""From options to a running broker: resolves configs, opens the data directory, binds the
listeners, runs the supervisor.

Runs in the supervisor's process, after the zygote was forked. Everything that can go wrong for a
reason of the user's (a config, a port, a directory) ends here as a `StartFailure` with a line for
each problem.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from setproctitle import setproctitle

from tidelog.clock import Clock
from tidelog.config import BrokerConfig, ConfigValueError
from tidelog.config.definition import split_list
from tidelog.config.listeners import Endpoint, parse_protocol_map
from tidelog.config.properties import ConfigFileError, StaticConfig, load_static
from tidelog.config.validators import is_number
from tidelog.errors import StorageError, TidelogError
from tidelog.limits import METRICS_CONNECTIONS_MAX
from tidelog.process.control import Control, ControlOwner
from tidelog.process.data_directory import DataDirectory
from tidelog.process.listening import (
    ListenError,
    host_and_port,
    listen,
    port_of,
    reachable_host,
)
from tidelog.process.log_lines import set_up_logging
from tidelog.process.node_plan import PlanError, plan_advertised, plan_listeners, plan_nodes
from tidelog.process.one_host import OneHost
from tidelog.process.supervisor import (
    StartError,
    Supervisor,
    SupervisorSettings,
    bootstrap_servers,
)
from tidelog.process.worker_slot import WorkerSlot
from tidelog.process.zygote import ZygoteHandle

if TYPE_CHECKING:
    from tidelog.process.hosts.cluster import Place
    from tidelog.process.hosts.joining import Joining

log: Final = logging.getLogger(__name__)

DEFAULT_LISTENERS: Final = "PLAINTEXT://127.0.0.1:9092"
DEFAULT_DATA_DIR: Final = "tidelog-data"


class StartFailure(TidelogError):
    """The broker could not start; a line of the message for each problem. `usage`: the options are
    wrong.
    """

    def __init__(self, message: str, *, usage: bool = False) -> None:
        super().__init__(message)
        self.usage = usage


class BrokerOptions(msgspec.Struct, frozen=True):
    """What the user gave. `properties` is the text of the file named `properties_name`;
    `parent_fd` ends with the process that this broker is a part of.
    """

    listen: str | None = None
    data_dir: str | None = None
    workers: int | None = None
    node_id: int | None = None
    properties: str = ""
    properties_name: str = "server.properties"
    settings: tuple[str, ...] = ()
    log_level: str = "warning"
    parent_fd: int | None = None
    metrics: str | None = None
    zookeeper: str | None = None
    cluster_listen: str | None = None


def run_broker(options: BrokerOptions, zygote: ZygoteHandle, say: Callable[[str], None]) -> int:
    """Runs the broker until it is stopped; returns the exit status. `say` gets the ready line.

    Raises StartFailure. The zygote has ended when this returns or raises.
    """
    set_up_logging("supervisor", options.log_level)
    setproctitle("tidelog supervisor")
    try:
        static = resolve_static(options)
        for warning in static.warnings:
            log.warning("config problem=%s", warning)
        return _run(options, static, zygote, say)
    except (ConfigFileError, ConfigValueError, PlanError) as error:
        raise StartFailure(str(error), usage=True) from error
    except (StorageError, ListenError, StartError) as error:
        raise StartFailure(str(error)) from error
    finally:
        zygote.end()


def _run(
    options: BrokerOptions, static: StaticConfig, zygote: ZygoteHandle, say: Callable[[str], None]
) -> int:
    config = BrokerConfig.resolve(static.layers)
    path, *others = log_directories(options, static, config)
    directory = DataDirectory.open(path, others=others)
    slots: list[WorkerSlot] = []
    joining: Joining | None = None
    metrics: socket.socket | None = None
    began = False
    try:
        directory.check_nodes()
        if options.zookeeper is not None:
            # Only now: its client library costs a start that needs none 60 ms.
            from tidelog.process.hosts.joining import Joining

            joining = Joining(directory, options.zookeeper, config.broker_session_timeout_ms)
        elif directory.is_shared:
            raise StartError(
                f"the metadata of {directory.path} is where all hosts of its cluster have it:"
                " --zookeeper is needed"
            )
        elif options.cluster_listen is not None:
            raise ConfigFileError(["--cluster-listen needs --zookeeper"])
        if options.metrics is not None:
            metrics = listen(metrics_address(options.metrics), METRICS_CONNECTIONS_MAX)
        first = _first_node_id(options, static)
        plan = plan_nodes(directory.nodes, first, options.workers, os.cpu_count() or 1)
        slots = make_slots(plan.node_ids, static, config)
        for slot in slots:
            slot.listen(config.socket_listen_backlog_size)
            directory.add_node(slot.node_id)
        place: Place | None = None
        if joining is not None:
            place = joining.take_place(cluster_address(options, slots), plan.node_ids)
        directory.save()
        settings = _settings(options, static, config, plan.surplus, directory.host_id)

        def ready() -> None:
            line = f"tidelog ready bootstrap={bootstrap_servers(slots)} pid={os.getpid()}"
            if options.metrics is not None and metrics is not None:
                line += f" metrics={_reachable(metrics_address(options.metrics), metrics)}"
            say(line)

        began = True

        open_control = partial(_open_control, directory, place, settings)

        async def supervise() -> int:
            supervisor = Supervisor(
                settings, directory, slots, zygote, ready, open_control, metrics_socket=metrics
            )
            return await supervisor.run()

        return asyncio.run(supervise())
    finally:
        # The loop has given its handlers back: a late signal must not change the exit status.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        for slot in slots:
            slot.stop_listening()
        if metrics is not None:
            metrics.close()
        if joining is not None:
            joining.close()
        if not began:
            directory.forget_if_new()
        directory.close()


def _open_control(
    directory: DataDirectory,
    place: Place | None,
    settings: SupervisorSettings,
    owner: ControlOwner,
    clock: Clock,
) -> Control:
    if place is None:
        return OneHost(directory, settings.static, owner, clock)
    from tidelog.process.hosts.cluster import HostCluster

    return HostCluster(place, settings.static, settings.session_timeout_ms, owner, clock)


def resolve_static(options: BrokerOptions) -> StaticConfig:
    """The static configs: file, `--set`, then the options that have a config's meaning. Raises
    ConfigFileError.
    """
    settings = list(options.settings)
    if options.listen is not None:
        settings.append(f"listeners={_listener(options.listen)}")
    if options.data_dir is not None:
        if not options.data_dir.strip():
            raise ConfigFileError(["--data-dir is empty"])
        settings.append(f"log.dirs={options.data_dir}")
    return load_static(
        options.properties,
        file_name=options.properties_name,
        settings=settings,
        base={"listeners": DEFAULT_LISTENERS},
    )


def log_directories(
    options: BrokerOptions, static: StaticConfig, config: BrokerConfig
) -> list[Path]:
    """Where everything is kept: absolute, so that nothing depends on a working directory. The first
    is the data directory, the others have logs only. Raises ConfigFileError.
    """
    names: tuple[str, ...] = (DEFAULT_DATA_DIR,)
    if options.data_dir is not None:
        names = (options.data_dir,)
    elif "log.dirs" in static.values or "log.dir" in static.values:
        names = config.data_dirs
    paths = [Path(name).absolute() for name in names]
    for path in paths:
        if paths.count(path) > 1:
            raise ConfigFileError([f"log.dirs names {path} twice"])
    return paths


def make_slots(
    node_ids: tuple[int, ...], static: StaticConfig, config: BrokerConfig
) -> list[WorkerSlot]:
    """The nodes with their addresses, nothing opened yet. Raises ConfigValueError."""
    protocols = parse_protocol_map(config.listener_security_protocol_map)
    controllers = split_list(static.values.get("controller.listener.names", ""))
    addresses = plan_listeners(config.listeners, protocols, controllers, len(node_ids))
    advertised = plan_advertised(config.advertised_listeners, protocols, len(node_ids))
    return [
        WorkerSlot(node_id, addresses[index], advertised[index])
        for index, node_id in enumerate(node_ids)
    ]


def _first_node_id(options: BrokerOptions, static: StaticConfig) -> int | None:
    if options.node_id is not None:
        return options.node_id
    for name in ("node.id", "broker.id"):
        text = static.values.get(name, "").strip()
        if is_number(text):
            return int(text)
    return None


def _listener(text: str) -> str:
    """`--listen HOST:PORT` as a listener. Raises ConfigFileError."""
    _host_and_port("--listen", text)
    return f"PLAINTEXT://{text}"


def metrics_address(text: str) -> Endpoint:
    """`--metrics HOST:PORT`. Raises ConfigFileError."""
    host, port = _host_and_port("--metrics", text)
    return Endpoint("METRICS", "PLAINTEXT", host.strip("[]"), port)


def cluster_address(options: BrokerOptions, slots: list[WorkerSlot]) -> Endpoint:
    """`--cluster-listen HOST:PORT`. Raises ConfigFileError."""
    if options.cluster_listen is None:
        return Endpoint("CLUSTER", "PLAINTEXT", slots[0].addresses[0].host, 0)
    host, port = _host_and_port("--cluster-listen", options.cluster_listen)
    return Endpoint("CLUSTER", "PLAINTEXT", host.strip("[]"), port)


def _host_and_port(option: str, text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not is_number(port) or int(port) > 65535 or "/" in host:
        raise ConfigFileError([f"{option} {text}: HOST:PORT is expected"])
    if ":" in host and not host.startswith("["):
        raise ConfigFileError([f"{option} {text}: an IPv6 address stands in brackets"])
    return host, int(port)


def _reachable(address: Endpoint, sock: socket.socket) -> str:
    """Where this machine reaches the endpoint; a port 0 has become another."""
    return host_and_port(reachable_host(address.host), port_of(sock))


def _settings(
    options: BrokerOptions,
    static: StaticConfig,
    config: BrokerConfig,
    surplus: tuple[int, ...],
    host_id: str,
) -> SupervisorSettings:
    return SupervisorSettings(
        static=static.values,
        rack=config.broker_rack,
        surplus=surplus,
        listen_backlog=config.socket_listen_backlog_size,
        heartbeat_interval_ms=config.broker_heartbeat_interval_ms,
        session_timeout_ms=config.broker_session_timeout_ms,
        leader_check_interval_ms=1000 * config.leader_imbalance_check_interval_seconds,
        unclean_check_interval_ms=config.unclean_leader_election_interval_ms,
        log_level=options.log_level,
        parent_fd=options.parent_fd,
        host_id=host_id if options.zookeeper is not None else "",
    )
