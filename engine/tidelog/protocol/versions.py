"""Ranges of message versions as Kafka writes them: "3", "1-4", "9+", "none".

Pure values; belongs to no task.
"""

from typing import Final, NamedTuple, Self

MAX_VERSION: Final = 0x7FFF


class Versions(NamedTuple):
    """An inclusive range of versions; empty when low > high."""

    low: int
    high: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError when the text is no range."""
        if text == "none":
            return cls(0, -1)
        if text.endswith("+"):
            return cls(int(text[:-1]), MAX_VERSION)
        low, dash, high = text.partition("-")
        return cls(int(low), int(high if dash else low))

    def has(self, version: int) -> bool:
        """Whether the range holds the version."""
        return self.low <= version <= self.high

    def __str__(self) -> str:
        if self.low > self.high:
            return "none"
        if self.high == MAX_VERSION:
            return f"{self.low}+"
        return str(self.low) if self.low == self.high else f"{self.low}-{self.high}"


ALL: Final = Versions(0, MAX_VERSION)
NO_VERSIONS: Final = Versions(0, -1)
