"""What the tests of recovery share."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory if there is such a place: the disk tests make thousands of small files."""
    if os.access("/dev/shm", os.W_OK):
        with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="tidelog-disk-") as name:
            yield Path(name)
    else:
        yield tmp_path
