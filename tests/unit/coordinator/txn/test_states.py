"""States: Kafka's numbers and names, and a table of transitions without dead ends."""

from __future__ import annotations

from tidelog.coordinator.txn import states
from tidelog.coordinator.txn.states import AT_REST, BY_LABEL, PREVIOUS_STATES, TransactionState

S = TransactionState


def test_numbers_and_names_are_kafkas() -> None:
    assert [(state.value, state.label) for state in S] == [
        (0, "Empty"),
        (1, "Ongoing"),
        (2, "PrepareCommit"),
        (3, "PrepareAbort"),
        (4, "CompleteCommit"),
        (5, "CompleteAbort"),
        (6, "Dead"),
        (7, "PrepareEpochFence"),
    ]
    assert {BY_LABEL[state.label] for state in S} == set(S)


def test_every_state_says_from_where_it_is_entered() -> None:
    assert set(PREVIOUS_STATES) == set(S)
    assert {state for state in S if state.is_at_rest} == AT_REST
    # What is decided is carried out, and nothing else.
    for state in (S.PREPARE_COMMIT, S.PREPARE_ABORT):
        assert state.is_prepared
        (next_state,) = (after for after, before in PREVIOUS_STATES.items() if state in before)
        assert next_state.label == state.label.replace("Prepare", "Complete")


def test_every_state_is_documented() -> None:
    assert states.__doc__ is not None
    assert all(f"\n{state.name}\n" in states.__doc__ for state in S)
