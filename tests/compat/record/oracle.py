"""A partition log of the reference broker in a JVM of its own, driven record batch by record batch.

Owner: the compat suite. It compares what Tidelog's record layer answers with what Apache Kafka does
with the same bytes, without a broker in between. See RecordOracle.java for the other side.
"""

from __future__ import annotations

import struct
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.compat.reference.install import install

HERE = Path(__file__).resolve().parent
ORIGIN_COORDINATOR = 1
ORIGIN_CLIENT = 2
COMPILE_TIMEOUT_S = 120


@dataclass(frozen=True)
class Appended:
    """What the reference did with a batch. `stored` is empty for a duplicate."""

    error_code: int
    first_offset: int = -1
    last_offset: int = -1
    log_append_time: int = -1
    stored: bytes = b""
    message: str = ""
    record_errors: tuple[tuple[int, str], ...] = ()


class LogOracle:
    """One JVM with one log at a time."""

    def __init__(self) -> None:
        installation = install()
        self._folder = tempfile.TemporaryDirectory(prefix="tidelog-record-oracle-")
        root = Path(self._folder.name)
        subprocess.run(
            [
                "javac",
                "-nowarn",
                "-cp",
                installation.classpath,
                "-d",
                str(root / "classes"),
                str(HERE / "RecordOracle.java"),
            ],
            check=True,
            timeout=COMPILE_TIMEOUT_S,
        )
        command = installation.command("RecordOracle", str(root / "data"))
        place = command.index("-cp") + 1
        command[place] = f"{root / 'classes'}:{command[place]}"
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    def new_log(
        self,
        configs: Mapping[str, str] | None = None,
        *,
        producer_expiration_ms: int = 86_400_000,
        verify_transactions: bool = True,
    ) -> None:
        """Begins an empty log with these topic configs."""
        given = dict(configs or {})
        order = b"N" + struct.pack(">i?i", producer_expiration_ms, verify_transactions, len(given))
        for key, value in given.items():
            order += _utf(key) + _utf(value)
        self._send(order)
        self._end()

    def append(
        self,
        data: bytes,
        *,
        now_ms: int,
        api_version: int = 9,
        leader_epoch: int = 0,
        origin: int = ORIGIN_CLIENT,
        transaction_version: int = 0,
    ) -> Appended:
        """Appends as the leader, with the checks of a Produce request for a client's batch."""
        head = struct.pack(
            ">hqibhi",
            api_version,
            now_ms,
            leader_epoch,
            origin,
            transaction_version,
            len(data),
        )
        self._send(b"A" + head + data)
        (code,) = self._unpack(">h")
        if code == 0:
            first, last, append_time, size = self._unpack(">qqqi")
            result = Appended(0, first, last, append_time, self._read(size))
        else:
            message = self._text()
            (count,) = self._unpack(">i")
            errors = tuple((self._unpack(">i")[0], self._text()) for _ in range(count))
            result = Appended(code, message=message, record_errors=errors)
        self._end()
        return result

    def snapshot(self) -> bytes:
        """The producer snapshot file at the log's end; empty when the log itself is."""
        self._send(b"S")
        data = self._read(self._unpack(">i")[0])
        self._end()
        return data

    def expire_producers(self, now_ms: int) -> None:
        self._send(b"X" + struct.pack(">q", now_ms))
        self._end()

    def leader_epochs(
        self, steps: Sequence[tuple[str, int, int]], epochs: int, log_end_offset: int
    ) -> tuple[list[tuple[int, int]], list[tuple[int, int]], list[int]]:
        """Steps ("a"ssign, cut the "e"nd, cut the "s"tart) on an empty epoch cache.

        Returns its entries, (epoch, end offset) for the epochs from -1 on, and the epoch of every
        offset below the end (-1: none).
        """
        order = b"L" + struct.pack(">i", len(steps))
        for step, epoch, offset in steps:
            order += struct.pack(">ciq", step.encode(), epoch, offset)
        self._send(order + struct.pack(">iq", epochs, log_end_offset))
        (count,) = self._unpack(">i")
        entries = [(e, s) for e, s in (self._unpack(">iq") for _ in range(count))]
        ends = [(e, o) for e, o in (self._unpack(">iq") for _ in range(epochs + 1))]
        owners = [self._unpack(">i")[0] for _ in range(log_end_offset)]
        self._end()
        return entries, ends, owners

    def transaction_index(
        self, entries: Sequence[tuple[int, int, int, int]], fetch: int, upper: int, cut: int
    ) -> tuple[list[int], bool, bytes]:
        """An index of (producer id, first, last, last stable offset).

        Returns the last offsets found in [fetch, upper), whether that is all, and the file after
        truncation to `cut`.
        """
        order = b"T" + struct.pack(">i", len(entries))
        order += b"".join(struct.pack(">qqqq", *entry) for entry in entries)
        self._send(order + struct.pack(">qqq", fetch, upper, cut))
        is_complete, count = self._unpack(">?i")
        found = [self._unpack(">q")[0] for _ in range(count)]
        data = self._read(self._unpack(">i")[0])
        self._end()
        return found, bool(is_complete), data

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _send(self, order: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(order)
        self._process.stdin.flush()

    def _read(self, size: int) -> bytes:
        assert self._process.stdout is not None
        data = self._process.stdout.read(size)
        assert len(data) == size, "the JVM of the oracle ended by itself"
        return data

    def _unpack(self, form: str) -> tuple[int, ...]:
        return struct.unpack(form, self._read(struct.calcsize(form)))

    def _text(self) -> str:
        return self._read(self._unpack(">H")[0]).decode(errors="replace")

    def _end(self) -> None:
        assert self._read(1) == b"."


def _utf(text: str) -> bytes:
    raw = text.encode()
    return struct.pack(">H", len(raw)) + raw
