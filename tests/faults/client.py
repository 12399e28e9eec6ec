"""One client in a process of its own: does one kind of work until its standard input ends, and
writes what happened to a file.

    python -m tests.faults.client ROLE NAME BOOTSTRAP FILE [KEY=VALUE ...]

Owner: `workload`, which starts it in the clients' namespace. Roles are those of
`confluent_clients` and `aiokafka_clients`; KEY=VALUE are their arguments.

librdkafka may wait for ever for itself (seen in send_offsets_to_transaction of 2.16.1, which lost
the answer to its own request, and in a consumer's poll). A client that comes no further is told
apart from a broker that does not answer by time, since its requests end after two seconds; it goes
into the history and is started anew, as its users would do.
"""

from __future__ import annotations

import faulthandler
import itertools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from tests.faults.history import Operation, Trouble, encoder

#: Settings of every client that its users may change: faults are to be seen within a short run.
#: Nothing may be given up, so there is much time to deliver.
REQUEST_TIMEOUT_MS: Final = 2000
DELIVERY_TIMEOUT_MS: Final = 180_000
TRANSACTION_TIMEOUT_MS: Final = 15_000
FINISH_TIMEOUT_S: Final = 60.0
#: Longer than any call may take that does not wait for itself.
HANGS_S: Final = 75.0
_LIVES_OF_A_PROCESS: Final = 1000


def now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class Work:
    """What a role is given: where to connect, who it is, when to stop, where to write."""

    def __init__(self, name: str, bootstrap: str, file: Path, options: dict[str, str]) -> None:
        self.name = name
        self.bootstrap = bootstrap
        self.options = options
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._file = file.open("ab", buffering=0)
        self._alive_s = time.monotonic()
        threading.Thread(target=self._read_stdin, daemon=True).start()

    @property
    def stopped(self) -> bool:
        """Asked between any two steps of the work."""
        self.comes_further()
        return self._stop.is_set()

    def comes_further(self) -> None:
        """A call has returned."""
        self._alive_s = time.monotonic()

    @property
    def hangs(self) -> bool:
        return time.monotonic() - self._alive_s > HANGS_S

    def lives(self) -> Iterator[int]:
        """Numbers for the lives of a client, in this process and those after it."""
        return itertools.count(self.number("life", 0))

    def pause(self, seconds: float) -> None:
        """Between two steps; ends early when the work is to stop."""
        self._stop.wait(seconds)

    def tell(self, operation: Operation) -> None:
        """From any thread."""
        line = encoder.encode(operation) + b"\n"
        with self._lock:
            self._file.write(line)

    def trouble(self, error: object, *, fatal: bool = False) -> None:
        self.tell(Trouble(self.name, now_ms(), str(error), fatal))

    def number(self, key: str, otherwise: int) -> int:
        return int(self.options.get(key, otherwise))

    def topics(self) -> list[str]:
        return self.options["topics"].split(",")

    def _read_stdin(self) -> None:
        # Not through sys.stdin: its lock would be held when the process ends.
        while os.read(0, 4096):
            pass
        self._stop.set()


def roles() -> dict[str, Callable[[Work], None]]:
    from tests.faults import aiokafka_clients, confluent_clients

    return {**confluent_clients.ROLES, **aiokafka_clients.ROLES}


def main() -> None:
    faulthandler.enable()  # a client that hangs is ended with SIGABRT, and says where it was
    role, name, bootstrap, file, *pairs = sys.argv[1:]
    options = dict(pair.split("=", 1) for pair in pairs)
    work = Work(name, bootstrap, Path(file), options)
    threading.Thread(target=watch, args=(work,), daemon=True).start()
    roles()[role](work)


def watch(work: Work) -> None:
    """Starts the process anew when its work comes no further."""
    while not work.hangs:
        time.sleep(HANGS_S / 100)
    faulthandler.dump_traceback()
    work.trouble(f"comes no further for {HANGS_S:.0f} s", fatal=True)
    life = work.number("life", 0) + _LIVES_OF_A_PROCESS
    arguments = [one for one in sys.argv[1:] if not one.startswith("life=")]
    python = [sys.executable, "-m", "tests.faults.client"]
    os.execv(sys.executable, [*python, *arguments, f"life={life}"])


if __name__ == "__main__":
    main()
