"""The transaction coordinator: both generations of the protocol state by state; features."""

from __future__ import annotations

from tests.compat.parity.scenarios_produce import good, producing
from tests.compat.parity.session import Session, observe, scenario, wait_until
from tidelog.protocol.messages.add_offsets_to_txn import AddOffsetsToTxnRequest
from tidelog.protocol.messages.add_partitions_to_txn import (
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnTopic,
    AddPartitionsToTxnTransaction,
)
from tidelog.protocol.messages.describe_transactions import (
    DescribeTransactionsRequest,
    DescribeTransactionsResponse,
)
from tidelog.protocol.messages.end_txn import EndTxnRequest, EndTxnResponse
from tidelog.protocol.messages.find_coordinator import (
    FindCoordinatorRequest,
    FindCoordinatorResponse,
)
from tidelog.protocol.messages.init_producer_id import (
    InitProducerIdRequest,
    InitProducerIdResponse,
)
from tidelog.protocol.messages.list_transactions import (
    ListTransactionsRequest,
    ListTransactionsResponse,
)
from tidelog.protocol.messages.update_features import FeatureUpdateKey, UpdateFeaturesRequest

#: Answers on which a client asks again.
_AGAIN = (14, 15, 16, 51)
TIMEOUT_MS = 60_000


class Producer:
    """One user of a transactional id: what it has, and everything it may ask."""

    def __init__(self, s: Session, tid: str) -> None:
        self.s, self.tid = s, tid
        coordinate(s, tid)
        self.id, self.epoch = -1, -1
        self.init_quietly()

    def init_quietly(self) -> None:
        """A new epoch, however long that takes."""
        request = InitProducerIdRequest(
            transactional_id=self.tid, transaction_timeout_ms=TIMEOUT_MS
        )
        answers: list[InitProducerIdResponse] = []

        def answered() -> bool:
            answers.append(self.s.call(request, 4, InitProducerIdResponse))
            return answers[-1].error_code not in _AGAIN

        wait_until(answered, f"{self.tid} cannot be initialized")
        assert answers[-1].error_code == 0
        self.id, self.epoch = answers[-1].producer_id, answers[-1].producer_epoch

    def init(
        self,
        label: str,
        version: int = 4,
        *,
        expected: tuple[int, int] | None = None,
        timeout_ms: int = TIMEOUT_MS,
    ) -> InitProducerIdResponse:
        request = InitProducerIdRequest(
            transactional_id=self.tid, transaction_timeout_ms=timeout_ms
        )
        if expected is not None:
            request.producer_id, request.producer_epoch = expected
        answer = self.s.ask(label, request, version)
        assert isinstance(answer, InitProducerIdResponse)
        return answer

    def add(
        self,
        label: str,
        topic: str,
        *partitions: int,
        version: int = 3,
        id: int | None = None,
        epoch: int | None = None,
    ) -> None:
        topics = [AddPartitionsToTxnTopic(name=topic, partitions=list(partitions))]
        producer_id = self.id if id is None else id
        producer_epoch = self.epoch if epoch is None else epoch
        if version < 4:
            request = AddPartitionsToTxnRequest(
                v3_and_below_transactional_id=self.tid,
                v3_and_below_producer_id=producer_id,
                v3_and_below_producer_epoch=producer_epoch,
                v3_and_below_topics=topics,
            )
        else:
            request = batched(self.tid, producer_id, producer_epoch, topics, verify_only=False)
        self.s.ask(label, request, version)

    def verify(self, label: str, topic: str, *partitions: int, epoch: int | None = None) -> None:
        topics = [AddPartitionsToTxnTopic(name=topic, partitions=list(partitions))]
        producer_epoch = self.epoch if epoch is None else epoch
        self.s.ask(label, batched(self.tid, self.id, producer_epoch, topics, verify_only=True), 5)

    def end(
        self,
        label: str,
        version: int,
        *,
        commit: bool = True,
        id: int | None = None,
        epoch: int | None = None,
    ) -> EndTxnResponse:
        request = EndTxnRequest(
            transactional_id=self.tid,
            producer_id=self.id if id is None else id,
            producer_epoch=self.epoch if epoch is None else epoch,
            committed=commit,
        )
        answer = self.s.ask(label, request, version)
        assert isinstance(answer, EndTxnResponse)
        return answer

    def settle(self) -> None:
        """Returns when nothing is under way but, perhaps, an open transaction."""
        request = DescribeTransactionsRequest(transactional_ids=[self.tid])

        def settled() -> bool:
            answer = self.s.call(request, 0, DescribeTransactionsResponse)
            return not answer.transaction_states[0].transaction_state.startswith("Prepare")

        wait_until(settled, f"{self.tid} is not complete")

    def describe(self, label: str) -> None:
        """Observes everything but times."""
        request = DescribeTransactionsRequest(transactional_ids=[self.tid])
        answer = self.s.call(request, 0, DescribeTransactionsResponse)
        for state in answer.transaction_states:
            state.transaction_start_time_ms = min(state.transaction_start_time_ms, 1)
            state.topics.sort(key=lambda topic: topic.topic)
            for topic in state.topics:
                topic.partitions.sort()
        self.s.note(label, observe(answer, 0))


