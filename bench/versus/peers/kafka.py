"""Apache Kafka 4.3.1 as the compat suite installs it, at full speed: one node, or three."""

from bench.load.targets import KafkaTarget
from bench.versus.peers.base import FSYNC, PAGE_CACHE, Peer
from tidelog.benchmarks import process_stats
from tidelog.benchmarks.targets import BROKER_CONFIGS

#: As tests/compat/reference/pom.xml has it.
VERSION = "4.3.1"
#: Of each of three nodes: they share one machine with the client.
HEAP_OF_THREE_MB = 512


class KafkaPeer(Peer, KafkaTarget):
    """One node (KRaft, both roles) with a heap of 1 GiB."""

    durabilities = {PAGE_CACHE: {}, FSYNC: {"flush.messages": "1"}}  # noqa: RUF012

    def version(self) -> str:
        return VERSION


class KafkaClusterPeer(Peer):
    """Three nodes, each with both roles and a heap of 512 MB."""

    name = "kafka"
    durabilities = KafkaPeer.durabilities

    def version(self) -> str:
        return VERSION

    def start(self) -> None:
        from tests.compat.reference import ReferenceCluster

        self._cluster = ReferenceCluster(
            3,
            data_dir=self.folder,
            heap_mb=HEAP_OF_THREE_MB,
            overrides=BROKER_CONFIGS,
            full_speed=True,
        )
        self._cluster.start()
        self.bootstrap = self._cluster.bootstrap
        self.pid = self._cluster.pids[0]
        if self.cpus:
            process_stats.pin(self.pids, self.cpus)

    @property
    def pids(self) -> list[int]:
        return self._cluster.pids if hasattr(self, "_cluster") else []

    def stop(self) -> None:
        if hasattr(self, "_cluster"):
            self._cluster.stop()
