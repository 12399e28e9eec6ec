"""python -m bench.versus: see cli.py."""

import sys

from bench.versus.cli import main

if __name__ == "__main__":
    sys.exit(main())
