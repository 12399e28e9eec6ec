"""Apache's command-line tools against one broker."""

from __future__ import annotations

from tests.compat.conftest import Target
from tests.compat.tools import ToolResult, ToolServer


class Tools:
    """Runs tools against one broker."""

    def __init__(self, server: ToolServer, target: Target) -> None:
        self.server = server
        self.target = target

    def run(self, tool: str, *args: str, stdin: bytes = b"") -> ToolResult:
        return self.server.run(
            tool, "--bootstrap-server", self.target.bootstrap, *args, stdin=stdin
        )

    def ok(self, tool: str, *args: str, stdin: bytes = b"") -> str:
        """Standard output of a tool that has to end with 0."""
        return self.run(tool, *args, stdin=stdin).ok().out

    def produce(self, topic: str, lines: list[str], *args: str) -> None:
        text = "".join(f"{line}\n" for line in lines).encode()
        self.ok("kafka-console-producer", "--topic", topic, *args, stdin=text)

    def consume(self, topic: str, count: int, *args: str) -> list[str]:
        """Lines of a console consumer that reads `count` records from the beginning."""
        out = self.ok(
            "kafka-console-consumer",
            "--topic", topic,
            "--from-beginning",
            "--max-messages", str(count),
            "--timeout-ms", "30000",
            *args,
        )  # fmt: skip
        return out.splitlines()

    def offsets(self, topic: str, *args: str) -> dict[int, int]:
        """What kafka-get-offsets says, by partition."""
        out = self.ok("kafka-get-offsets", "--topic", topic, *args)
        rows = (line.rsplit(":", 2) for line in out.splitlines())
        return {int(partition): int(offset) for _, partition, offset in rows if offset}
