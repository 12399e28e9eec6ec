"""Every linter of the project, by name, for `make lint` and for the commit hooks.

    python tests/house/lint.py               all of them
    python tests/house/lint.py mypy layers   only these

All run, also after one has failed, so that one call shows everything.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
PYTHON_PLACES = ["setup.py", "engine", "ext", "bench", "tests"]

LINTERS: dict[str, list[str]] = {
    "ruff": ["ruff", "check", "--quiet", "--output-format=concise", *PYTHON_PLACES],
    "format": ["ruff", "format", "--check", "--quiet", *PYTHON_PLACES],
    "mypy": ["mypy"],
    "cython": ["cython-lint", "ext"],
    "layers": ["lint-imports", "--no-logo", "--cache-dir", "build/import-linter"],
}


def main(names: list[str]) -> int:
    if unknown := set(names) - set(LINTERS):
        raise SystemExit(
            f"no such linter: {', '.join(sorted(unknown))}; there are {', '.join(LINTERS)}"
        )
    failed = []
    # cython-lint starts pycodestyle by its bare name.
    environ = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"}
    for name in names or LINTERS:
        program, *arguments = LINTERS[name]
        started = time.monotonic()
        status = subprocess.run(
            [str(BIN / program), *arguments], cwd=ROOT, env=environ, check=False
        ).returncode
        verdict = "ok" if status == 0 else "FAILED"
        print(f"lint: {name}: {verdict} ({time.monotonic() - started:.1f} s)", flush=True)
        if status:
            failed.append(name)
    if failed:
        print(f"lint: FAILED: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
