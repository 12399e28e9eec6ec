"""ext/tools/native_build.py for tests, loaded by its path: ext/ on sys.path would hide tidelog."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

_PATH = Path(__file__).resolve().parents[2] / "ext" / "tools" / "native_build.py"


def _load() -> Any:
    spec = importlib.util.spec_from_file_location("native_build", _PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["native_build"] = module
    spec.loader.exec_module(module)
    return module


native_build = _load()