def batched(
    tid: str, id: int, epoch: int, topics: list[AddPartitionsToTxnTopic], *, verify_only: bool
) -> AddPartitionsToTxnRequest:
    return AddPartitionsToTxnRequest(
        transactions=[
            AddPartitionsToTxnTransaction(
                transactional_id=tid,
                producer_id=id,
                producer_epoch=epoch,
                verify_only=verify_only,
                topics=topics,
            )
        ]
    )


def coordinate(s: Session, tid: str) -> None:
    """Waits until the transactional id has a coordinator that has loaded it."""
    # A broker's first producer id is 0, which looks like none.
    s.call(InitProducerIdRequest(transactional_id=None), 4, InitProducerIdResponse)

    def found() -> bool:
        answer = s.call(FindCoordinatorRequest(key=tid, key_type=1), 3, FindCoordinatorResponse)
        return answer.error_code == 0

    wait_until(found, f"no coordinator for {tid}")
    request = DescribeTransactionsRequest(transactional_ids=[tid])

    def loaded() -> bool:
        answer = s.call(request, 0, DescribeTransactionsResponse)
        return answer.transaction_states[0].error_code not in _AGAIN

    wait_until(loaded, f"{tid} is not loaded")


@scenario
def transactional_ids(s: Session) -> None:
    """Ids and epochs without transactions."""
    x = Producer(s, "ti-x")
    x.describe("fresh")
    for version in range(6):
        x.init(f"again v{version}", version)
    x.init_quietly()
    same = (x.id, x.epoch)
    x.init("with what it has", expected=same)
    x.init("with what it had", expected=same)
    x.init("with what it had before that", expected=(x.id, x.epoch - 1))
    x.init("with an epoch of the future", expected=(x.id, x.epoch + 9))
    x.init("with another id", expected=(x.id + 77, 0))
    x.init("fenced v3", 3, expected=(x.id, x.epoch - 1))
    x.init("half of an identity", expected=(x.id, -1))
    x.init("no timeout", timeout_ms=0)
    x.init("negative timeout", timeout_ms=-1)
    x.init("timeout too long", timeout_ms=900_001)
    x.init("longest timeout", timeout_ms=900_000)
    y = Producer(s, "ti-y")
    y.tid = "ti-new"
    coordinate(s, "ti-new")
    y.init("new with an identity", expected=(y.id, 3))
    y.tid = ""
    y.init("empty")
    y.add("add without an id", "nowhere", 0)
    y.end("end without an id", 4)
    y.tid = "ti-unknown"
    coordinate(s, "ti-unknown")
    y.describe("unknown")
    s.create("ti", 1)
    y.add("add to unknown", "ti", 0)
    y.end("end unknown v4", 4)
    y.end("end unknown v5", 5)
    y.verify("verify unknown", "ti", 0)


