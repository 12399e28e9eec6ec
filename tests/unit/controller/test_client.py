"""The contract of a controller client: no answer in time is one of Tidelog's own errors."""

from __future__ import annotations

from tidelog.controller.client import ControllerTimeout
from tidelog.errors import TidelogError


def test_a_timeout_is_handled_like_any_error() -> None:
    assert issubclass(ControllerTimeout, TidelogError)
