"""The native modules under test are those of the mode that the suite was started for."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

from tests.house.build_tools import native_build

ROOT = Path(__file__).resolve().parents[3]


def test_native_modules_come_from_the_build_under_test() -> None:
    mode = os.environ.get("TIDELOG_TEST_MODE", "release")
    folder = ROOT / "engine" if mode == "release" else ROOT / "build" / mode
    names = native_build.module_names()
    assert names
    for name in names:
        module = importlib.import_module(f"{native_build.PACKAGE}.{name}")
        assert module.__file__ is not None
        assert Path(module.__file__).is_relative_to(folder), module.__file__
