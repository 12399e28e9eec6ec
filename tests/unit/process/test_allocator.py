"""In a process of its own: the setting is for all of its life."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
from tidelog.process.allocator import give_freed_memory_back

def resident_mb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 >> 20

given = give_freed_memory_back()
before = resident_mb()
bytes(24 << 20)  # glibc would keep blocks up to this size from now on
blocks = [bytearray(b"x" * (1 << 20)) for _ in range(64)]
kept = blocks[-1]
most = resident_mb()
del blocks
print(given, most - before >= 64, resident_mb() - before < 16)
"""


def test_large_blocks_are_given_back() -> None:
    found = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert found.stdout.split() == ["True", "True", "True"], found.stderr
