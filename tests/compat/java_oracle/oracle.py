"""Asks MessageOracle.java questions in one JVM run.

Owner: the compat suite. The jars are those of tests.compat.reference; the Java file is compiled
when it is started. Lines go through files, so that neither side waits for the other.
"""

import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.compat.reference.install import install
from tidelog.protocol.headers import RequestHeader, ResponseHeader
from tidelog.protocol.records import consumer_protocol, control
from tidelog.protocol.schema import ApiMessage, Message

SOURCE = Path(__file__).resolve().parent / "MessageOracle.java"
TIMEOUT_S = 240

COMMON = "org.apache.kafka.common.message"
GROUP = "org.apache.kafka.coordinator.group.generated"
TRANSACTION = "org.apache.kafka.coordinator.transaction.generated"


def java_name(cls: type[Message]) -> str:
    """The Java class of one of our messages."""
    if issubclass(cls, ApiMessage) or cls in (RequestHeader, ResponseHeader):
        return f"{COMMON}.{cls.__name__}Data"
    if cls.__module__ in (consumer_protocol.__name__, control.__name__):
        return f"{COMMON}.{cls.__name__}"
    family = TRANSACTION if cls.__module__.endswith(".transaction") else GROUP
    return f"{family}.{cls.__name__}"


def ask(questions: Sequence[str]) -> list[dict[str, Any]]:
    """The answers, in order. Raises ReferenceMissing without a JDK or Maven."""
    command = install().command(str(SOURCE), heap_mb=512, full_speed=True)
    with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as answered:
        asked.write("".join(f"{question}\n" for question in questions).encode("ascii"))
        asked.seek(0)
        done = subprocess.run(
            command,
            stdin=asked,
            stdout=answered,
            stderr=subprocess.PIPE,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        answered.seek(0)
        answers = [json.loads(line) for line in answered]
    assert len(answers) == len(questions)
    return answers
