"""The floor as a process: `python -m tidelog.benchmarks.floor --data-dir DIR`; see FloorServer.

Prints `floor ready bootstrap=HOST:PORT pid=PID` and serves until SIGTERM or SIGINT, or until
whoever holds the other end of --parent-fd is gone.
"""

import argparse
import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping

from tidelog._native.loadgen import FloorServer, parse_fetch_response
from tidelog.benchmarks.cluster import Address, Control, TopicLayout
from tidelog.benchmarks.requests import API_FETCH, fetch_request


class FloorCluster:
    """Looks like `Cluster` for the floor server, which has no topics but partitions by number.

    Every "topic" shares the partitions of the server: start a new server for an empty one.
    """

    def __init__(self, address: Address) -> None:
        self._address = address

    def version(self, api_key: int, wanted: int) -> int:
        return min(wanted, 12)

    def create_topic(
        self, topic: str, partitions: int = 1, configs: Mapping[str, str] | None = None
    ) -> TopicLayout:
        return TopicLayout(topic, dict.fromkeys(range(partitions), self._address))

    def delete_topic(self, topic: str) -> None:
        """Nothing to delete: its files go when the server is stopped."""

    def offsets(self, layout: TopicLayout, partition: int) -> tuple[int, int]:
        """(0, log end offset): a fetch of no bytes tells the high watermark."""
        request = fetch_request(
            4, {layout.name: {partition: (0, 0)}}, max_bytes=0, partition_max_bytes=0
        )
        with Control(self._address) as control:
            answer = control.request(API_FETCH, 4, request.body)
        _, parts = parse_fetch_response(answer.data[answer.at :], 4)
        return 0, parts[0][2]

    def new_producer_id(self) -> tuple[int, int]:
        return 1, 0


def main() -> None:
    parser = argparse.ArgumentParser(description="The floor as a process.")
    parser.add_argument("--listen", default="127.0.0.1:0")
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--preallocate", action="store_true")
    parser.add_argument("--no-crc", action="store_true", help="skip the CRC check")
    parser.add_argument(
        "--answer-each", action="store_true", help="one send per answer, however many are ready"
    )
    parser.add_argument("--congestion", metavar="NAME", help="TCP congestion control, e.g. reno")
    parser.add_argument("--parent-fd", type=int, help="a socket; when it ends, so does the floor")
    args = parser.parse_args()
    host, _, port = args.listen.rpartition(":")
    os.makedirs(args.data_dir, exist_ok=True)
    listener = socket.create_server((host, int(port)))
    if args.congestion:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, args.congestion.encode())
    server = FloorServer(
        listener,
        args.data_dir,
        preallocate=args.preallocate,
        check_crc=not args.no_crc,
        answer_each=args.answer_each,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.stop())
    host, port = listener.getsockname()[:2]
    if args.parent_fd is not None:
        threading.Thread(target=watch, args=(args.parent_fd, server), daemon=True).start()
    sys.stdout.write(f"floor ready bootstrap={host}:{port} pid={os.getpid()}\n")
    sys.stdout.flush()
    server.serve()


def watch(parent_fd: int, server: FloorServer) -> None:
    """Stops the server at the end of the socket. On a thread of its own."""
    with socket.socket(fileno=parent_fd) as parent:
        parent.recv(1)
    server.stop()


if __name__ == "__main__":
    main()
