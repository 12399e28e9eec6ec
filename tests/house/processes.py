"""What a program holds of the system: processes of a group, listening ports, descriptors, threads.

For tests that start brokers and see that nothing is left of them. Read from /proc.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path


def group(leader: int) -> set[int]:
    """The processes of the leader's group that run."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(words[2]) == leader and words[0] not in "ZX":
            found.add(int(path.parent.name))
    return found


def listens(port: int) -> bool:
    """Whether a socket of this machine listens on the port."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port for row in rows)


def held() -> tuple[set[str], set[str]]:
    """Descriptors and threads of this process."""
    descriptors = {
        f"{fd} {os.readlink(f'/proc/self/fd/{fd}')}"
        for fd in os.listdir("/proc/self/fd")
        if os.path.exists(f"/proc/self/fd/{fd}")
    }
    return descriptors, {thread.name for thread in threading.enumerate()}
