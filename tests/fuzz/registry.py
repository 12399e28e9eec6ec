"""The fuzz targets by name, and their corpora.

A target is a module of tests/fuzz/targets with `run(data)`, which raises when something does not
hold, `seeds()`, which yields names and inputs of a good start, and MAX_INPUT_BYTES. Inputs that
were found stand in tests/fuzz/corpus/<target>, named by their hash when they only reach further,
and by what they were when they showed a fault.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CORPUS: Final = Path(__file__).parent / "corpus"
#: In the order in which `make fuzz` runs them.
NAMES: Final = (
    "messages",
    "handlers",
    "records",
    "cleaning",
    "recovery",
    "files",
    "stores",
    "lanes",
    "frames",
)


@dataclass(frozen=True)
class Target:
    """One target, imported."""

    name: str
    run: Callable[[bytes], None]
    seeds: Callable[[], Iterator[tuple[str, bytes]]]
    max_input_bytes: int

    @property
    def corpus(self) -> Path:
        return CORPUS / self.name

    def inputs(self) -> Iterator[tuple[str, bytes]]:
        """Seeds and corpus, by name."""
        yield from self.seeds()
        for path in sorted(self.corpus.iterdir()) if self.corpus.is_dir() else ():
            yield path.name, path.read_bytes()


def load(name: str) -> Target:
    """Imports the target (which a fuzzer has instrumented meanwhile)."""
    module = importlib.import_module(f"tests.fuzz.targets.{name}")
    return Target(name, module.run, module.seeds, module.MAX_INPUT_BYTES)
