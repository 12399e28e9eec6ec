"""Runs one fuzz target under atheris, guided by the coverage of Python and native code.

    python -m tests.fuzz.fuzzer TARGET [libFuzzer options] [folders]

A process of its own, started by tests/fuzz/campaign.py on modules of the build mode `fuzz`: they
are under AddressSanitizer, and tell their edges to coverage.c. An input that breaks something ends
the process; libFuzzer leaves the input in the folder given.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys

import atheris

from tests.fuzz import registry


def main() -> None:
    name, *options = sys.argv[1:]
    # What the engine says of each damaged file would be all that is to be read.
    logging.disable(logging.CRITICAL)
    ctypes.CDLL(None).tidelog_watch_native_code()
    with atheris.instrument_imports(include=["tidelog"]):
        target = registry.load(name)
    # A merge starts argv[0] again: the script of the campaign, which starts this module.
    argv = [os.environ.get("TIDELOG_FUZZ_SCRIPT", sys.argv[0]), *options]
    atheris.Setup([*argv, f"-max_len={target.max_input_bytes}"], target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
