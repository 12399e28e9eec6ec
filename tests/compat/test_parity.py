"""The same questions to Tidelog and to a running reference get the same answers.

What the reference answered is also kept in parity/recorded.json; that it is still true is tested
here, and `tests/clients/test_parity.py` compares Tidelog with it where there is no Java.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.compat.conftest import Target
from tests.compat.parity import load_scenarios
from tests.compat.parity.allowed import unexplained
from tests.compat.parity.record import REFERENCE_SETTINGS, plain, read
from tests.compat.parity.session import SCENARIOS, differences, run
from tests.compat.reference import ReferenceBroker

load_scenarios()
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def reference(java: None) -> Iterator[ReferenceBroker]:
    with ReferenceBroker(overrides=REFERENCE_SETTINGS) as broker:
        yield broker


@pytest.mark.parametrize("name", list(SCENARIOS))
def test_tidelog_answers_as_the_reference(
    name: str, target: Target, reference: ReferenceBroker
) -> None:
    theirs = plain(run(name, "127.0.0.1", reference.port))
    recorded = read()[name]
    assert not differences(theirs, recorded), "recorded.json is not what the reference answers"
    ours = plain(run(name, target.host, target.port))
    problems = unexplained(name, ours, theirs)
    assert not problems, "\n".join(problems)
