"""Client quotas: what can be set, and what is found."""

from __future__ import annotations

from typing import Any

from tests.compat.parity.session import Session, observe, scenario, wait_until
from tidelog.protocol.messages.alter_client_quotas import (
    AlterClientQuotasRequest,
    AlterClientQuotasResponse,
    EntityData,
    EntryData,
    OpData,
)
from tidelog.protocol.messages.describe_client_quotas import (
    ComponentData,
    DescribeClientQuotasRequest,
    DescribeClientQuotasResponse,
)

Entity = dict[str, str | None]
Ops = dict[str, float | None]

EXACT, DEFAULT, ANY = 0, 1, 2


def alteration(
    *entries: tuple[Entity, Ops], validate_only: bool = False
) -> AlterClientQuotasRequest:
    """A value of None removes the quota."""
    return AlterClientQuotasRequest(
        entries=[
            EntryData(
                entity=[EntityData(entity_type=k, entity_name=v) for k, v in entity.items()],
                ops=[
                    OpData(key=key, value=value or 0.0, remove=value is None)
                    for key, value in ops.items()
                ],
            )
            for entity, ops in entries
        ],
        validate_only=validate_only,
    )


def names_of(entity: list[Any]) -> list[tuple[str, str]]:
    """By which entities are sorted."""
    return [(part.entity_type, part.entity_name or "") for part in entity]


def altered(s: Session, label: str, request: AlterClientQuotasRequest, version: int = 1) -> None:
    """Observes the answer, whose order is a matter of chance."""
    answer = s.call(request, version, AlterClientQuotasResponse)
    for entry in answer.entries:
        entry.entity.sort(key=lambda each: each.entity_type)
    answer.entries.sort(
        key=lambda each: [(e.entity_type, e.entity_name or "") for e in each.entity]
    )
    s.note(label, observe(answer, version))


def found(
    s: Session, *components: tuple[str, int, str | None], strict: bool = False, version: int = 1
) -> DescribeClientQuotasResponse:
    request = DescribeClientQuotasRequest(
        components=[
            ComponentData(entity_type=kind, match_type=how, match=name)
            for kind, how, name in components
        ],
        strict=strict,
    )
    answer = s.call(request, version, DescribeClientQuotasResponse)
    for entry in answer.entries or ():
        entry.entity.sort(key=lambda each: each.entity_type)
        entry.values.sort(key=lambda each: each.key)
    if answer.entries is not None:
        answer.entries.sort(key=lambda entry: names_of(entry.entity))
    return answer


def set_quotas(s: Session, entity: Entity, **ops: float | None) -> None:
    """Changes an entity's quotas and waits until it is seen."""
    answer = s.call(alteration((entity, ops)), 1, AlterClientQuotasResponse)
    assert answer.entries[0].error_code == 0, answer
    exactly = [(k, DEFAULT if v is None else EXACT, v) for k, v in entity.items()]
    wanted = {key: value for key, value in ops.items() if value is not None}

    def seen() -> bool:
        entries = found(s, *exactly, strict=True).entries or []
        held = {each.key: each.value for entry in entries for each in entry.values}
        return all(held.get(key) == wanted.get(key) for key in ops)

    wait_until(seen, f"the quotas of {entity} do not change")


@scenario
def describe_client_quotas(s: Session) -> None:
    """Filters: by name, by default, by type; strict or not."""
    entities: list[Entity] = [
        {"user": "dcq-u"},
        {"user": None},
        {"client-id": "dcq-c"},
        {"client-id": None},
        {"user": "dcq-u", "client-id": "dcq-c"},
        {"user": "dcq-u", "client-id": None},
        {"user": None, "client-id": "dcq-c"},
        {"user": None, "client-id": None},
        {"ip": "10.1.2.3"},
        {"ip": None},
    ]
    for index, entity in enumerate(entities):
        key = "connection_creation_rate" if "ip" in entity else "consumer_byte_rate"
        set_quotas(s, entity, **{key: 1e9 + index})
    set_quotas(s, {"user": "dcq-u"}, request_percentage=1000.5, producer_byte_rate=2e9)

    def ask(
        label: str,
        *components: tuple[str, int, str | None],
        strict: bool = False,
        version: int = 1,
    ) -> None:
        s.note(label, observe(found(s, *components, strict=strict, version=version), version))

    for strict in (False, True):
        kind = "strict" if strict else "not strict"
        ask(f"nothing asked, {kind}", strict=strict)
        ask(f"a user, {kind}", ("user", EXACT, "dcq-u"), strict=strict)
        ask(f"default user, {kind}", ("user", DEFAULT, None), strict=strict)
        ask(f"any user, {kind}", ("user", ANY, None), strict=strict)
        ask(f"any client, {kind}", ("client-id", ANY, None), strict=strict)
        ask(f"any ip, {kind}", ("ip", ANY, None), strict=strict)
        both = (("user", EXACT, "dcq-u"), ("client-id", ANY, None))
        ask(f"a user's clients, {kind}", *both, strict=strict)
        defaults = (("user", DEFAULT, None), ("client-id", DEFAULT, None))
        ask(f"both defaults, {kind}", *defaults, strict=strict)
    ask("v0", ("ip", ANY, None), version=0)
    ask("nobody", ("user", EXACT, "no-such"))
    ask("unknown type", ("group", ANY, None))
    ask("empty type", ("", ANY, None))
    ask("a type twice", ("user", ANY, None), ("user", EXACT, "dcq-u"))
    ask("exactly nothing", ("user", EXACT, None))
    ask("default with a name", ("user", DEFAULT, "x"))
    ask("any with a name", ("user", ANY, "x"))
    ask("match 7", ("user", 7, None))
    ask("ip and user", ("ip", ANY, None), ("user", ANY, None))
    ask("ip and client", ("ip", EXACT, "10.1.2.3"), ("client-id", ANY, None))
    for entity in entities:
        set_quotas(
            s,
            entity,
            consumer_byte_rate=None,
            connection_creation_rate=None,
            request_percentage=None,
            producer_byte_rate=None,
        )
    ask("all removed")


