"""The language in which Kafka's messages are written down here.

A struct is a class; its table is its body, one line per field, in wire order:

    class MetadataRequestTopic(Struct):
        topic_id: bytes = uuid("10+", ignorable=True)
        name: str | None = string(nullable="10+")

    class MetadataRequest(Request, api=ApiKey.METADATA):
        topics: list[MetadataRequestTopic] | None = array(MetadataRequestTopic, nullable="1+")
        allow_auto_topic_creation: bool = boolean("4+", default=True)

The class that comes out has one slot per field and nothing else: a keyword constructor in which
every field is optional, equality, a repr. `plan(cls, version)` compiles the table for the native
codec.

Words of a field:
    versions   the versions that have the field: "3", "1-4", "9+"; all when it is left out
    nullable   the versions in which None may be written
    default    the value when the constructor or the version does not have it. Without one: False,
               0, "", b"", sixteen zero bytes, a new list, a new struct, None for nullable records
    ignorable  a value is dropped silently by a version that lacks the field; without this word a
               value other than the default raises MessageEncodeError
    tag        number of a tagged field (KIP-482); tagged in all its versions, or only in `tagged`
    flexible   "none": keeps the old length prefix in flexible versions too (client_id)

UUIDs are 16 bytes, strings str, bytes and records bytes, arrays lists.

Belongs to no task; has no state but the tables and plans, which are built once and then only read.
It must never import a message table.
"""

from functools import partial
from typing import (
    Any,
    ClassVar,
    Final,
    Generic,
    NamedTuple,
    Protocol,
    TypeVar,
    dataclass_transform,
    overload,
)

from tidelog._native.codec_plan import Plan
from tidelog.errors import InvariantError, UnsupportedVersionError
from tidelog.protocol.api import ApiKey
from tidelog.protocol.versions import ALL, NO_VERSIONS, Versions

T = TypeVar("T")
S = TypeVar("S", bound="Struct")

ZERO_UUID: Final = bytes(16)


class Primitive(Generic[T]):
    """A type without fields. name: the codec's word for it; zero: the default value."""

    __slots__ = ("name", "zero")

    def __init__(self, name: str, zero: T) -> None:
        self.name = name
        self.zero = zero


BOOL: Final = Primitive("bool", False)
INT8: Final = Primitive("int8", 0)
INT16: Final = Primitive("int16", 0)
UINT16: Final = Primitive("uint16", 0)
INT32: Final = Primitive("int32", 0)
INT64: Final = Primitive("int64", 0)
FLOAT64: Final = Primitive("float64", 0.0)
UUID: Final = Primitive("uuid", ZERO_UUID)
STRING: Final = Primitive("string", "")
BYTES: Final = Primitive("bytes", b"")


