"""One line for one event, whatever is in it."""

from __future__ import annotations

import io
import logging
import re
import sys

import pytest

from tidelog.process.log_lines import LineFormatter, quoted, set_up_logging


def line(message: str, *args: object, level: int = logging.WARNING) -> str:
    record = logging.LogRecord("tidelog.x", level, "f", 1, message, args, None)
    record.created = 1_700_000_000.25
    return LineFormatter("node=1").format(record)


def test_events_with_fields() -> None:
    expected = '2023-11-14T22:13:20.250Z warning node=1 event="log recovered" topic=t partition=3'
    assert line("log recovered topic=%s partition=%d", "t", 3) == expected
    assert line("started", level=logging.INFO).endswith("Z info node=1 event=started")
    assert line("took ms=%.1f", 1.25).endswith("event=took ms=1.2")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("word", "word"),
        (5, "5"),
        (None, "None"),
        ("", '""'),
        ("two words", '"two words"'),
        ('say "x"', '"say \\"x\\""'),
        ("a\nb\rc", '"a\\nb\\rc"'),
        ("a=b", '"a=b"'),
        ("back\\slash here", '"back\\\\slash here"'),
    ],
)
def test_values_stay_on_the_line(value: object, expected: str) -> None:
    assert quoted(value) == expected
    assert line("refused reason=%s", value).endswith(f"event=refused reason={expected}")


@pytest.mark.parametrize(
    ("message", "args"),
    [("Something: else", ()), ("free text %s", ("x",)), ("a\nb", ()), ("x=%s", (1,))],
)
def test_any_other_message_is_quoted(message: str, args: tuple[object, ...]) -> None:
    text = line(message, *args)
    assert "event=message logger=tidelog.x msg=" in text
    assert "\n" not in text


def test_exceptions_stay_on_the_line() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        info = sys.exc_info()
    record = logging.LogRecord("tidelog.x", logging.ERROR, "f", 1, "failed", (), info)
    text = LineFormatter("supervisor").format(record)
    assert "\n" not in text
    assert re.search(r'event=failed exception="Traceback .*ValueError: two\\nlines"', text)


def test_set_up_replaces_and_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    try:
        set_up_logging("supervisor", "debug")
        set_up_logging("node=2", "warning")
        logging.getLogger("tidelog.y").info("hidden")
        logging.getLogger("tidelog.y").warning("shown once")
        assert stream.getvalue().count("\n") == 1
        assert 'node=2 event="shown once"' in stream.getvalue()
        # Nobody reads it any more: no reason to fail.
        stream.close()
        logging.getLogger("tidelog.y").warning("lost")
    finally:
        root.handlers[:] = before[0]
        root.setLevel(before[1])
