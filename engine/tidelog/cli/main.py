"""The `tidelog` command. Runs in the user's shell; the broker it starts knows nothing of it.

`serve` goes straight to the broker: neither this command's libraries nor a Kafka client are loaded
into a broker process.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["serve"]:
        from tidelog.process.serve import main as serve

        return serve(arguments[1:])
    from tidelog.cli.app import run

    return run(arguments)