class _Unset:
    """Type of UNSET: "no default was given"."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = _Unset()


class Field(NamedTuple):
    """One line of a table. struct is None for primitives; tag is -1 for fields without one."""

    name: str
    kind: str
    struct: "type[Struct] | None"
    is_array: bool
    versions: Versions
    nullable: Versions
    default: Any
    ignorable: bool
    tag: int
    tagged: Versions
    flexible: bool

    def new_default(self) -> Any:
        """The default value; lists and structs are new."""
        if self.default is None:
            return None
        if self.is_array:
            return []
        if self.struct is not None:
            return self.struct()
        return self.default


def _field(
    of: "Primitive[Any] | type[Struct]",
    versions: str | None = None,
    *,
    is_array: bool = False,
    nullable: str = "none",
    default: Any = UNSET,
    ignorable: bool = False,
    tag: int = -1,
    tagged: str | None = None,
    flexible: str | None = None,
) -> Any:
    """A Field that does not know its name yet. Typed Any: in a class body it stands for a value."""
    struct_type = None if isinstance(of, Primitive) else of
    if default is UNSET:
        default = [] if is_array else of.zero if isinstance(of, Primitive) else struct_type
    parsed_versions = ALL if versions is None else Versions.parse(versions)
    if tag < 0:
        parsed_tagged = NO_VERSIONS
    else:
        parsed_tagged = parsed_versions if tagged is None else Versions.parse(tagged)
    return Field(
        name="",
        kind=of.name if isinstance(of, Primitive) else "struct",
        struct=struct_type,
        is_array=is_array,
        versions=parsed_versions,
        nullable=Versions.parse(nullable),
        default=default,
        ignorable=ignorable,
        tag=tag,
        tagged=parsed_tagged,
        flexible=flexible != "none",
    )


# The words of the tables. Each returns a Field and says that it returns the field's value: so a
# type checker sees in `port: int = int32()` an int with a default, and checks constructors and
# attributes.


class Word(Protocol[T]):
    """A type that is never null: `error_code: int = int16("1+")`."""

    def __call__(
        self,
        versions: str | None = None,
        *,
        default: T = ...,
        ignorable: bool = False,
        tag: int = -1,
        tagged: str | None = None,
    ) -> T: ...


class NullableWord(Protocol[T]):
    """A type that is null in the versions of `nullable`, if that is given."""

    @overload
    def __call__(
        self,
        versions: str | None = None,
        *,
        default: T = ...,
        ignorable: bool = False,
        tag: int = -1,
        tagged: str | None = None,
    ) -> T: ...

    @overload
    def __call__(
        self,
        versions: str | None = None,
        *,
        nullable: str,
        default: T | None = ...,
        ignorable: bool = False,
        tag: int = -1,
        tagged: str | None = None,
        flexible: str | None = None,
    ) -> T | None: ...


def _word(of: Primitive[Any], **fixed: Any) -> Any:
    return partial(_field, of, **fixed)


boolean: Word[bool] = _word(BOOL)
int8: Word[int] = _word(INT8)
int16: Word[int] = _word(INT16)
uint16: Word[int] = _word(UINT16)
int32: Word[int] = _word(INT32)
int64: Word[int] = _word(INT64)
float64: Word[float] = _word(FLOAT64)
uuid: Word[bytes] = _word(UUID)
string: NullableWord[str] = _word(STRING)
bytes_: NullableWord[bytes] = _word(BYTES)


@overload
def records_(versions: str | None = None, *, tag: int = -1) -> bytes: ...
@overload
def records_(versions: str | None = None, *, nullable: str, tag: int = -1) -> bytes | None: ...
def records_(versions: str | None = None, **words: Any) -> Any:
    """Record batches as they stand in the frame; where they may be None, they are by default."""
    return _field(BYTES, versions, default=None if "nullable" in words else b"", **words)


@overload
def array(
    of: Primitive[T],
    versions: str | None = None,
    *,
    ignorable: bool = False,
    tag: int = -1,
    tagged: str | None = None,
) -> list[T]: ...
@overload
def array(
    of: Primitive[T],
    versions: str | None = None,
    *,
    nullable: str,
    default: None = ...,
    ignorable: bool = False,
    tag: int = -1,
    tagged: str | None = None,
) -> list[T] | None: ...
@overload
def array(
    of: type[S],
    versions: str | None = None,
    *,
    ignorable: bool = False,
    tag: int = -1,
    tagged: str | None = None,
) -> list[S]: ...
@overload
def array(
    of: type[S],
    versions: str | None = None,
    *,
    nullable: str,
    default: None = ...,
    ignorable: bool = False,
    tag: int = -1,
    tagged: str | None = None,
) -> list[S] | None: ...
def array(of: "Primitive[Any] | type[Struct]", versions: str | None = None, **words: Any) -> Any:
    """A list of primitives or structs. The only default that can be given is None."""
    return _field(of, versions, is_array=True, **words)


@overload
def struct(
    of: type[S],
    versions: str | None = None,
    *,
    ignorable: bool = False,
    tag: int = -1,
    tagged: str | None = None,
) -> S: ...
@overload
def struct(
    of: type[S],
    versions: str | None = None,
    *,
    nullable: str,
    default: None = ...,
    ignorable: bool = False,
    tag: int = -1,
    tagged: str | None = None,
) -> S | None: ...
def struct(of: "type[Struct]", versions: str | None = None, **words: Any) -> Any:
    """One struct within another. The only default that can be given is None."""
    return _field(of, versions, **words)


@dataclass_transform(kw_only_default=True, eq_default=True)
class StructMeta(type):
    """Turns the body of a struct into slots, a constructor and equality."""

    def __new__(
        mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **words: Any
    ) -> "StructMeta":
        fields = tuple(
            value._replace(name=key) for key, value in namespace.items() if isinstance(value, Field)
        )
        for field in fields:
            del namespace[field.name]
        namespace.setdefault("__slots__", tuple(field.name for field in fields))
        namespace["FIELDS"] = fields
        namespace["_PLANS"] = {}
        namespace["_MESSAGE_PLANS"] = {}
        namespace |= _methods(name, fields)
        return super().__new__(mcs, name, bases, namespace, **words)

    def __init__(
        cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **words: Any
    ) -> None:
        super().__init__(name, bases, namespace)


def _methods(name: str, fields: tuple[Field, ...]) -> dict[str, Any]:
    """__init__ and __eq__ written out for these fields: three times as fast as loops over them."""
    parameters: list[str] = []
    assignments: list[str] = []
    scope: dict[str, Any] = {"UNSET": UNSET}
    for field in fields:
        default = f"default_{field.name}"
        if field.default is None or not (field.is_array or field.struct):
            scope[default] = field.default
            assignments.append(f"self.{field.name} = {field.name}")
        else:
            scope[default] = UNSET
            scope[f"new_{field.name}"] = list if field.is_array else field.struct
            assignments.append(
                f"self.{field.name} = new_{field.name}() if {field.name} is UNSET else {field.name}"
            )
        parameters.append(f"{field.name}={default}")
    signature = ", ".join(["self", "*", *parameters] if parameters else ["self"])
    lines = [f"def __init__({signature}):", "    self.unknown_tagged_fields = ()"]
    lines += [f"    {line}" for line in assignments]
    equal = [f"self.{field.name} == other.{field.name}" for field in fields]
    equal.append("self.unknown_tagged_fields == other.unknown_tagged_fields")
    lines += [
        "def __eq__(self, other):",
        "    if type(other) is not type(self):",
        "        return NotImplemented",
        f"    return {' and '.join(equal)}",
    ]
    made: dict[str, Any] = {}
    exec("\n".join(lines), scope, made)  # the text is made of this package's tables only
    for method in made.values():
        method.__qualname__ = f"{name}.{method.__name__}"
    return made


class Struct(metaclass=StructMeta):
    """Base of everything with a table. Mutable, therefore not hashable."""

    __slots__ = ("unknown_tagged_fields",)
    __hash__ = None  # type: ignore[assignment]

    FIELDS: ClassVar[tuple[Field, ...]]
    _PLANS: ClassVar[dict[tuple[int, bool], Plan]]

    def __repr__(self) -> str:
        fields = ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in self.FIELDS)
        return f"{type(self).__name__}({fields})"


class Message(Struct):
    """Base of what stands on its own: has versions, of which some are flexible."""

    __slots__ = ()

    VERSIONS: ClassVar[Versions] = ALL
    FLEXIBLE: ClassVar[Versions] = NO_VERSIONS
    # The same plans as in _PLANS; a message's version already says whether it is flexible.
    _MESSAGE_PLANS: ClassVar[dict[int, Plan]]

    def __init_subclass__(
        cls, *, versions: str | None = None, flexible: str = "none", **words: Any
    ) -> None:
        super().__init_subclass__(**words)
        if versions is not None:
            cls.VERSIONS = Versions.parse(versions)
            cls.FLEXIBLE = Versions.parse(flexible)


class ApiMessage(Message):
    """Base of requests and responses: the API says which versions there are."""

    __slots__ = ()

    API: ClassVar[ApiKey]

    def __init_subclass__(cls, *, api: ApiKey | None = None, **words: Any) -> None:
        super().__init_subclass__(**words)
        if api is not None:
            cls.API = api
            cls.VERSIONS = api.versions
            cls.FLEXIBLE = api.flexible


class Request(ApiMessage):
    """Base of requests."""

    __slots__ = ()


class Response(ApiMessage):
    """Base of responses."""

    __slots__ = ()


class Data(Message):
    """Base of what is written into records: group and transaction state, assignments."""

    __slots__ = ()


def plan(cls: type[Message], version: int) -> Plan:
    """The compiled table of a message in one version. Raises UnsupportedVersionError."""
    known = cls._MESSAGE_PLANS.get(version)
    if known is not None:
        return known
    if not cls.VERSIONS.has(version):
        raise UnsupportedVersionError(f"{cls.__name__} has no version {version}")
    made = cls._MESSAGE_PLANS[version] = _plan(cls, version, cls.FLEXIBLE.has(version))
    return made


def _plan(cls: type[Struct], version: int, flexible: bool) -> Plan:
    known = cls._PLANS.get((version, flexible))
    if known is not None:
        return known
    regular: list[tuple[Any, ...]] = []
    tagged: list[tuple[Any, ...]] = []
    absent: list[tuple[Any, ...]] = []
    for field in cls.FIELDS:
        if not field.versions.has(version):
            target, sub = absent, None
        else:
            target = tagged if flexible and field.tagged.has(version) else regular
            sub = None if field.struct is None else _plan(field.struct, version, flexible)
            if target is regular and field.tag >= 0 and field.tagged == field.versions:
                raise InvariantError(f"{cls.__name__}.{field.name} is tagged in version {version}")
        target.append(
            (
                field.name,
                field.kind,
                field.is_array,
                field.nullable.has(version),
                flexible and field.flexible,
                field.ignorable,
                max(field.tag, 0),
                field.new_default(),
                sub,
            )
        )
    tagged.sort(key=lambda spec: spec[6])
    made = Plan(cls, version, flexible, regular, tagged, absent)
    cls._PLANS[version, flexible] = made
    return made
