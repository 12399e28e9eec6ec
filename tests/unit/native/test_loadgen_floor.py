"""The floor server, driven by the load generator."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.native.loadgen_peer import (
    NOW_MS,
    framed,
    plain_template,
)
from tidelog._native.loadgen import (
    MAX_FLOOR_PARTITIONS,
    FloorServer,
    LoadError,
    LoadGenerator,
)
from tidelog.benchmarks.batches import Batch, sized_batch
from tidelog.benchmarks.requests import Template, fence_request, fetch_request, produce_request


@contextmanager
def floor(directory: Path, **options: Any) -> Iterator[tuple[FloorServer, tuple[str, int]]]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = FloorServer(listener, str(directory), **options)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server, listener.getsockname()
    finally:
        server.stop()
        thread.join()
        listener.close()


def load(address: tuple[str, int], kind: Any, version: int, template: Template, **options: Any):  # type: ignore[no-untyped-def]
    count = options.pop("count")
    generator = LoadGenerator(kind, version, **options)
    with socket.create_connection(address) as client:
        generator.add_connection(client.fileno(), [template], fence_request())
        return generator.run(max_requests=count)


@pytest.mark.parametrize("produce_version", [3, 7, 8, 9, 12])
@pytest.mark.parametrize("size", [255, 300_000])
def test_the_floor_keeps_what_it_is_given(tmp_path: Path, produce_version: int, size: int) -> None:
    batch = sized_batch(size, NOW_MS)
    template = produce_request(produce_version, {"t": {2: batch}})
    count = 200 if size == 255 else 8
    with floor(tmp_path, preallocate=size == 255) as (server, address):
        counts = load(address, "produce", produce_version, template, in_flight=16, count=count)
        assert counts["last_base_offset"] == (count - 1) * batch.record_count
        assert server.requests == count
        for version in (4, 7, 11, 12):
            request = fetch_request(
                version,
                {"t": {2: (0, count * batch.record_count)}},
                max_bytes=1 << 20,
                partition_max_bytes=1 << 20,
            )
            got = load(address, "fetch", version, request, count=3, verify_crc=True)
            assert got["batches"] >= 3
            dropped = load(address, "fetch", version, request, count=3, discard=True)
            assert dropped["record_bytes"] == got["record_bytes"]
    stored = (tmp_path / "2.log").read_bytes()
    assert len(stored) == count * size
    for number in range(count):
        piece = stored[number * size : (number + 1) * size]
        assert piece[:8] == struct.pack(">q", number * batch.record_count)
        assert piece[16:] == batch.data[16:]


@pytest.mark.parametrize("answer_each", [False, True])
def test_the_floor_answers_together_or_one_by_one(tmp_path: Path, answer_each: bool) -> None:
    template = plain_template()
    requests = b"".join([template.frame] * 20)
    with (
        floor(tmp_path, answer_each=answer_each) as (_, address),
        socket.create_connection(address, timeout=20) as client,
        client.makefile("rb") as answers,  # its read() waits for all; recv() takes what is there
    ):
        client.sendall(requests)
        size = int.from_bytes(answers.read(4), "big") + 4
        rest = answers.read(20 * size - 4)
        assert len(rest) == 20 * size - 4


def test_the_floor_writes_several_partitions_of_one_request(tmp_path: Path) -> None:
    template = produce_request(9, {"t": {0: sized_batch(255, NOW_MS), 1: sized_batch(400, NOW_MS)}})
    with floor(tmp_path) as (_, address):
        assert load(address, "produce", 9, template, in_flight=3, count=10)["batches"] == 20
    assert [(tmp_path / f"{p}.log").stat().st_size for p in (0, 1)] == [2550, 4000]


def test_the_floor_refuses_what_is_broken(tmp_path: Path) -> None:
    batch = sized_batch(255, NOW_MS)
    bad = Batch(batch.data[:-1] + b"\xff", batch.record_count)
    with floor(tmp_path) as (_, address):
        for wrong, code in ((bad, 2), (Batch(b"short", 1), 2)):
            with pytest.raises(LoadError) as caught:
                load(address, "produce", 9, produce_request(9, {"t": {0: wrong}}), count=1)
            assert caught.value.kafka_error == code
        beyond = produce_request(9, {"t": {MAX_FLOOR_PARTITIONS: batch}})
        with pytest.raises(LoadError) as caught:
            load(address, "produce", 9, beyond, count=1)
        assert caught.value.kafka_error == 3
        unknown = fence_request()[:4] + b"\0\x03" + fence_request()[6:]  # Metadata
        with pytest.raises(LoadError) as caught:
            load(address, "raw", 0, Template(unknown, 0), count=1)
        assert caught.value.reason == "closed"
    with floor(tmp_path, check_crc=False) as (_, address):
        assert (
            load(address, "produce", 9, produce_request(9, {"t": {0: bad}}), count=1)["batches"]
            == 1
        )


@given(st.binary(max_size=120))
@settings(max_examples=30, deadline=None)
def test_the_floor_survives_noise(data: bytes) -> None:
    with noisy_floor() as address, socket.create_connection(address, timeout=10) as client:
        client.sendall(framed(data))
        client.shutdown(socket.SHUT_WR)
        while client.recv(65536):
            pass


@contextmanager
def noisy_floor() -> Iterator[tuple[str, int]]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder, floor(Path(folder)) as (_, address):
        yield address
