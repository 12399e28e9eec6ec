"""Where one round of a workload takes place: a broker, topics of its own, and who is told of it.

Owned by the one who runs the round; topics that were created through a stage are deleted when it is
left, whatever ended the round.
"""

from __future__ import annotations

import contextlib
import random
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from tidelog.benchmarks.cluster import Cluster, KafkaError, TopicLayout
from tidelog.benchmarks.machine import Meter
from tidelog.benchmarks.native_load import BenchError
from tidelog.benchmarks.workloads import Workload

PREFIX: Final = "tidelog-bench"
#: How long the cluster may take for one request: thousands of partitions take their time.
REQUEST_TIMEOUT_S: Final = 120.0

#: Told what is being done, and which part of it is done (0..1).
Tell = Callable[[str, float], None]


@dataclass(frozen=True)
class Target:
    """A broker. pid: of its process, 0 when not known; command: what starts one ("start");
    more_pids: of the processes that are not below that one, when it is a cluster of several."""

    bootstrap: str
    pid: int = 0
    command: str = ""
    more_pids: tuple[int, ...] = ()


class Stage:
    """For the native client, which speaks the protocol itself."""

    def __init__(self, target: Target, workload: Workload, tell: Tell) -> None:
        self.target = target
        self.workload = workload
        self.tell = tell
        self.meter = Meter(target.pid, target.more_pids)
        self._cluster: Cluster | None = None
        self._created: list[str] = []

    @property
    def cluster(self) -> Cluster:
        if self._cluster is None:
            self._cluster = Cluster(self.target.bootstrap, REQUEST_TIMEOUT_S)
        return self._cluster

    def make_topics(self) -> list[TopicLayout]:
        """The workload's topics, new and with leaders that serve."""
        w = self.workload
        layouts = []
        for _ in range(w.topics):
            name = topic_name(w.name)
            self._created.append(name)
            layout = self.cluster.create_topic(name, w.partitions, w.configs, w.replication_factor)
            if len(layout.leaders) != w.partitions:
                raise BenchError(f"topic {name} has {len(layout.leaders)} partitions")
            layouts.append(layout)
        return layouts

    def close(self) -> None:
        """Deletes what was created. Raises KafkaError or OSError when that fails."""
        try:
            if self._created:
                with_new_connection = Cluster(self.target.bootstrap, REQUEST_TIMEOUT_S)
                try:
                    while self._created:
                        with_new_connection.delete_topic(self._created[-1])
                        self._created.pop()
                finally:
                    with_new_connection.close()
        finally:
            if self._cluster is not None:
                self._cluster.close()


def topic_name(workload: str) -> str:
    return f"{PREFIX}-{workload}-{random.SystemRandom().randrange(1 << 32):08x}"


def close_after_failure(close: Callable[[], None], ignored: tuple[type[Exception], ...]) -> None:
    """What ended the round is told, not that its topics could not be deleted after it. A second
    Ctrl-C, which a terminal or a wrapper sends easily, does not leave them behind; a third does."""
    with contextlib.suppress(*ignored):
        try:
            close()
        except KeyboardInterrupt:
            close()


@contextmanager
def opened(target: Target, workload: Workload, tell: Tell) -> Iterator[Stage]:
    """A stage; its topics are gone afterwards. Raises BenchError for whatever the broker or the
    network did."""
    stage = Stage(target, workload, tell)
    with plain_errors(target.bootstrap):
        try:
            yield stage
        except BaseException:
            close_after_failure(stage.close, (KafkaError, OSError, ValueError, struct.error))
            raise
        stage.close()


@contextmanager
def plain_errors(bootstrap: str) -> Iterator[None]:
    """Turns what can go wrong outside into one line. Raises BenchError."""
    try:
        yield
    except (KafkaError, ValueError) as error:
        raise BenchError(f"{bootstrap}: {error}") from error
    except struct.error as error:
        raise BenchError(f"{bootstrap}: an answer that is not Kafka's protocol") from error
    except OSError as error:
        what = error.strerror or str(error) or type(error).__name__
        raise BenchError(f"{bootstrap}: {what}") from error
