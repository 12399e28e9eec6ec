"""Runs scenarios by hand and shows every output on the reference, and where Tidelog's differs.

python -m tests.compat.tools_parity [--quiet] [scenario ...]
"""

from __future__ import annotations

import argparse
import fnmatch
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.compat.conftest import Target, running_target
from tests.compat.reference import ReferenceBroker
from tests.compat.tools import ToolServer
from tests.compat.tools_parity import load_scenarios
from tests.compat.tools_parity.compare import problems
from tests.compat.tools_parity.play import Player
from tests.compat.tools_parity.steps import SCENARIOS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quiet", action="store_true", help="only the differences")
    parser.add_argument("--workers", default="1", help="nodes of Tidelog")
    parser.add_argument("scenario", nargs="*", help="names or patterns; all without")
    options = parser.parse_args()
    load_scenarios()
    chosen = [
        name
        for name in SCENARIOS
        if not options.scenario or any(fnmatch.fnmatch(name, p) for p in options.scenario)
    ]
    with (
        tempfile.TemporaryDirectory(prefix="tidelog-tools-") as folder,
        ReferenceBroker() as broker,
        running_target(Path(folder), "--workers", options.workers) as target,
        ToolServer() as our_tools,
        ToolServer() as their_tools,
        ThreadPoolExecutor(2) as pool,
    ):
        reference = Target("reference", broker.bootstrap, broker.data_dir)
        for name in chosen:
            steps = SCENARIOS[name].steps
            start = time.monotonic()
            futures = [
                pool.submit(Player(tools, side, Path(folder) / name / side.name).play, steps)
                for tools, side in ((our_tools, target), (their_tools, reference))
            ]
            failures = [error for future in futures if (error := future.exception()) is not None]
            print(f"=== {name}: {time.monotonic() - start:.1f} s", flush=True)
            if failures:
                print("!!! failed:", *(repr(error) for error in failures), flush=True)
                continue
            ours, theirs = (future.result() for future in futures)
            if not options.quiet:
                for shown in theirs:
                    print(f"$ {shown.run.line}", *shown.lines, sep="\n")
            for problem in problems(ours, theirs):
                print("!!!", problem, flush=True)


if __name__ == "__main__":
    main()
