"""Runs Apache's command-line tools: many of them in turn inside one JVM, or each in its own.

Owner: the compat suite. `ToolServer` keeps one JVM with `ToolRunner`; a tool that does not end in
time costs that JVM, and the next call starts another one.
"""

from __future__ import annotations

import select
import struct
import subprocess
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.compat.reference.install import Installation, install

TOOL_CLASSES = {
    "kafka-topics": "org.apache.kafka.tools.TopicCommand",
    "kafka-console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "kafka-console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "kafka-console-share-consumer": "org.apache.kafka.tools.consumer.ConsoleShareConsumer",
    "kafka-consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "kafka-share-groups": "org.apache.kafka.tools.consumer.group.ShareGroupCommand",
    "kafka-groups": "org.apache.kafka.tools.GroupsCommand",
    "kafka-streams-groups": "org.apache.kafka.tools.streams.StreamsGroupCommand",
    "kafka-configs": "kafka.admin.ConfigCommand",
    "kafka-get-offsets": "org.apache.kafka.tools.GetOffsetShell",
    "kafka-delete-records": "org.apache.kafka.tools.DeleteRecordsCommand",
    "kafka-log-dirs": "org.apache.kafka.tools.LogDirsCommand",
    "kafka-broker-api-versions": "org.apache.kafka.tools.BrokerApiVersionsCommand",
    "kafka-producer-perf-test": "org.apache.kafka.tools.ProducerPerformance",
    "kafka-consumer-perf-test": "org.apache.kafka.tools.ConsumerPerformance",
    "kafka-e2e-latency": "org.apache.kafka.tools.EndToEndLatency",
    "kafka-verifiable-producer": "org.apache.kafka.tools.VerifiableProducer",
    "kafka-verifiable-consumer": "org.apache.kafka.tools.VerifiableConsumer",
    "kafka-dump-log": "org.apache.kafka.tools.DumpLogSegments",
    "kafka-acls": "org.apache.kafka.tools.AclCommand",
    "kafka-transactions": "org.apache.kafka.tools.TransactionsCommand",
    "kafka-cluster": "org.apache.kafka.tools.ClusterTool",
    "kafka-features": "org.apache.kafka.tools.FeatureCommand",
    "kafka-client-metrics": "org.apache.kafka.tools.ClientMetricsCommand",
    "kafka-leader-election": "org.apache.kafka.tools.LeaderElectionCommand",
    "kafka-reassign-partitions": "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
    "kafka-replica-verification": "org.apache.kafka.tools.ReplicaVerificationTool",
    "kafka-metadata-quorum": "org.apache.kafka.tools.MetadataQuorumCommand",
    "kafka-delegation-tokens": "org.apache.kafka.tools.DelegationTokenCommand",
    "kafka-storage": "kafka.tools.StorageTool",
    "kafka-streams-application-reset": "org.apache.kafka.tools.StreamsResetter",
}
# These finish their work in hooks of the JVM itself, so they need the end of a JVM.
NEED_OWN_JVM = frozenset({"kafka-verifiable-producer", "kafka-verifiable-consumer"})
DEFAULT_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class ToolResult:
    """How a tool ended: its exit code and the text of both streams."""

    code: int
    out: str
    err: str

    def ok(self) -> ToolResult:
        """Itself, after checking that the tool ended with 0."""
        assert self.code == 0, f"exit {self.code}\n--- out\n{self.out}\n--- err\n{self.err}"
        return self


class ToolTimeout(AssertionError):
    """A tool did not end in time."""


class ToolServer:
    """One JVM that runs tools in turn. Close it (or use `with`) to end the JVM."""

    def __init__(self, *, heap_mb: int = 384) -> None:
        self._installation: Installation = install()
        self._heap_mb = heap_mb
        self._process: subprocess.Popen[bytes] | None = None

    def run(
        self,
        tool: str,
        *args: str,
        stdin: bytes = b"",
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> ToolResult:
        """Runs a tool named as in Apache's bin folder. Raises ToolTimeout."""
        if tool in NEED_OWN_JVM:
            return JavaTool(tool).run(*args, stdin=stdin, timeout_s=timeout_s)
        process = self._started()
        assert process.stdin is not None
        words = [TOOL_CLASSES.get(tool, tool), *args]
        request = struct.pack(">i", len(words))
        for piece in [*(word.encode() for word in words), stdin]:
            request += struct.pack(">i", len(piece)) + piece
        deadline = time.monotonic() + timeout_s
        process.stdin.write(request)
        process.stdin.flush()
        try:
            (code,) = struct.unpack(">i", self._read(4, deadline))
            out, err = (
                self._read(struct.unpack(">i", self._read(4, deadline))[0], deadline).decode(
                    errors="replace"
                )
                for _ in range(2)
            )
        except TimeoutError as error:
            self.close()
            raise ToolTimeout(f"{tool} {args} did not end within {timeout_s} s") from error
        return ToolResult(code, out, err)

    def close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                self._installation.command("ToolRunner", heap_mb=self._heap_mb),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
            )
        return self._process

    def _read(self, size: int, deadline: float) -> bytes:
        assert self._process is not None and self._process.stdout is not None
        stream = self._process.stdout
        data = b""
        while len(data) < size:
            ready, _, _ = select.select([stream], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError
            piece = stream.read(size - len(data))
            if not piece:
                raise AssertionError("the JVM that runs the tools ended by itself")
            data += piece
        return data


class JavaTool:
    """One tool in a JVM of its own: for tools that run beside others, or must be measured."""

    def __init__(self, name: str, *, heap_mb: int = 384, full_speed: bool = False) -> None:
        self.name = name
        self._heap_mb = heap_mb
        self._full_speed = full_speed

    def command(self, *args: str) -> list[str]:
        return install().command(
            TOOL_CLASSES.get(self.name, self.name),
            *args,
            heap_mb=self._heap_mb,
            full_speed=self._full_speed,
        )

    def run(
        self, *args: str, stdin: bytes = b"", timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> ToolResult:
        try:
            done = subprocess.run(
                self.command(*args),
                input=stdin,
                capture_output=True,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ToolTimeout(f"{self.name} {args} did not end within {timeout_s} s") from error
        out, err = (text.decode(errors="replace") for text in (done.stdout, done.stderr))
        return ToolResult(done.returncode, out, err)

    def start(self, *args: str) -> subprocess.Popen[bytes]:
        """Starts the tool in the background with pipes on all streams; the caller ends it."""
        return subprocess.Popen(
            self.command(*args),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
