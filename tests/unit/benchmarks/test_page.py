"""A report as a page: whole, self-contained, escaped."""

import re
from html.parser import HTMLParser

from tidelog.benchmarks.histogram import Histogram
from tidelog.benchmarks.page import page, rates
from tidelog.benchmarks.results import Measured, Report, Round, Second

VOID = {"meta"}


class Checker(HTMLParser):
    """Every element is closed; remembers what would be loaded from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.loads += [f"{tag} {name}" for name, _ in attrs if name in ("src", "href")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def measured(name: str, rate: float) -> Measured:
    latency = Histogram()
    for value in range(1000, 100_000, 100):
        latency.record(int(value * rate))
    seconds = [Second(1.0, 100, 1000, 90), Second(2.0, 110, 1000, 120)]
    one = Round({"records_per_s": rate, "drain_s": 0.0}, {"produce": latency}, seconds)
    return Measured(name, [one] * 5)


def report(*targets: Measured) -> Report:
    return Report(
        "w<b>", {"client": "native", "x": "<script>"}, targets, "now", {"v": "1"}, {"cpus": 2},
        ["busy & loud"],
    )  # fmt: skip


def checked(text: str) -> str:
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    assert checker.loads == []
    assert not re.search(r"<script|url\(|@import|https?:", text)
    return text


def test_a_page_of_one_broker() -> None:
    text = checked(page(report(measured("h:1", 1.0))))
    assert "w&lt;b&gt; on h:1" in text
    assert "busy &amp; loud" in text
    assert text.count("<svg") == 2
    assert "h:1, 5 rounds" in text
    assert "ratio" not in text


def test_a_page_of_two_brokers_compares_them() -> None:
    text = checked(page(report(measured("h:1", 1.0), measured("h:2", 2.0))))
    assert "h:2 to h:1" in text
    assert "better" in text
    assert "h:2: written" in text


def test_a_page_without_rounds() -> None:
    assert "<svg" not in checked(page(report(Measured("h:1", []))))


def test_rates_are_those_of_their_stretch() -> None:
    one = Round({}, seconds=[Second(0.5, 10, 0), Second(2.5, 10, 0, 4)])
    assert rates(one, "records") == [(0.5, 20.0), (2.5, 5.0)]
    assert rates(one, "consumed")[1] == (2.5, 2.0)
