"""Random values out of a string of bytes that hypothesis draws.

One draw per example instead of one per field: hundreds of (message, version) pairs are then tested
in seconds, and hypothesis still shrinks, since smaller bytes mean emptier messages. Used up bytes
read as 0, the simplest choice everywhere. TIDELOG_EXAMPLES is the number of examples of each pair.
"""

import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("TIDELOG_EXAMPLES", "6"))

# Deadlines and profiling say nothing about the codec: an example's time is mostly hypothesis'.
exhaustive = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None
)

ALPHABET = "a-.Zµé€𝄞\x00\x7f"


class Entropy:
    """A reader of random bytes that turns them into values."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._next = 0

    def byte(self) -> int:
        """0 to 255."""
        self._next += 1
        return self._data[self._next - 1] if self._next <= len(self._data) else 0

    def below(self, limit: int) -> int:
        """0 to limit - 1."""
        return self.byte() % limit

    def flag(self) -> bool:
        """True or False."""
        return self.byte() % 2 == 1

    def integer(self, low: int, high: int) -> int:
        """Within low and high, often at an edge."""
        kind = self.below(6)
        if kind == 0:
            return min(max(0, low), high)
        if kind <= 3:
            return (low, high, min(max(-1, low), high))[kind - 1]
        if kind == 4:
            return min(max(self.byte(), low), high)
        raw = int.from_bytes(bytes(self.byte() for _ in range(8)))
        return low + raw % (high - low + 1)

    def length(self) -> int:
        """Mostly 0 to 3; at times beyond what one byte of a varint holds."""
        kind = self.byte()
        return 120 + self.below(16) if kind >= 250 else kind % 4

    def text(self) -> str:
        """A string."""
        return "".join(ALPHABET[self.below(len(ALPHABET))] for _ in range(self.length()))

    def blob(self, size: int | None = None) -> bytes:
        """Bytes."""
        return bytes(self.byte() for _ in range(self.length() if size is None else size))

    def real(self) -> float:
        """A finite float."""
        return float(self.integer(-(2**40), 2**40)) / 8.0


entropies = st.binary(min_size=300, max_size=900).map(Entropy)
