"""A transactional producer whose batches are encoded before they are sent, by the native load
generator: it costs next to nothing beside the broker.

It speaks version 2 of the protocol (KIP-890): Produce v12 adds the partitions to the transaction,
and EndTxn v5 answers with the producer epoch of the next one. The first batch of each partition is
sent here, again and again where the transaction before is still being completed; the rest is the
generator's.
"""

import socket
import time
from collections.abc import Sequence

from tidelog._native.loadgen import LoadGenerator, parse_produce_response
from tidelog.benchmarks.batches import Batch, encode_batch
from tidelog.benchmarks.requests import Template, produce_request
from tidelog.protocol.codec import decode_response, encode_request_frame
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.end_txn import EndTxnRequest, EndTxnResponse
from tidelog.protocol.messages.find_coordinator import (
    FindCoordinatorRequest,
    FindCoordinatorResponse,
)
from tidelog.protocol.messages.init_producer_id import (
    InitProducerIdRequest,
    InitProducerIdResponse,
)
from tidelog.protocol.schema import Request

PRODUCE_VERSION = 12
END_TXN_VERSION = 5
IN_FLIGHT = 5
RECORDS = 15  # of 1 KiB: a batch of about 16 KiB
RECORD = bytes(1024)
TIMEOUT_S = 60.0
RETRY_S = 0.001
_TRANSACTION = 1
_AGAIN = frozenset(
    (
        ErrorCode.CONCURRENT_TRANSACTIONS,
        ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
        ErrorCode.COORDINATOR_NOT_AVAILABLE,
        ErrorCode.NOT_COORDINATOR,
        ErrorCode.NOT_ENOUGH_REPLICAS,
    )
)


class EncodedProducer:
    """For a cluster of one node: leader and coordinator are the node that it connects to."""

    def __init__(self, bootstrap: str, name: str, topic: str, partitions: int) -> None:
        host, _, port = bootstrap.split(",")[0].rpartition(":")
        self._name = name
        self._topic = topic
        self._partitions = range(partitions)
        self._peer = socket.create_connection((host, int(port)), TIMEOUT_S)
        self._peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._find_coordinator()
        answer = self._ask(
            InitProducerIdRequest(transactional_id=name, transaction_timeout_ms=60_000), 4
        )
        assert isinstance(answer, InitProducerIdResponse)
        self._producer_id, self._epoch = answer.producer_id, answer.producer_epoch

    def stream(self, seconds: float, commit_every_s: float) -> tuple[int, int, float]:
        """(records, transactions, seconds)."""
        records = transactions = 0
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            until = time.monotonic() + commit_every_s
            records += self._begin()
            left_s = until - time.monotonic()
            if left_s > 0:
                records += self._go_on(left_s)
            self._commit()
            transactions += 1
        return records, transactions, time.monotonic() - began

    def wide(self, seconds: float) -> tuple[int, int, float]:
        """Transactions of one request that has a batch for each partition: the same counts."""
        transactions = 0
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            request = produce_request(
                PRODUCE_VERSION,
                {self._topic: dict.fromkeys(self._partitions, self._batch(0))},
                acks=-1,
                transactional_id=self._name,
            )
            while self._send(request):
                time.sleep(RETRY_S)
            self._commit()
            transactions += 1
        records = transactions * RECORDS * len(self._partitions)
        return records, transactions, time.monotonic() - began

    def _begin(self) -> int:
        """The first batch of each partition."""
        for partition in self._partitions:
            (template,) = self._templates([partition], 0)
            while self._send(template):
                time.sleep(RETRY_S)
        return RECORDS * len(self._partitions)

    def _send(self, template: Template) -> bool:
        """Returns whether it has to be sent again."""
        self._peer.sendall(template.frame)
        parts, _ = parse_produce_response(self._receive()[4:], PRODUCE_VERSION)
        codes = {code for _, code, _ in parts} - {ErrorCode.NONE}
        for code in codes - _AGAIN:
            raise RuntimeError(f"produce: {ErrorCode(code).name}")
        return bool(codes)

    def _go_on(self, seconds: float) -> int:
        generator = LoadGenerator("produce", PRODUCE_VERSION, in_flight=IN_FLIGHT)
        generator.add_connection(self._peer.fileno(), self._templates(self._partitions, RECORDS))
        counts = generator.run(seconds=seconds)
        self._peer.settimeout(TIMEOUT_S)
        return counts["records"]

    def _commit(self) -> None:
        answer = self._ask(
            EndTxnRequest(
                transactional_id=self._name,
                producer_id=self._producer_id,
                producer_epoch=self._epoch,
                committed=True,
            ),
            END_TXN_VERSION,
        )
        assert isinstance(answer, EndTxnResponse)
        self._producer_id, self._epoch = answer.producer_id, answer.producer_epoch

    def _templates(self, partitions: Sequence[int], base_sequence: int) -> list[Template]:
        batch = self._batch(base_sequence)
        return [
            produce_request(
                PRODUCE_VERSION,
                {self._topic: {partition: batch}},
                acks=-1,
                transactional_id=self._name,
            )
            for partition in partitions
        ]

    def _batch(self, base_sequence: int) -> Batch:
        return encode_batch(
            [RECORD] * RECORDS,
            int(time.time() * 1000),
            producer_id=self._producer_id,
            producer_epoch=self._epoch,
            base_sequence=base_sequence,
            transactional=True,
        )

    def _find_coordinator(self) -> None:
        """Makes the broker make its transaction log."""
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            request = FindCoordinatorRequest(key_type=_TRANSACTION, coordinator_keys=[self._name])
            self._peer.sendall(encode_request_frame(request, 4, 0, "load"))
            _, answer = decode_response(request.API, 4, self._receive())
            assert isinstance(answer, FindCoordinatorResponse)
            if not answer.coordinators[0].error_code:
                return
            time.sleep(0.05)
        raise RuntimeError("no transaction coordinator")

    def _ask(self, request: Request, version: int) -> object:
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            self._peer.sendall(encode_request_frame(request, version, 0, "load"))
            _, answer = decode_response(request.API, version, self._receive())
            code = answer.error_code  # type: ignore[attr-defined]  # of every answer asked for here
            if not code:
                return answer
            if code not in _AGAIN or time.monotonic() > deadline:
                raise RuntimeError(f"{type(request).__name__}: {ErrorCode(code).name}")
            time.sleep(RETRY_S)

    def _receive(self) -> bytes:
        size = int.from_bytes(self._exactly(4), "big")
        return self._exactly(size)

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            piece = self._peer.recv(size - len(data))
            if not piece:
                raise ConnectionError("the broker closed the connection")
            data += piece
        return bytes(data)
