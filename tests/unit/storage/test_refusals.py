"""Tests of the lines about refused appends."""

from __future__ import annotations

import errno

import pytest

from tidelog.storage.refusals import QUIET_MS, Refusals


def test_one_line_now_and_then_with_the_number(caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals("t", 3)
    error = OSError(errno.ENOSPC, "no room")
    for now_ms in (0, 1, QUIET_MS - 1, QUIET_MS, QUIET_MS + 1):
        refusals.note(error, now_ms)
    assert refusals.last_error is error
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split(" error=")[0] for line in lines] == [
        "append refused topic=t partition=3 times=1",
        "append refused topic=t partition=3 times=3",
    ]
