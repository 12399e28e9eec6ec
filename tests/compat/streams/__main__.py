"""`python -m tests.compat.streams --seconds 120`: see `ordeal`."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.compat.streams.ordeal import Ordeal


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="tidelog-streams-") as folder,
        Ordeal(Path(folder), args.seed) as ordeal,
    ):
        ordeal.run(args.seconds)
        print(ordeal.told())
        for problem in ordeal.problems:
            print(f"PROBLEM {problem}")
        return 1 if ordeal.problems else 0


if __name__ == "__main__":
    sys.exit(main())
