"""What older versions of transactional APIs call a fenced producer (KIP-588). Pure; belongs to no
task.

INVALID_PRODUCER_EPOCH was fatal for old clients, wherever it came from. Since PRODUCER_FENCED
exists, it means that only this transaction is to be aborted.
"""

from __future__ import annotations

from tidelog.protocol.error_codes import ErrorCode


def fencing_code(code: int, version: int, known_from: int) -> int:
    """The code for a client of this version; known_from: the first that knows PRODUCER_FENCED."""
    if code == ErrorCode.PRODUCER_FENCED and version < known_from:
        return ErrorCode.INVALID_PRODUCER_EPOCH
    return code
