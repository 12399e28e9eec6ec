"""Apache Kafka 4.3.1 as a broker that a comparison starts itself, beside those of
`tidelog.benchmarks.targets`.
"""

from tidelog.benchmarks.targets import BROKER_CONFIGS, Target


class KafkaTarget(Target):
    """Apache Kafka as the compat suite installs it, at full speed with a heap of 1 GiB."""

    name = "kafka"

    def start(self) -> None:
        # Here and not above: a run without Kafka needs neither a JDK nor Maven.
        from tests.compat.reference import ReferenceBroker

        self._broker = ReferenceBroker(
            data_dir=self.folder, heap_mb=1024, overrides=BROKER_CONFIGS, full_speed=True
        )
        self._broker.start()
        self.pid = self._broker.pid
        self.bootstrap = self._broker.bootstrap

    def stop(self) -> None:
        if hasattr(self, "_broker"):
            self._broker.stop()
