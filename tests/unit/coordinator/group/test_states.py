"""The table of states."""

from __future__ import annotations

import pytest

from tidelog.coordinator.group import states
from tidelog.coordinator.group.classic_group import ClassicGroup
from tidelog.coordinator.group.states import PREVIOUS_STATES, GroupState
from tidelog.errors import InvariantError


def test_every_state_is_documented_and_has_its_predecessors() -> None:
    assert states.__doc__ is not None
    for state in GroupState:
        assert f"\n{state.name}\n" in states.__doc__
        assert PREVIOUS_STATES[state]


@pytest.mark.parametrize("before", list(GroupState))
@pytest.mark.parametrize("after", list(GroupState))
def test_only_listed_transitions_are_possible(before: GroupState, after: GroupState) -> None:
    group = ClassicGroup("g", 0)
    group.state = before
    if before in PREVIOUS_STATES[after]:
        group.transition(after, 5)
        assert (group.state, group.state_since_ms) == (after, 5)
    else:
        with pytest.raises(InvariantError):
            group.transition(after, 5)
