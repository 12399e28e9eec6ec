"""Asks a fresh reference broker every scenario and writes its answers to recorded.json.

    python -m tests.compat.parity.record [scenario ...]

Named scenarios replace only their own answers.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.compat.parity import load_scenarios
from tests.compat.parity.session import SCENARIOS, run
from tests.compat.reference import ReferenceBroker

RECORDED = Path(__file__).with_name("recorded.json")
REFERENCE_SETTINGS = {"log.retention.check.interval.ms": "1000000"}


def read() -> dict[str, dict[str, Any]]:
    """The recorded answers by scenario and label."""
    return json.loads(RECORDED.read_text()) if RECORDED.exists() else {}


def plain(value: Any) -> Any:
    """Observations as they come back from JSON."""
    return json.loads(json.dumps(value))


def main() -> None:
    load_scenarios()
    names = sys.argv[1:] or list(SCENARIOS)
    found = read() if sys.argv[1:] else {}
    with ReferenceBroker(overrides=REFERENCE_SETTINGS) as broker:
        for name in names:
            found[name] = run(name, "127.0.0.1", broker.port)
    lines = []
    for name in sorted(found):
        rows = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in found[name].items())
        lines.append(f" {json.dumps(name)}: {{\n{rows}\n }}")
    RECORDED.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
