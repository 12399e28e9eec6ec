"""python -m bench.micro (`make bench`): runs the micro benchmarks and says what has moved.

Compares with the committed figures, bench/micro/figures.json; --update writes them anew. Ends with
0 also when something has moved, since a benchmark is no test, and with 1 when one did not run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.micro.figures import (
    FiguresError,
    Timing,
    compare,
    figures,
    from_text,
    table,
    timings,
    to_text,
)

HERE = Path(__file__).resolve().parent
FIGURES = HERE / "figures.json"


class BenchmarkFailed(Exception):
    """pytest's own words."""


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.micro",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--update", action="store_true", help="write the figures of this run to the file")
    add("--passes", type=int, default=5, help="runs of everything, for the spread")
    add("--seconds", type=float, default=0.2, help="of each benchmark in each pass")
    add("--only", metavar="EXPRESSION", help="as pytest's -k, e.g. 'crc32c or groups'")
    add("--figures", type=Path, default=FIGURES)
    args = parser.parse_args(argv)
    if args.passes < 1:
        parser.error("--passes: at least 1")
    return args


def run_pass(args: argparse.Namespace, report: Path) -> dict[str, Timing]:
    """Raises BenchmarkFailed."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header"]
    command += ["--benchmark-disable-gc", "--benchmark-quiet", f"--benchmark-json={report}"]
    command += [f"--benchmark-max-time={args.seconds}", str(HERE)]
    if args.only:
        command += ["-k", f"({args.only}) or test_calibration"]
    # Under a distributed pytest, of which this is a child then, pytest-benchmark measures nothing.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        command, cwd=HERE.parents[1], env=environ, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BenchmarkFailed(done.stdout[-4000:] + done.stderr[-2000:])
    return timings(json.loads(report.read_text()))


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status; see the module."""
    args = parse_arguments(argv)
    passes = []
    try:
        old = from_text(args.figures.read_text()) if args.figures.exists() else {}
        with tempfile.TemporaryDirectory() as folder:
            for number in range(1, args.passes + 1):
                print(f"pass {number} of {args.passes}", file=sys.stderr, flush=True)
                passes.append(run_pass(args, Path(folder) / "report.json"))
        new = figures(passes)
    except (BenchmarkFailed, FiguresError) as error:
        print(f"a benchmark has failed:\n{error}", file=sys.stderr)
        return 1
    print(table(compare(old, new, whole=not args.only)))
    if args.update:
        args.figures.write_text(to_text((old | new) if args.only else new))
        print(f"written to {args.figures.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
