"""Files from the disk to another process over the loopback, by what a follower's catching up takes
at the very least:

python -m bench.load.bare_copy [--into DIR] FILE...

One process sends with sendfile, another receives and throws away what it gets, or writes it to a
file in DIR. Prints MB/s. Evict the files before, if the disk is meant.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tidelog.benchmarks.shapes import MEGABYTE

SLICE_BYTES = 1 << 20


def send(connection: socket.socket, files: Sequence[Path]) -> int:
    """Returns the bytes sent."""
    sent = 0
    for path in files:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            at = 0
            while at < size:
                at += os.sendfile(connection.fileno(), file.fileno(), at, SLICE_BYTES)
            sent += at
    return sent


def receive(connection: socket.socket, into: Path | None) -> None:
    """All of it. What is written is gone when that is done."""
    room = memoryview(bytearray(SLICE_BYTES))
    with tempfile.TemporaryFile(dir=into, buffering=0) as file:
        while True:
            n = connection.recv_into(room, 0, socket.MSG_WAITALL)
            if n == 0:
                return
            if into is not None:
                file.write(room[:n])


def copy(files: Sequence[Path], into: Path | None) -> float:
    """MB/s, until the last byte is received and, with `into`, written."""
    here, there = _loopback()
    receiver = os.fork()
    if receiver == 0:
        here.close()
        receive(there, into)
        os._exit(0)
    there.close()
    began = time.perf_counter()
    with here:
        sent = send(here, files)
    _, status = os.waitpid(receiver, 0)
    if status != 0:
        raise SystemExit(f"the receiver ended with {status}")
    return sent / MEGABYTE / (time.perf_counter() - began)


def _loopback() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        here = socket.create_connection(listener.getsockname())
        there, _ = listener.accept()
    return here, there


def copied(files: Sequence[Path], into: Path | None = None) -> float:
    """The same in processes of its own, beside whatever the caller does meanwhile."""
    command = [sys.executable, "-m", "bench.load.bare_copy", *map(str, files)]
    if into is not None:
        command += ["--into", str(into)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--into", type=Path, metavar="DIR")
    args = parser.parse_args(argv)
    print(copy(args.files, args.into))


if __name__ == "__main__":
    main()
