"""The coverage page: up to date, complete, and not claiming what is not there."""

from __future__ import annotations

from pathlib import Path

from tidelog.handlers.coverage import LIMITS, REASONS, render
from tidelog.handlers.registry import APIS
from tidelog.protocol.api import ApiKey

PAGE = Path(__file__).resolve().parents[3] / "docs" / "protocol-coverage.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == render(), (
        "run: python -m tidelog.handlers.coverage docs/protocol-coverage.md"
    )


def test_every_api_is_either_served_or_explained() -> None:
    served = {api.key for api in APIS}
    assert set(REASONS) == set(ApiKey) - served
    assert set(LIMITS) <= served
    lines = [line for line in render().splitlines() if line.startswith("| ")]
    numbers = [int(line.split("|")[1]) for line in lines[1:]]
    assert numbers == sorted(int(key) for key in ApiKey)
