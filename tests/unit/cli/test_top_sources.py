"""Looks from the text of a scrape; those at a cluster are tested with one (tests/clients)."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest

from tests.unit.process.metrics.views import host, node, samples
from tidelog._native.request_stats import BUCKETS_S
from tidelog.cli.cluster import CommandError
from tidelog.cli.top_sources import MetricsSource, read_metrics
from tidelog.cli.top_view import GroupTotals, Progress, TopicTotals
from tidelog.process.metrics.exposition import render
from tidelog.process.metrics.samples import Buckets, LogSample, OffsetSample

TOLD = {
    "kafka_server_brokertopicmetrics_messagesin_total": [(("orders",), 7)],
    "kafka_server_brokertopicmetrics_bytesin_total": [(("orders",), 700)],
    "kafka_server_brokertopicmetrics_bytesout_total": [(("orders",), 70)],
    "kafka_consumergroup_members": [(("g",), 2)],
    "tidelog_consumergroup_state": [(("g", "consumer", "Stable"), 1)],
    "tidelog_connections": [((), 3)],
}


@pytest.fixture
def text() -> str:
    counts = [1, *[0] * len(BUCKETS_S)]
    told = samples(
        TOLD,
        LogSample("orders", 0, 0, 10, 10, 400, 1),
        LogSample("orders", 1, 0, 0, 0, 300, 1),
        OffsetSample("g", "orders", 0, 4),
        tidelog_request_stage_seconds=[
            Buckets(("Fetch", "total"), counts, 0.1),
            Buckets(("Fetch", "wait"), counts, 0.1),
        ],
    )
    return render(host(node(1, samples=told), node(2, state=None, pid=None)), "")[0].decode()


def test_a_scrape_is_read(text: str) -> None:
    look = read_metrics(text, 5.0, 0.25)
    assert (look.at_s, look.answered_s) == (5.0, 0.25)
    assert look.topics == {"orders": TopicTotals(7, 700, 70, 700)}
    assert look.groups == {"g": GroupTotals("Stable", 2, {"orders": Progress(4, 6)})}
    # Counts are shown as counts, not as 3.0.
    counts = (look.nodes["1"].connections, look.groups["g"].topics["orders"].lag)
    assert list(map(repr, counts)) == ["3", "6"]
    assert not look.nodes["2"].up
    assert look.nodes["supervisor"].memory
    assert list(look.latencies) == ["Fetch"]
    assert look.latencies["Fetch"][float("inf")] == 1


@pytest.mark.parametrize("wrong", ['a{b="c', "a{ 1"])
def test_what_is_no_scrape_is_refused(wrong: str) -> None:
    with pytest.raises(CommandError):
        read_metrics(wrong, 0, 0)


@pytest.fixture
def address(text: str) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_endpoint_is_asked(address: str) -> None:
    assert "orders" in MetricsSource(address).look().topics


def test_nobody_there_is_one_line() -> None:
    with pytest.raises(CommandError, match="Connection refused"):
        MetricsSource("127.0.0.1:1").look()
