"""Compiled tables: what they refuse to be built from, and what they keep alive."""

import gc
import weakref

import pytest

from tests.unit.native.codec_tables import Everything, Inner, Inners, plan_of
from tidelog._native.codec_decoder import decode
from tidelog._native.codec_plan import Plan
from tidelog.errors import InvariantError
from tidelog.protocol.schema import Data, Struct, int8, plan, struct


def test_a_plan_is_built_once_and_only_for_structs() -> None:
    made = plan_of(0)
    with pytest.raises(InvariantError, match="built once"):
        made.__init__(Everything, 0, False, [], [], [])  # type: ignore[misc]
    with pytest.raises(AttributeError):
        Plan(int, 0, False, [], [], [])
    no_slot = [("FIELDS", "int8", False, False, False, False, 0, 0, None)]
    with pytest.raises(InvariantError, match="is no slot"):
        Plan(Inner, 0, False, no_slot, [], [])
    tagged = [("number", "int16", False, False, False, False, 0, 0, None)]
    with pytest.raises(InvariantError, match="need a flexible version"):
        Plan(Inner, 0, False, [], tagged, [])
    with pytest.raises(InvariantError, match="has no bytes"):
        empty = Plan(Inner, 0, False, [], [], [])
        inner = [("inners", "struct", True, False, False, False, 0, [], empty)]
        Plan(Inners, 0, False, inner, [], [])


def test_plans_keep_what_they_point_to() -> None:
    class Sub(Struct):
        number: int = int8()

    class Short(Data, versions="0", flexible="0+"):
        sub: Sub = struct(Sub, tag=0)

    made = plan(Short, 0)
    alive = weakref.ref(Sub)
    del Short, Sub
    gc.collect()
    assert alive() is not None
    message, _ = decode(made, b"\x01\x00\x02\x05\x00")
    assert message.sub.number == 5
