"""What a broker's endpoint of metrics says, read by prometheus_client's parser."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

TIMEOUT_S = 20.0


class Scrape:
    """One answer: values by name and labels."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]
        self.families = {family.name for family in text_string_to_metric_families(text)}

    def all(self, name: str, **labels: str) -> list[float]:
        """Values of every series of that name which has these labels."""
        return [
            sample.value
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]

    def total(self, name: str, **labels: str) -> float:
        return sum(self.all(name, **labels))

    def one(self, name: str, **labels: str) -> float:
        (value,) = self.all(name, **labels)
        return value


def get(address: str, path: str) -> tuple[int, str]:
    """Status and body."""
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=TIMEOUT_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def scrape(address: str) -> Scrape:
    status, text = get(address, "/metrics")
    assert status == 200, text
    return Scrape(text)


def get_json(address: str, path: str) -> tuple[int, Any]:
    status, text = get(address, path)
    return status, json.loads(text)
