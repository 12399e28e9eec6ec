"""Types of the native decoder. Handlers use tidelog.protocol.codec instead."""

from typing import Any

from tidelog._native.codec_plan import Plan

def decode(
    plan: Plan,
    buffer: bytes | bytearray | memoryview,
    offset: int = 0,
    keep_unknown: bool = False,
    elements_max: int = ...,
) -> tuple[Any, int]: ...
