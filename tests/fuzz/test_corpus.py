"""Every seed and every input that fuzzing has found, once again: none of them may break anything.

On the release build in `make test`, under AddressSanitizer in `make debug SANITIZE=address`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.fuzz import registry

#: Inputs of one target in one test: a fault names the input, whichever part it is in.
PARTS = 4


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """A log record that pytest keeps would keep the logs that it names, and their files, open."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("name", registry.NAMES)
def test_corpus(name: str, part: int) -> None:
    target = registry.load(name)
    inputs = list(target.inputs())
    assert len(inputs) >= PARTS
    for input_name, data in inputs[part::PARTS]:
        try:
            target.run(data)
        except Exception as error:
            error.add_note(f"fuzz target {name}, input {input_name}")
            raise


def test_corpus_is_small() -> None:
    sizes = [path.stat().st_size for path in registry.CORPUS.rglob("*") if path.is_file()]
    assert len(sizes) <= 800
    assert sum(sizes) <= 2_000_000


def test_corpus_has_a_target_for_every_folder() -> None:
    assert {path.name for path in registry.CORPUS.iterdir()} <= set(registry.NAMES)
