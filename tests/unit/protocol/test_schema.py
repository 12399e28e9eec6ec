"""The table language: the classes that come out of it, and every table in it."""

import copy
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from tests.oracle.protocol.messages import API_CLASSES, OTHER_CLASSES, name_of
from tidelog.errors import InvariantError, UnsupportedVersionError
from tidelog.protocol.api import ApiKey
from tidelog.protocol.schema import (
    INT32,
    STRING,
    ZERO_UUID,
    Data,
    Field,
    Request,
    Struct,
    array,
    boolean,
    bytes_,
    float64,
    int32,
    plan,
    records_,
    string,
    struct,
    uuid,
)


class Part(Struct):
    number: int = int32(default=3)


class Whole(Data, versions="1-3", flexible="2+"):
    flag: bool = boolean()
    ratio: float = float64()
    identity: bytes = uuid()
    name: str = string()
    label: str | None = string(nullable="0+", default=None)
    blob: bytes = bytes_()
    batches: bytes | None = records_(nullable="0+")
    always_there: bytes = records_()
    numbers: list[int] = array(INT32)
    names: list[str] | None = array(STRING, nullable="2+", default=None)
    part: Part = struct(Part)
    maybe: Part | None = struct(Part, nullable="2+", default=None)


def test_defaults() -> None:
    whole = Whole()
    assert (whole.flag, whole.ratio, whole.identity, whole.name) == (False, 0.0, ZERO_UUID, "")
    assert (whole.label, whole.blob, whole.batches, whole.always_there) == (None, b"", None, b"")
    assert (whole.numbers, whole.names, whole.maybe) == ([], None, None)
    assert whole.part == Part(number=3)


def test_mutable_defaults_are_not_shared() -> None:
    first, second = Whole(), Whole()
    assert first.numbers is not second.numbers
    assert first.part is not second.part


def test_given_values_are_taken_as_they_are() -> None:
    numbers = [1]
    whole = Whole(numbers=numbers, part=Part(number=9), names=[])
    assert whole.numbers is numbers
    assert whole.part.number == 9
    assert whole.names == []


def test_unknown_names_are_refused() -> None:
    with pytest.raises(TypeError, match="nmae"):
        Whole(nmae="x")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Whole("x")  # type: ignore[misc]
    with pytest.raises(AttributeError):
        Whole().nmae = "x"  # type: ignore[attr-defined]


def test_equality_and_repr() -> None:
    assert Part(number=1) == Part(number=1)
    assert Part(number=1) != Part(number=2)
    assert Part() != Whole()
    assert Part() != 3
    assert repr(Part(number=1)) == "Part(number=1)"
    with pytest.raises(TypeError):
        hash(Part())


def test_copies() -> None:
    whole = Whole(part=Part(number=5))
    assert copy.deepcopy(whole) == whole
    assert copy.copy(whole).part is whole.part


def test_instances_have_slots_only() -> None:
    assert not hasattr(Whole(), "__dict__")


def test_a_plan_is_made_once_for_each_version() -> None:
    assert plan(Whole, 2) is plan(Whole, 2)
    assert plan(Whole, 2) is not plan(Whole, 3)
    assert (plan(Whole, 1).flexible, plan(Whole, 2).flexible) == (False, True)


@pytest.mark.parametrize("version", [0, 4])
def test_versions_that_do_not_exist(version: int) -> None:
    with pytest.raises(UnsupportedVersionError, match=f"Whole has no version {version}"):
        plan(Whole, version)


def test_a_tagged_field_in_a_version_without_tags_is_a_mistake() -> None:
    class Wrong(Data, versions="0-1", flexible="1+"):
        number: int = int32(tag=0)

    plan(Wrong, 1)
    with pytest.raises(InvariantError, match=r"Wrong\.number is tagged in version 0"):
        plan(Wrong, 0)


def test_an_api_gives_its_versions() -> None:
    class Some(Request, api=ApiKey.SYNC_GROUP):
        pass

    assert (Some.API, Some.VERSIONS, Some.FLEXIBLE.low) == (ApiKey.SYNC_GROUP, (0, 5), 4)


# --- every table ----------------------------------------------------------------------------------

PYTHON_TYPES = {
    "bool": bool,
    "float64": float,
    "uuid": bytes,
    "string": str,
    "bytes": bytes,
}


def annotation_of(field: Field, cls: type[Struct]) -> Any:
    """What a field's annotation has to be."""
    element: Any = field.struct or PYTHON_TYPES.get(field.kind, int)
    expected = list[element] if field.is_array else element
    null = field.nullable.low <= field.nullable.high
    return expected | None if null else expected


def structs_of(cls: type[Struct]) -> set[type[Struct]]:
    nested = [structs_of(field.struct) for field in cls.FIELDS if field.struct is not None]
    return {cls}.union(*nested)


@pytest.mark.parametrize("cls", API_CLASSES + OTHER_CLASSES, ids=name_of)
def test_annotations_say_what_the_table_says(cls: type[Struct]) -> None:
    for each in structs_of(cls):
        hints = get_type_hints(each)
        own = {name: hints[name] for name in each.__annotations__}
        assert own == {field.name: annotation_of(field, each) for field in each.FIELDS}


@pytest.mark.parametrize("cls", API_CLASSES + OTHER_CLASSES, ids=name_of)
def test_tables_make_sense(cls: type[Struct]) -> None:
    for each in structs_of(cls):
        tags = [field.tag for field in each.FIELDS if field.tag >= 0]
        assert len(tags) == len(set(tags))
        for field in each.FIELDS:
            null = field.nullable.low <= field.nullable.high
            assert field.versions.low <= field.versions.high
            assert field.default is not None or null
            assert field.tag < 0 or field.tagged.low >= field.versions.low
            if field.is_array:
                assert get_origin(annotation_of(field, each)) is list or null
                assert get_args(annotation_of(field, each))