@scenario
def alter_client_quotas(s: Session) -> None:
    """What is taken, and what is refused."""
    for version in range(2):
        both: Ops = {"consumer_byte_rate": 1e9, "request_percentage": 500.25}
        request = alteration(({"user": "acq", "client-id": "acq"}, both))
        altered(s, f"v{version}", request, version)
    altered(s, "again", alteration(({"user": "acq"}, {"producer_byte_rate": 1e9})))
    altered(
        s,
        "validate only",
        alteration(({"user": "acq"}, {"producer_byte_rate": 5e9}), validate_only=True),
    )
    set_quotas(s, {"user": "acq"}, producer_byte_rate=1e9)
    altered(s, "remove what is not there", alteration(({"user": "acq"}, {"nothing": None})))
    for label, entity, ops in (
        ("no entity", {}, {"consumer_byte_rate": 1.0}),
        ("unknown type", {"group": "g"}, {"consumer_byte_rate": 1.0}),
        ("empty name", {"user": ""}, {"consumer_byte_rate": 1.0}),
        ("user and ip", {"user": "u", "ip": "10.0.0.1"}, {"consumer_byte_rate": 1.0}),
        ("client and ip", {"client-id": "u", "ip": "10.0.0.1"}, {"consumer_byte_rate": 1.0}),
        ("no address", {"ip": "no address at all"}, {"connection_creation_rate": 5.0}),
        ("rate of an ip", {"ip": "10.0.0.1"}, {"consumer_byte_rate": 1.0}),
        ("connections of a user", {"user": "acq"}, {"connection_creation_rate": 1.0}),
        ("unknown key", {"user": "acq"}, {"nope": 1.0}),
        ("half a byte", {"user": "acq"}, {"consumer_byte_rate": 1.5}),
        ("nearly whole", {"user": "acq"}, {"consumer_byte_rate": 1000000000.0000001}),
        ("half a connection", {"ip": "10.0.0.1"}, {"connection_creation_rate": 0.5}),
        ("half a mutation", {"user": "acq"}, {"controller_mutation_rate": 1000000.5}),
        ("zero", {"user": "acq-zero"}, {"consumer_byte_rate": 0.0}),
        ("negative", {"user": "acq-negative"}, {"consumer_byte_rate": -1.0}),
        ("no ops", {"user": "acq"}, {}),
        ("one good, one bad", {"user": "acq-mixed"}, {"consumer_byte_rate": 1e9, "nope": 1.0}),
    ):
        names: Entity = dict(entity)
        values: Ops = dict(ops)
        altered(s, label, alteration((names, values)))
    altered(
        s,
        "an entity twice",
        alteration(
            ({"user": "acq-twice"}, {"consumer_byte_rate": 1e9}),
            ({"user": "acq-twice"}, {"producer_byte_rate": 1e9}),
        ),
    )
    altered(
        s,
        "two entities, one bad",
        alteration(
            ({"user": "acq-good"}, {"consumer_byte_rate": 1e9}),
            ({"user": "acq-bad"}, {"nope": 1.0}),
        ),
    )
    twice = alteration(({"user": "acq-key"}, {"consumer_byte_rate": 1e9}))
    twice.entries[0].ops.append(OpData(key="consumer_byte_rate", value=2e9, remove=False))
    altered(s, "a key twice", twice)
    kind_twice = alteration(({"user": "acq-kind"}, {"consumer_byte_rate": 1e9}))
    kind_twice.entries[0].entity.append(EntityData(entity_type="user", entity_name="acq-other"))
    altered(s, "a type twice", kind_twice)
    altered(s, "nothing", alteration())
    # Names that nothing may break on.
    for name in ("a b", "ä/ö", "x=y,z", "<default>", "%3D"):
        set_quotas(s, {"client-id": name}, consumer_byte_rate=1e9)
    s.note("strange names", observe(found(s, ("client-id", ANY, None), strict=True), 1))
    s.note("users", observe(found(s, ("user", ANY, None), strict=True), 1))
