"""Reasons: numbers without gaps, texts for all, codes that Kafka has."""

from __future__ import annotations

from pathlib import Path

from tidelog.protocol.error_codes import ErrorCode
from tidelog.record.reasons import REASONS, InvalidBatchError, Reason, RecordError

CONTRACT = Path(__file__).resolve().parents[3] / "ext" / "tidelog" / "_native" / "batch.pxd"


def test_numbers_are_those_of_the_native_contract() -> None:
    native = {}
    for line in CONTRACT.read_text().splitlines():
        name, separator, value = line.partition("=")
        if separator and name.strip().startswith("REASON_"):
            native[name.strip().removeprefix("REASON_")] = int(value.split("#")[0])
    assert len(native) == 22
    assert native == {one.name: int(one) for one in Reason if int(one) < len(native)}


def test_texts_by_number() -> None:
    assert [int(one) for one in Reason] == list(range(len(REASONS)))
    assert all(REASONS[one] == one.text for one in Reason)
    texts = [one.text for one in Reason if one != Reason.NONE]
    assert len(set(texts)) == len(texts)
    # The native lane counts their bytes, and a text is one sentence.
    assert all(text.isascii() and text.endswith(".") and len(text) < 200 for text in texts)


def test_codes_exist() -> None:
    for one in Reason:
        assert ErrorCode(one.error_code).value == one.error_code
        assert (one.error_code == 0) is (one == Reason.NONE)


def test_the_error_carries_all_that_an_answer_needs() -> None:
    error = InvalidBatchError(Reason.KEY_MISSING, 4, [RecordError(4, "no key")], "In t-0.")
    assert error.error_code == 87
    assert error.message == f"{Reason.KEY_MISSING.text} In t-0."
    assert error.record_errors == (RecordError(4, "no key"),)
    assert InvalidBatchError(Reason.CRC).message == Reason.CRC.text
    assert InvalidBatchError(Reason.CRC).record_index == -1
