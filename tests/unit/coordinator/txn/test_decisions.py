"""State x request -> answer, for both generations. Expected codes are Kafka's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.coordinator.txn.txn_harness import T0, T1, TxnHarness
from tidelog.coordinator.txn.states import TransactionState

S = TransactionState
STATES = (
    S.EMPTY,
    S.ONGOING,
    S.PREPARE_COMMIT,
    S.PREPARE_ABORT,
    S.COMPLETE_COMMIT,
    S.COMPLETE_ABORT,
)
INVALID, MAPPING, CONCURRENT, FENCED = 48, 49, 51, 90


def answers(version: int, ask: Any) -> list[Any]:
    """What `ask(harness, producer)` gives in every state."""
    found = []
    for state in STATES:
        harness = TxnHarness(version)
        producer = harness.bring_to(state, version)
        assert harness.state() is state
        found.append(ask(harness, producer))
    return found


def code(answer: Any) -> int:
    return answer if isinstance(answer, int) else 0


@pytest.mark.parametrize("version", [0, 2])
def test_add_partitions(version: int) -> None:
    def ask(h: TxnHarness, producer: Any) -> int:
        epoch = h.shard.transactions["x"].producer_epoch
        return h.add((producer[0], epoch), T1)

    assert answers(version, ask) == [0, 0, CONCURRENT, CONCURRENT, 0, 0]
    assert answers(version, lambda h, p: h.add((p[0] + 1, p[1]), T1)) == [MAPPING] * 6
    assert answers(version, lambda h, p: h.add((p[0], p[1] + 9), T1)) == [FENCED] * 6
    assert answers(version, lambda h, p: h.add((p[0], p[1] - 1), T1)) == [FENCED] * 6
    assert answers(version, lambda h, p: h.add(p, tid="other")) == [MAPPING] * 6


@pytest.mark.parametrize("version", [0, 2])
def test_verify(version: int) -> None:
    def ask(h: TxnHarness, producer: Any) -> Any:
        return h.verify((producer[0], h.shard.transactions["x"].producer_epoch), T0, T1)

    none = [120, 120]
    assert answers(version, ask) == [none, [0, 120], CONCURRENT, CONCURRENT, none, none]
    assert answers(version, lambda h, p: h.verify((p[0], p[1] + 9), T0)) == [FENCED] * 6
    assert answers(version, lambda h, p: h.verify((p[0] + 1, p[1]), T0)) == [MAPPING] * 6


def test_end_in_the_first_generation() -> None:
    def ask(commit: bool) -> Any:
        return lambda h, p: code(h.end(p, commit, version=0))

    assert answers(0, ask(True)) == [INVALID, 0, CONCURRENT, INVALID, 0, INVALID]
    assert answers(0, ask(False)) == [INVALID, 0, INVALID, CONCURRENT, INVALID, 0]
    for epoch in (-1, 1):
        found = answers(0, lambda h, p, e=epoch: h.end((p[0], p[1] + e), version=0))
        assert found == [FENCED] * 6
    assert answers(0, lambda h, p: h.end((p[0] + 1, p[1]), version=0)) == [MAPPING] * 6


def test_end_in_the_second_generation() -> None:
    """With the epoch that the producer has: its transaction's while it is under way and prepared,
    the next one after that.
    """
    found = answers(2, lambda h, p: code(h.end(p, True)))
    assert found == [INVALID, 0, CONCURRENT, INVALID, INVALID, INVALID]
    found = answers(2, lambda h, p: code(h.end(p, False)))
    assert found == [0, 0, INVALID, CONCURRENT, 0, 0]


def test_end_is_repeated_in_the_second_generation() -> None:
    """With the epoch before the present one, as after an answer that was lost."""

    def ask(commit: bool) -> Any:
        def again(h: TxnHarness, p: Any) -> Any:
            now = h.shard.transactions["x"].producer_epoch
            return h.end((p[0], now - 1), commit)

        return again

    assert [code(a) for a in answers(2, ask(True))] == [
        FENCED, FENCED, CONCURRENT, INVALID, 0, INVALID
    ]  # fmt: skip
    assert [code(a) for a in answers(2, ask(False))] == [
        FENCED, FENCED, INVALID, CONCURRENT, INVALID, 0
    ]  # fmt: skip
    # The repetition learns what the first answer said.
    h = TxnHarness(2)
    producer = h.init()
    h.add(producer)
    first = h.end(producer)
    h.complete_all()
    assert h.end(producer) == first == (producer[0], producer[1] + 1)


def test_end_with_another_epoch_in_the_second_generation() -> None:
    for epoch in (2, -2):
        found = answers(2, lambda h, p, e=epoch: code(h.end((p[0], p[1] + e), False)))
        assert found == [FENCED] * 6
    assert answers(2, lambda h, p: h.end((p[0] + 1, p[1]), False)) == [MAPPING] * 6
    assert answers(2, lambda h, p: h.end(p, False, tid="other")) == [MAPPING] * 6


@pytest.mark.parametrize("version", [0, 2])
def test_init_without_an_id(version: int) -> None:
    found = answers(version, lambda h, p: h.init())
    assert found[1:4] == [CONCURRENT] * 3
    for answer in (found[0], *found[4:]):
        assert answer[0] == 1001
    # Every transaction of the second generation takes an epoch.
    assert [a[1] for a in (found[0], *found[4:])] == ([1, 1, 1] if version == 0 else [1, 2, 2])


@pytest.mark.parametrize("version", [0, 2])
def test_init_with_the_present_id_and_epoch(version: int) -> None:
    def ask(h: TxnHarness, producer: Any) -> Any:
        epoch = h.shard.transactions["x"].producer_epoch
        answer = h.init(expected=(producer[0], epoch))
        if isinstance(answer, int):
            return answer
        # Asked again with the same (the answer was lost), and then with an older one.
        assert h.init(expected=(producer[0], epoch)) == answer
        assert h.init(expected=(producer[0], epoch - 1)) == FENCED
        # Another producer comes: the former one is fenced.
        assert h.init() == (answer[0], answer[1] + 1)
        assert h.init(expected=answer) == FENCED
        return answer[1] - epoch

    assert answers(version, ask) == [1, CONCURRENT, CONCURRENT, CONCURRENT, 1, 1]


@pytest.mark.parametrize("version", [0, 2])
def test_init_of_a_zombie(version: int) -> None:
    found = answers(version, lambda h, p: h.init(expected=(p[0], p[1] + 7)))
    assert found == [FENCED, FENCED, CONCURRENT, CONCURRENT, FENCED, FENCED]
    assert answers(version, lambda h, p: h.init(expected=(p[0] + 7, 0))) == [FENCED] * 6


@pytest.mark.parametrize("version", [0, 2])
def test_a_new_producer_ends_what_is_under_way(version: int) -> None:
    h = TxnHarness(version)
    producer = h.bring_to(S.ONGOING, version)
    assert h.init() == CONCURRENT
    (prepared,) = h.sent
    assert (prepared.commit, prepared.producer_epoch) == (False, producer[1] + 1)
    assert h.init() == CONCURRENT
    h.complete_all()
    assert h.state() is S.COMPLETE_ABORT
    assert h.init() == (producer[0], producer[1] + 2)
    assert h.add(producer) == FENCED


def with_epoch(h: TxnHarness, epoch: int) -> tuple[int, int]:
    """The producer of "x" as if it had got this epoch."""
    held = h.shard.transactions["x"]
    h.shard.transactions["x"] = replace(held, producer_epoch=epoch)
    return held.producer_id, epoch


def test_epochs_run_out_at_init() -> None:
    h = TxnHarness(0)
    h.init()
    producer = with_epoch(h, 32765)
    assert h.init(expected=producer) == (producer[0], 32766)
    rotated = h.init(expected=(producer[0], 32766))
    assert rotated == (1002, 0)
    # Its answer was lost: asked again with the former id.
    assert h.init(expected=(producer[0], 32766)) == rotated
    assert h.init(expected=(producer[0], 32765)) == FENCED
    assert h.init() == (1002, 1)


def test_epochs_run_out_at_init_of_somebody_else() -> None:
    h = TxnHarness(0)
    h.init()
    with_epoch(h, 32766)
    assert h.init() == (1002, 0)


def test_epochs_run_out_at_the_end_of_a_transaction() -> None:
    h = TxnHarness(2)
    h.init()
    producer = with_epoch(h, 32766)
    h.add(producer, client_version=2)
    assert h.end(producer) == (1002, 0)
    assert h.end(producer) == CONCURRENT
    (prepared,) = h.sent
    assert (prepared.producer_id, prepared.producer_epoch) == (producer[0], 32767)
    h.load()  # The next producer id is in the record.
    h.complete_all()
    assert h.end(producer) == (1002, 0)  # The answer was lost.
    assert h.end(producer, False) == INVALID
    assert h.end((producer[0], 32765)) == MAPPING
    assert h.add((1002, 0), client_version=2) == 0
    # It is another transaction now: a repetition is too late.
    assert h.end(producer) == MAPPING


@pytest.mark.parametrize("version", [0, 2])
def test_epochs_run_out_in_a_transaction_that_is_taken_over(version: int) -> None:
    h = TxnHarness(version)
    h.init()
    producer = with_epoch(h, 32766)
    h.add(producer)
    assert h.init() == CONCURRENT
    assert h.sent[0].producer_epoch == 32767
    h.complete_all()
    assert h.init(expected=producer) in (FENCED, (producer[0], 32767))
    assert h.init() == (1002, 0)
    assert h.add(producer) == MAPPING


@pytest.mark.parametrize("timeout_ms", [0, -1, 900_001])
def test_a_timeout_that_is_not_allowed(timeout_ms: int) -> None:
    assert TxnHarness().init(timeout_ms=timeout_ms) == 50
    assert TxnHarness().init(timeout_ms=900_000) == (1001, 0)