@scenario
def transactions_first_generation(s: Session) -> None:
    """Every request in every state that does not pass by itself, EndTxn up to version 4."""
    s.create("tf", 3)
    x = Producer(s, "tf-x")
    x.end("commit empty", 4)
    x.end("abort empty", 4, commit=False)
    x.verify("verify empty", "tf", 0)
    for version in range(4):
        x.add(f"add v{version}", "tf", 0, version=version)
        x.add(f"add with an older epoch v{version}", "tf", 0, version=version, epoch=x.epoch - 1)
    x.add("add several, one unknown", "tf", 1, 9)
    x.add("add unknown topic", "tf-nowhere", 0)
    x.add("add with another id", "tf", 0, id=x.id + 1)
    x.add("add with a newer epoch", "tf", 0, epoch=x.epoch + 1)
    x.add("add more", "tf", 0, 1)
    x.verify("verify", "tf", 0)
    x.verify("verify another partition", "tf", 2)
    x.verify("verify with another epoch", "tf", 0, epoch=x.epoch + 1)
    x.describe("ongoing")
    offsets = AddOffsetsToTxnRequest(
        transactional_id="tf-x", producer_id=x.id, producer_epoch=x.epoch, group_id="tf-group"
    )
    for version in range(5):
        s.ask(f"offsets v{version}", offsets, version)
    offsets.producer_epoch -= 1
    for version in range(5):
        s.ask(f"offsets with an older epoch v{version}", offsets, version)
    for version in range(5):
        x.end(f"end with an older epoch v{version}", version, epoch=x.epoch - 1)
    x.end("end with another id", 4, id=x.id + 1)
    x.end("commit", 4)
    x.settle()
    x.describe("complete commit")
    x.end("commit again", 4)
    x.end("abort after commit", 4, commit=False)
    x.add("add to the next one", "tf", 0)
    x.end("abort", 3, commit=False)
    x.settle()
    x.describe("complete abort")
    x.end("abort again", 4, commit=False)
    x.end("commit after abort", 4)
    x.add("and one more", "tf", 0)
    x.init("taken over while ongoing")
    x.settle()
    x.describe("state when taken over")
    x.add("add of the one before", "tf", 0)
    x.end("commit of the one before", 4)
    x.init("taken over")


@scenario
def sequences_of_ended_transactions(s: Session) -> None:
    """The first generation keeps the epoch over transactions, and so the sequences."""
    x = Producer(s, "ts-x")

    def send(label: str, topic: str, sequence: int) -> None:
        data = good(
            attributes=16,
            producer_id=x.id,
            producer_epoch=x.epoch,
            base_sequence=sequence,
        )
        s.ask(label, producing(topic, data, acks=-1, transactional_id="ts-x"), 11)

    for name, commit in (("aborted", False), ("committed", True)):
        topic = f"ts-{name}"
        s.create(topic, 1)
        x.init_quietly()
        x.add(f"add, to be {name}", topic, 0)
        send(f"first, to be {name}", topic, 0)
        send(f"again, to be {name}", topic, 0)
        x.end(name, 4, commit=commit)
        x.settle()
        x.add(f"add after {name}", topic, 0)
        send(f"again after {name}", topic, 0)
        x.end(f"over after {name}", 4, commit=False)
        x.settle()


