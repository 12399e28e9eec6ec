"""A floor server in a thread, for tests that need some broker that keeps what it is given."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tidelog._native.loadgen import FloorServer
from tidelog.benchmarks.cluster import Address
from tidelog.benchmarks.floor import FloorCluster


@contextmanager
def running_floor(directory: Path) -> Iterator[tuple[FloorCluster, Address]]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = FloorServer(listener, str(directory))
    thread = threading.Thread(target=server.serve)
    thread.start()
    host, port = listener.getsockname()
    try:
        yield FloorCluster((host, port)), (host, port)
    finally:
        server.stop()
        thread.join()
        listener.close()
