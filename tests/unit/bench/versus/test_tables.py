"""A comparison as text and as Markdown."""

import json
import math

from bench.versus.judge import Found, judge, spread
from bench.versus.shapes import SHAPES
from bench.versus.tables import (
    Outcome,
    Setting,
    cell,
    markdown,
    number,
    shape_text,
    to_json,
    warnings_of,
)

SETTING = Setting(
    "tidelog", "2 CPUs", "2026-01-02", "python -m bench.versus", {"kafka": "4"}, {"tansu": "gone"}
)


def metrics(rate: float, others: float = 0.0, client: float = 0.5) -> dict[str, object]:
    values = {
        "requests_per_s": [rate * 0.9, rate, rate * 2],
        "mb_per_s": [rate / 1000],
        "cpu_s_per_gb": [1000 / rate],
        "p50_us": [1e6 / rate],
        "p99_us": [2e6 / rate],
        "p999_us": [3e6 / rate],
        "rss_mb": [100.0],
        "client_cpu_share": [client],
        "other_cpu_share": [others],
    }
    return {name: spread(found) for name, found in values.items()}


def found(peer: str, durability: str, rate: float, **words: float) -> Found:
    return Found(peer, durability, metrics(rate, **words))  # type: ignore[arg-type]


FOUND = {
    "tidelog": found("tidelog", "page-cache", 9000),
    "tidelog fsync": found("tidelog", "fsync", 900),
    "kafka": found("kafka", "page-cache", 3000, others=0.2),
    "kafka fsync": found("kafka", "fsync", 300, client=0.95),
    "kfake": found("kfake", "memory", 50_000),
    "tansu": Found("tansu", "memory", refusal="it | broke"),
    "floor": found("floor", "page-cache", 10_000),
}


def outcome(name: str = "produce-255-x1") -> Outcome:
    shape = SHAPES[name]
    return Outcome(shape, FOUND, judge(shape.thresholds, FOUND, "tidelog"), warnings_of(FOUND))


def test_numbers() -> None:
    assert number(123_456.7, 1) == "123,457"
    assert number(12.34, 1) == "12.3"
    assert number(math.nan, 1) == "-"
    assert cell("p50_us", spread([1000, 1000])) == "1.000"
    assert cell("p50_us", spread([1000, 2000, 3000])) == "2.000 (1.000-3.000)"


def test_warnings() -> None:
    assert warnings_of(FOUND) == [
        "kafka: other processes used 20% of the machine",
        "kafka fsync: the client was busy for 95% of a run, and bounds it",
    ]


def test_text() -> None:
    text = shape_text(outcome(), "tidelog")
    assert "tansu: no: it | broke" in text
    assert "tidelog is 3.00 x kafka\n" in text
    assert "tidelog fsync is 3.00 x kafka fsync" in text
    assert "x kfake" not in text
    assert "OK: requests/s >= 0.8 x floor, found 0.90" in text


def test_markdown() -> None:
    text = markdown([outcome(), outcome("latency")], SETTING)
    rows = [line for line in text.splitlines() if line.startswith("| produce 255 B, 1 in flight")]
    first, synced = rows[0], rows[1]
    assert first.split(" | ")[1:] == [
        "9,000 (8,100-18,000) /s",
        "3,000 (2,700-6,000) /s, 3.00 x",
        "50,000 (45,000-100,000) /s, 0.18 x (in memory)",
        r"no: it \| broke",
        "10,000 (9,000-20,000) /s, 0.90 x |",
    ]
    assert synced.startswith("| produce 255 B, 1 in flight, fsync | 900 (")
    assert "Not measured: tansu (gone)." in text
    assert "0.111 / 0.22 / 0.33" in text
    assert "| p99.9 ms | < 1 x kafka | 0.33 | OK |" in text


def test_json() -> None:
    data = json.loads(json.dumps(to_json(outcome())))
    assert data["found"]["tansu"]["refusal"] == "it | broke"
    assert [v["status"] for v in data["verdicts"]] == ["OK", "OK"]
    nothing = Outcome(SHAPES["fetch-1m"], {}, judge(SHAPES["fetch-1m"].thresholds, {}, "tidelog"))
    assert json.loads(json.dumps(to_json(nothing)))["verdicts"][0]["ratio"] is None