@scenario
def transactions_second_generation(s: Session) -> None:
    """EndTxn version 5: an epoch for every transaction, and repetitions."""
    s.create("tg", 3)
    x = Producer(s, "tg-x")
    x.end("commit empty", 5)
    x.end("commit empty, repeated", 5, epoch=x.epoch - 1)
    x.end("abort empty, repeated", 5, commit=False, epoch=x.epoch - 1)
    x.end("abort empty", 5, commit=False)
    x.settle()
    x.describe("aborted empty")
    x.epoch += 1
    x.add("add", "tg", 0, version=5)
    x.add("add again", "tg", 0, version=4)
    x.end("end with an older epoch", 5, epoch=x.epoch - 1)
    x.end("end with a newer epoch", 5, epoch=x.epoch + 1)
    x.end("end with another id", 5, id=x.id + 1)
    x.end("commit", 5)
    x.settle()
    x.describe("complete commit")
    for label, epoch in (("repeated", x.epoch), ("older", x.epoch - 1), ("newer", x.epoch + 2)):
        x.end(f"commit, {label}", 5, epoch=epoch)
        x.end(f"abort after commit, {label}", 5, commit=False, epoch=epoch)
    x.epoch += 1
    x.end("commit without a transaction", 5)
    x.add("add of the one before", "tg", 0, version=5, epoch=x.epoch - 1)
    x.end("abort without a transaction", 5, commit=False)
    x.settle()
    x.end("abort, repeated", 5, commit=False)
    x.end("commit after abort, repeated", 5)
    x.epoch += 1
    x.end("commit after abort", 5)
    x.init("with what it has", expected=(x.id, x.epoch))
    x.init("with what it had", expected=(x.id, x.epoch))
    x.init_quietly()
    x.add("add before it is taken over", "tg", 1, version=5)
    x.init("taken over while ongoing")
    x.settle()
    x.describe("state when taken over")
    x.end("abort of the one before", 5, commit=False)
    x.end("commit of the one before", 5)
    x.init("taken over")
    x.end("abort of the one before, too late", 5, commit=False)
    x.init("taken over with what it had", expected=(x.id, x.epoch))


@scenario
def transactions_are_listed(s: Session) -> None:
    """Filters of ListTransactions."""
    s.create("tl", 1)
    for tid, end in (("tl-empty", None), ("tl-open", None), ("tl-done", True), ("tl-not", False)):
        producer = Producer(s, tid)
        if tid != "tl-empty":
            producer.add(f"{tid} begins", "tl", 0)
        if end is not None:
            producer.end(f"{tid} ends", 4, commit=end)
            producer.settle()

    def listed(label: str, version: int, **filters: object) -> None:
        request = ListTransactionsRequest(**filters)  # type: ignore[arg-type]
        answer = s.call(request, version, ListTransactionsResponse)
        answer.transaction_states = sorted(
            (t for t in answer.transaction_states if t.transactional_id.startswith("tl-")),
            key=lambda t: t.transactional_id,
        )
        s.note(label, observe(answer, version))

    for version in range(3):
        listed(f"all v{version}", version)
    listed("ongoing", 0, state_filters=["Ongoing"])
    listed("lower case", 0, state_filters=["ongoing"])
    listed("several", 0, state_filters=["CompleteCommit", "CompleteAbort", "Asleep", "Dead"])
    listed("nobody's id", 0, producer_id_filters=[2**40])
    listed("long", 1, duration_filter=3_600_000)
    listed("any duration", 1, duration_filter=0, state_filters=["Ongoing", "Empty"])
    listed("pattern", 2, transactional_id_pattern="tl-(open|done)")
    listed("part of a pattern", 2, transactional_id_pattern="tl-op")
    listed("empty pattern", 2, transactional_id_pattern="")
    listed("bad pattern", 2, transactional_id_pattern="(")


@scenario
def features(s: Session) -> None:
    """transaction.version down and up again."""

    def update(label: str, version: int, level: int, **words: object) -> None:
        key = FeatureUpdateKey(
            feature="transaction.version",
            max_version_level=level,
            **words,  # type: ignore[arg-type]
        )
        s.ask(label, UpdateFeaturesRequest(feature_updates=[key]), version)

    update("to itself", 1, 2, upgrade_type=1)
    update("too high", 1, 9, upgrade_type=1)
    update("down by an upgrade", 1, 1, upgrade_type=1)
    update("down by an upgrade v0", 0, 1)
    update("down v0", 0, 1, allow_downgrade=True)
    update("up by a downgrade", 2, 2, upgrade_type=2)
    update("negative", 2, -1, upgrade_type=2)
    update("no kind of change", 2, 2, upgrade_type=0)
    update("to nothing", 2, 0, upgrade_type=3)
    update("up", 2, 2, upgrade_type=1)
    unknown = FeatureUpdateKey(feature="no.version", max_version_level=1, upgrade_type=1)
    s.ask("unknown", UpdateFeaturesRequest(feature_updates=[unknown]), 2)
    s.ask("nothing", UpdateFeaturesRequest(feature_updates=[]), 2)
