"""The targets can fail: each finds a fault that is put into what it looks at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.fuzz import registry
from tests.fuzz.lanes import lane_model
from tests.fuzz.targets import cleaning, files, messages, records, recovery, stores
from tidelog._native import batch as native
from tidelog.controller import configs as alterations
from tidelog.errors import KafkaError, MalformedMessageError
from tidelog.metastore.local import LocalMetastore
from tidelog.storage.log import PartitionLog


def finds(name: str, kinds: tuple[type[BaseException], ...] = (AssertionError,)) -> bool:
    """Whether one of the target's seeds shows a fault of one of these kinds."""
    for _, data in registry.load(name).seeds():
        try:
            registry.load(name).run(data)
        except kinds:
            return True
    return False


def test_a_message_that_ends_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    read = messages.decode_prefix

    def one_less(*arguments: Any, **options: Any) -> tuple[Any, int]:
        message, end = read(*arguments, **options)
        return message, end - 1

    monkeypatch.setattr(messages, "decode_prefix", one_less)
    assert finds("messages")


def test_a_message_that_only_one_codec_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Any:
        raise MalformedMessageError("no")

    monkeypatch.setattr(messages.twin, "decode", refuse)
    assert finds("messages")


def test_a_batch_that_is_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "check", lambda data, *_: (0, native.parse(data), 0, -1))
    assert finds("records")


def test_more_than_the_limit_of_decompression(monkeypatch: pytest.MonkeyPatch) -> None:
    unpack = records.decompress
    monkeypatch.setattr(records, "decompress", lambda codec, data, _: unpack(codec, data, 1 << 20))
    assert finds("records")


@pytest.mark.parametrize("name", ["lanes", "frames"])
def test_an_answer_that_does_not_come(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    outcome = lane_model.Outcome
    monkeypatch.setattr(lane_model, "Outcome", lambda answers, why: outcome(answers[:-1], why))
    assert finds(name)


def test_a_record_that_is_gone_after_a_start(monkeypatch: pytest.MonkeyPatch) -> None:
    read = PartitionLog.read_bytes
    monkeypatch.setattr(
        PartitionLog, "read_bytes", lambda log, offset, *_: read(log, max(offset, 3), 1)
    )
    assert finds("recovery")


def test_an_error_that_nobody_expects(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Any:
        raise KafkaError(1)

    monkeypatch.setattr(recovery.Opened, "start", broken)
    assert finds("recovery", (KafkaError,))


def test_a_controller_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Any:
        raise ValueError("nobody foresaw it")

    assert not finds("handlers")
    monkeypatch.setattr(alterations, "alter_configs", broken)
    assert finds("handlers")


def test_a_commit_that_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalMetastore, "commit", lambda store, records, version: version + 1)
    stores.good_files.cache_clear()
    try:
        assert finds("stores")
    finally:
        stores.good_files.cache_clear()


@pytest.mark.parametrize("name", ["decode_offsets", "decode_meta_properties", "decode_txns"])
def test_a_file_that_reads_otherwise(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    read: Callable[..., Any] = getattr(files, name)
    calls = []

    def once(*arguments: object) -> Any:
        calls.append(arguments)
        return read(*arguments) if len(calls) == 1 else None

    monkeypatch.setattr(files, name, once)
    assert finds("files")


def test_a_compaction_that_mixes_up_records(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = cleaning.decompress

    def reversed_values(*arguments: Any) -> bytes:
        return packed(*arguments).replace(b"key-1", b"key-9")

    monkeypatch.setattr(cleaning, "decompress", reversed_values)
    assert finds("cleaning")
