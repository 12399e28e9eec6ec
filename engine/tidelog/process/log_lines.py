"""Log lines of a process: one line for one event on standard error.

    2026-01-31T12:00:00.123Z info node=1 event="worker started" pid=42

Modules log through the standard `logging`; by convention a message is an event in a few words
followed by its fields ("log recovered topic=%s partition=%d"), and anything else is quoted as
`msg`. Set up once by each process; never used by a library caller. Writing never raises: a closed
standard error must not stop a broker.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from typing import Final, TextIO

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

#: A message by our convention: the event in words, then `key=%s` for each field.
_TEMPLATE: Final = re.compile(r"([a-z][a-z0-9_ -]*?)((?: [a-z][a-z0-9_.]*=%[-0-9.]*[a-z])*)")
_FIELD: Final = re.compile(r"([a-z][a-z0-9_.]*)=(%[-0-9.]*[a-z])")
_PLAIN: Final = re.compile(r"[^\s\"=]+")


def quoted(value: object) -> str:
    """The value as it stands after `key=`: bare when it is one word, else in quotes, always on one
    line.
    """
    text = str(value)
    if _PLAIN.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\r", "\\r")
    return '"' + escaped.replace("\n", "\\n") + '"'


def _event(record: logging.LogRecord) -> str:
    """The record as `event=... key=value ...`."""
    arguments = record.args if isinstance(record.args, tuple) else ()
    template = record.msg if isinstance(record.msg, str) else ""
    match = _TEMPLATE.fullmatch(template)
    fields = _FIELD.findall(match.group(2)) if match else []
    if match is None or len(fields) != len(arguments):
        return f"event=message logger={record.name} msg={quoted(record.getMessage())}"
    parts = [f"event={quoted(match.group(1))}"]
    for (key, form), value in zip(fields, arguments, strict=True):
        parts.append(f"{key}={quoted(form % (value,))}")
    return " ".join(parts)


class LineFormatter(logging.Formatter):
    """Formats a record as one line; `process` says who writes, e.g. "node=1" or "supervisor"."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        seconds, milliseconds = divmod(int(record.created * 1000), 1000)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        text = _event(record)
        if record.exc_info and record.exc_info[0] is not None:
            text += f" exception={quoted(self.formatException(record.exc_info))}"
        level = record.levelname.lower()
        return f"{stamp}.{milliseconds:03d}Z {level} {self._process} {text}"


class _Handler(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:
        """Nowhere to write to is no reason to stop."""


def set_up_logging(process: str, level: str = "warning") -> None:
    """Sends this process's log to standard error, from `level` on. Replaces what was set up before
    (a fork inherits it).
    """
    handler = _Handler(sys.stderr)
    handler.setFormatter(LineFormatter(process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(LEVELS[level])
