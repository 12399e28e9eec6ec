"""How a host becomes one of several: whose cluster it is, what it brings, which nodes are its own.

Runs in the supervisor's process before its loop, and may wait for the coordination service.
Whatever forbids it is said in one line, and nothing has changed then.

A data directory that was a cluster of its own brings its metadata into a service that has none yet;
if that was tried before and cut off, it is done again. Once it is there, the local store is put
aside (`DataDirectory.share`), and the directory belongs to that cluster for good.
"""

from __future__ import annotations

import logging
from typing import Final

from tidelog.config.listeners import Endpoint
from tidelog.limits import ENSEMBLE_CONNECT_TIMEOUT_MS, HOST_BACKLOG
from tidelog.metadata.image import MetadataImage
from tidelog.metadata.records import ChangeRecord
from tidelog.metastore.ensemble import Ensemble, HostEntry, RefusedError
from tidelog.metastore.local import LocalMetastore, load_image
from tidelog.process.data_directory import DataDirectory
from tidelog.process.hosts.cluster import Place
from tidelog.process.listening import host_and_port, known_host, listen, port_of

log: Final = logging.getLogger(__name__)


class Joining:
    """See the module. Made, it has agreed with the others about the cluster; `take_place` makes it
    one of them.
    """

    def __init__(
        self,
        directory: DataDirectory,
        servers: str,
        session_timeout_ms: int,
        ensemble: Ensemble | None = None,
    ) -> None:
        """Raises EnsembleError, RefusedError, MetastoreError."""
        self._directory = directory
        self._imported = _local_metadata(directory)
        host_id = directory.take_host_id()
        if ensemble is None:
            from tidelog.metastore.znodes import ZooKeeperEnsemble

            ensemble = ZooKeeperEnsemble(servers, session_timeout_ms)
        self._ensemble = ensemble
        try:
            ensemble.connect(ENSEMBLE_CONNECT_TIMEOUT_MS)
            importer = host_id if self._imported is not None else None
            self._agreed = ensemble.agree(directory.cluster_id, importer)
            self._check(servers)
        except BaseException:
            ensemble.close()
            raise

    def take_place(self, address: Endpoint, node_ids: tuple[int, ...]) -> Place:
        """Makes host and nodes known to the others. Raises RefusedError when a node or the address
        is another's, ListenError, EnsembleError.
        """
        sock = listen(address, HOST_BACKLOG)
        try:
            told = host_and_port(known_host(address.host), port_of(sock))
            host = HostEntry(self._directory.host_id, told, node_ids)
            self._register(host)
        except BaseException:
            sock.close()
            raise
        self._directory.cluster_id = self._agreed.cluster_id
        return Place(self._ensemble, self._agreed, host, sock, self._imported)

    def _register(self, host: HostEntry) -> None:
        try:
            self._ensemble.register(host)
        except RefusedError as error:
            raise RefusedError(
                f"{error}: this host cannot have it, too (--node-id gives it others)"
            ) from error

    def close(self) -> None:
        """Ends the session."""
        self._ensemble.close()

    def _check(self, servers: str) -> None:
        """A directory that has belonged to a cluster stays with it."""
        agreed, directory = self._agreed, self._directory
        was_used = directory.is_shared or self._imported is not None
        if was_used and agreed.cluster_id != directory.cluster_id:
            raise RefusedError(
                f"data directory {directory.path} belongs to cluster {directory.cluster_id},"
                f" {servers} to cluster {agreed.cluster_id}"
            )
        if self._imported is not None and agreed.importer != directory.host_id:
            raise RefusedError(
                f"the metadata of {directory.path} cannot be imported:"
                f" {servers} has metadata of cluster {agreed.cluster_id} already"
            )


def _local_metadata(directory: DataDirectory) -> tuple[int, list[ChangeRecord]] | None:
    """What the directory brings; None when it brings nothing."""
    if directory.is_shared or not directory.has_store:
        return None
    store = LocalMetastore(directory.store_path)
    try:
        image = load_image(store)
    finally:
        store.close()
    if not image.cluster_id:
        directory.check_no_logs("holds nothing")
        return None
    _check_moves(directory, image)
    return image.version, list(image.to_records())


def _check_moves(directory: DataDirectory, image: MetadataImage) -> None:
    if image.moves:
        raise RefusedError(
            f"logs of {directory.path} are on their way to other nodes:"
            " start it once without --zookeeper"
        )
