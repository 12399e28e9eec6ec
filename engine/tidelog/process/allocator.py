"""Has freed memory given back to the system. Called once by a worker's process before it serves.

glibc keeps freed blocks of up to 32 MiB for the next ones of their size, once one such block was
freed: after a burst of large requests or of batches that had to be opened, a worker would keep for
good what it needed for a second. The blocks that the hot lane needs live as long as their
connections.
"""

from __future__ import annotations

import ctypes
from typing import Final

from tidelog.limits import MAPPED_BLOCK_BYTES_MIN

_M_MMAP_THRESHOLD: Final = -3


def give_freed_memory_back() -> bool:
    """Blocks from MAPPED_BLOCK_BYTES_MIN on are mapped and unmapped one by one. False where the C
    library has no such setting."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and mallopt(_M_MMAP_THRESHOLD, MAPPED_BLOCK_BYTES_MIN) == 1
