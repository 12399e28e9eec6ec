"""What every suite shares: hypothesis profiles, seeds for simulators, waiting, a served broker.

Nothing here sleeps for a fixed time or uses a fixed port.
"""

from __future__ import annotations

import logging
import os
import signal
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.house import seeds as seed_plans
from tests.house.broker import ServedBroker

ROOT = Path(__file__).resolve().parents[1]

# Whoever runs the tests in the background of a shell, or under nohup, has these ignored; so would
# every process that a test starts and ends with them.
for _number, _handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)

# No deadlines: how long an example takes says more about the machine than about the code.
hypothesis.settings.register_profile("dev", deadline=None, max_examples=50)
hypothesis.settings.register_profile(
    "ci", deadline=None, max_examples=100, derandomize=True, print_blob=True
)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") == "true" else "dev")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever asks for so many seeds has time for them."""
    if os.environ.get("TIDELOG_SEEDS"):
        for item in items:
            if "seeds" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.timeout(0))


@pytest.fixture
def seeds(request: pytest.FixtureRequest) -> Callable[[str], Iterator[int]]:
    """`seeds("groups")` yields the seeds that the simulator of that name shall run.

    Its corpus is the file <name>.seeds beside the test module: one number a line, # for comments.
    """
    if os.environ.get("TIDELOG_SEEDS"):
        # pytest keeps all that is logged, the errors in it, and with their frames whole simulated
        # clusters. Who wants to read the log of a seed runs it alone.
        logging.disable()
        request.addfinalizer(lambda: logging.disable(logging.NOTSET))

    def of(name: str) -> Iterator[int]:
        table = tomllib.loads((ROOT / "tests" / "budgets.toml").read_text())["seeds"]
        corpus_file = request.path.with_name(f"{name}.seeds")
        corpus = []
        if corpus_file.exists():
            lines = (line.split("#")[0].strip() for line in corpus_file.read_text().splitlines())
            corpus = [int(line) for line in lines if line]
        what = seed_plans.plan(name, table, os.environ)
        return seed_plans.seeds(what, corpus, time.monotonic)

    return of


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., ServedBroker]]:
    """`serve("--workers", "3")` starts a broker on free ports and returns it when it is ready.

    All brokers of a test share its temporary folder unless given a --data-dir, and end with it.
    """
    started: list[ServedBroker] = []

    def start(*arguments: str) -> ServedBroker:
        broker = ServedBroker(tmp_path / f"data-{len(started) + 1}", arguments)
        started.append(broker)
        broker.start()
        return broker

    try:
        yield start
    finally:
        for broker in reversed(started):
            broker.stop()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedBroker]:
    """One broker with one worker for all tests of a module."""
    with ServedBroker(tmp_path_factory.mktemp("broker") / "data") as running:
        yield running
