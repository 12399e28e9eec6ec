"""Passes on packets that the router sends its way: late, never, twice, in another order.

    python -m tests.faults.relay DEVICE SEED DELAY_MS LOSS DUPLICATES

Owner: `net.Network`, in whose namespace it lives. It makes the TUN device, says "ready" when
packets can come, and ends with its standard input. Each packet waits for a random time up to
DELAY_MS, so that they overtake each other; LOSS and DUPLICATES are parts of one.
"""

from __future__ import annotations

import fcntl
import heapq
import os
import random
import select
import struct
import sys
import time
from typing import Final

_TUNSETIFF: Final = 0x400454CA
_IFF_TUN_NO_PI: Final = 0x1001
_PACKET_BYTES_MAX: Final = 65536
#: What comes while so many wait is lost, as in a switch.
_WAITING_MAX: Final = 10_000


class Line:
    """What becomes of packets. Pure: time is an argument."""

    def __init__(self, rng: random.Random, delay_ms: float, loss: float, duplicates: float) -> None:
        self._rng = rng
        self._delay_s = delay_ms / 1000
        self._loss = loss
        self._duplicates = duplicates
        self._waiting: list[tuple[float, int, bytes]] = []
        self._taken = 0

    def take(self, packet: bytes, now_s: float) -> None:
        """A packet has come."""
        copies = 2 if self._rng.random() < self._duplicates else 1
        for _ in range(copies):
            if self._rng.random() < self._loss or len(self._waiting) >= _WAITING_MAX:
                continue
            self._taken += 1
            due_s = now_s + self._rng.random() * self._delay_s
            heapq.heappush(self._waiting, (due_s, self._taken, packet))

    def due(self, now_s: float) -> list[bytes]:
        """What goes on now."""
        found = []
        while self._waiting and self._waiting[0][0] <= now_s:
            found.append(heapq.heappop(self._waiting)[2])
        return found

    def wait_s(self, now_s: float) -> float | None:
        """Until something is due; None when nothing waits."""
        return max(0.0, self._waiting[0][0] - now_s) if self._waiting else None


def open_device(name: str) -> int:
    """Makes the TUN device; it is gone when the descriptor is closed. Raises OSError."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH", name.encode(), _IFF_TUN_NO_PI))
    return device


def relay(device: int, line: Line) -> None:
    """Until standard input ends."""
    while True:
        ready = select.select([device, 0], [], [], line.wait_s(time.monotonic()))[0]
        if 0 in ready and not os.read(0, 4096):
            return
        if device in ready:
            try:
                while True:
                    line.take(os.read(device, _PACKET_BYTES_MAX), time.monotonic())
            except BlockingIOError:
                pass
        for packet in line.due(time.monotonic()):
            try:
                os.write(device, packet)
            except OSError:
                continue  # what the kernel does not take is lost


def main() -> None:
    device, seed, delay_ms, loss, duplicates = sys.argv[1:]
    descriptor = open_device(device)
    print("ready", flush=True)
    relay(
        descriptor,
        Line(random.Random(int(seed)), float(delay_ms), float(loss), float(duplicates)),
    )


if __name__ == "__main__":
    main()
