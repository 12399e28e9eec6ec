"""Any session of a follower with its leader, from the follower's end of Fetch."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.native.log_harness import new_core
from tests.unit.native.test_replica_fetch import T, U, answer, exchange, forgotten, sent, taken
from tidelog._native.log import LogCore
from tidelog._native.replica_fetch import FetchedPart


@pytest.fixture
def core(tmp_path: Path) -> LogCore:
    return new_core(tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(seed=st.integers(0, 2**32))
def test_the_leader_knows_what_is_asked_for(core: LogCore, seed: int) -> None:
    """After any calls, a leader that follows the requests holds just what is active, as it was
    asked last."""
    rng = random.Random(seed)
    made = exchange()
    places = [(topic, index) for topic in (T, U) for index in range(4)]
    wanted: dict[tuple[bytes, int], tuple[FetchedPart, int]] = {}
    known: dict[tuple[bytes, int], FetchedPart] = {}
    session: dict[tuple[bytes, int], tuple[int, int]] = {}
    for step in range(60):
        place = rng.choice(places)
        match rng.randrange(5):
            case 0:
                known[place] = FetchedPart(*place, core, step)
                made.add(known[place])
                wanted.pop(place, None)
            case 1 | 2 if place in known:
                made.ask(known[place], step, 0, 0, 0)
                wanted[place] = (known[place], step)
            case 3 if place in known:
                made.pause(known[place])
                wanted.pop(place, None)
            case 4 if place in known:
                made.remove(known.pop(place))
                wanted.pop(place, None)
        if rng.random() < 0.4 and made.may_send:
            request = sent(made)
            if request.session_epoch == 0:
                session.clear()
            for topic in request.topics:
                for asked in topic.partitions:
                    key = (topic.topic_id, asked.partition)
                    session[key] = (asked.current_leader_epoch, asked.fetch_offset)
            for key in forgotten(request):
                del session[key]
            assert session == {
                key: (part.current_leader_epoch, offset) for key, (part, offset) in wanted.items()
            }
            assert made.active_count == len(wanted)
            if rng.random() < 0.1:
                made.reset()
            else:
                taken(made, answer())
                made.done()
