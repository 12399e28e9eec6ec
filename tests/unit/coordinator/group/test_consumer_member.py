"""A member as a value."""

from __future__ import annotations

import random

from tidelog.coordinator.group.consumer_member import ConsumerMember, new_member_id

P, Q = (b"t" * 16, 0), (b"t" * 16, 1)


def test_the_last_epoch_is_kept_beside_the_new_one() -> None:
    member = ConsumerMember("m", epoch=3).in_epoch(5)
    assert (member.epoch, member.previous_epoch) == (5, 3)


def test_what_is_given_up_is_owned_until_it_is() -> None:
    member = ConsumerMember("m", assigned={P: 1}, revoking={Q: 1})
    assert member.owned == {P, Q}


def test_new_ids_are_uuids_in_kafkas_form() -> None:
    rng = random.Random(1)
    ids = {new_member_id(rng) for _ in range(100)}
    assert len(ids) == 100
    assert {len(each) for each in ids} == {22}
