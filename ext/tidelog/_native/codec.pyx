"""Table-driven encoder and decoder of Kafka's messages.

Used by every process that speaks the protocol; has no state but the plans. It must never read outside
the buffer it is given, nor allocate by a length that it has not compared with the bytes left. Depth of
recursion is the depth of the schema, which is fixed and small: no struct contains itself.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.float cimport PyFloat_AsDouble, PyFloat_FromDouble
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.long cimport PyLong_FromLong, PyLong_FromLongLong
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.object cimport Py_EQ, PyObject, PyObject_RichCompareBool, PyTypeObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport (
    INT64_MAX,
    INT64_MIN,
    int8_t,
    int16_t,
    int32_t,
    int64_t,
    uint8_t,
    uint16_t,
    uint32_t,
    uint64_t,
)
from libc.stdlib cimport free
from libc.string cimport memmove

from tidelog._native.wire cimport (
    WIRE_LENGTH,
    WIRE_OK,
    WIRE_SHORT,
    WIRE_VARINT,
    wire_array_length,
    wire_buffer,
    wire_bytes,
    wire_cursor,
    wire_float64,
    wire_int8,
    wire_int16,
    wire_int32,
    wire_int64,
    wire_left,
    wire_put_data,
    wire_put_float64,
    wire_put_int8,
    wire_put_int16,
    wire_put_int32,
    wire_put_int64,
    wire_put_uvarint,
    wire_reserve,
    wire_string,
    wire_tagged_field,
    wire_uint16,
    wire_uvarint,
)

from tidelog.errors import InvariantError, MalformedMessageError, MessageEncodeError


cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL
    long long PyLong_AsLongLongAndOverflow(object value, int *overflow) except? -1
    bint PyLong_Check(object value)
    bint PyUnicode_Check(object value)
    bint PyBytes_CheckExact(object value)
    bint PyList_Check(object value)
    bint PyTuple_Check(object value)
    Py_ssize_t Py_SIZE(object value)
    int PyObject_TypeCheck(object value, PyTypeObject *cls)
    object PyType_GenericAlloc(PyTypeObject *cls, Py_ssize_t items)

    PyTypeObject PyMemberDescr_Type

    ctypedef struct MemberDef "PyMemberDef":
        Py_ssize_t offset

    ctypedef struct MemberDescr "PyMemberDescrObject":
        MemberDef *d_member

cdef extern from "structmember.h":
    pass

# Lists up to this length are allocated at once; longer ones grow with what was really decoded, so
# that a count the frame could just hold does not cost eight times the frame before the first element.
cdef enum:
    LIST_AT_ONCE = 1024
    MAX_STRING_LENGTH = 0x7FFF
    MAX_TAGGED_FIELDS = 64

KINDS = {
    "bool": KIND_BOOL,
    "int8": KIND_INT8,
    "int16": KIND_INT16,
    "uint16": KIND_UINT16,
    "int32": KIND_INT32,
    "int64": KIND_INT64,
    "float64": KIND_FLOAT64,
    "uuid": KIND_UUID,
    "string": KIND_STRING,
    "bytes": KIND_BYTES,
    "struct": KIND_STRUCT,
}


cdef Py_ssize_t _slot_offset(object cls, str name) except -1:
    """Memory offset of the slot `name` in objects of cls."""
    cdef object descriptor = getattr(cls, name)
    if not PyObject_TypeCheck(descriptor, &PyMemberDescr_Type):
        raise InvariantError(f"{cls.__name__}.{name} is no slot")
    return (<MemberDescr *> <PyObject *> descriptor).d_member.offset


cdef class Plan:
    """Compiled table of one struct in one version.

    regular, tagged, absent: lists of (name, kind, is_array, nullable, compact, ignorable, tag,
    default, sub_plan). Regular ones in wire order, tagged ones by ascending tag. `default` of a
    struct field is a pristine object of its class, of an array [] or None.
    """

    def __cinit__(self):
        self.ops = NULL
        self.tagged = NULL
        self.absent = NULL

    def __init__(
        self, cls, int version, bint flexible, list regular, list tagged, list absent
    ):
        if self.refs is not None:
            raise InvariantError("a plan is built once")
        if not isinstance(cls, type):
            raise InvariantError(f"{cls!r} is no class")
        self.cls = cls
        self.name = f"{cls.__name__} v{version}"
        self.version = version
        self.flexible = flexible
        self.refs = []
        self.unknown_slot = _slot_offset(cls, "unknown_tagged_fields")
        self.ops = self._compile(regular)
        self.op_count = len(regular)
        self.tagged = self._compile(tagged)
        self.tagged_count = len(tagged)
        cdef Py_ssize_t i
        for i in range(self.tagged_count):
            self.tagged[i].flags |= FLAG_TAGGED
        self.absent = self._compile(absent)
        self.absent_count = len(absent)
        self.min_size = 1 if flexible else 0
        for i in range(self.op_count):
            if self.ops[i].flags & FLAG_ARRAY:
                self.min_size += 1 if self.ops[i].flags & FLAG_COMPACT else 4
            else:
                self.min_size += self.ops[i].min_size
        if self.tagged_count > MAX_TAGGED_FIELDS or (self.tagged_count and not flexible):
            raise InvariantError(f"{self.name}: tagged fields need a flexible version")

    def __dealloc__(self):
        PyMem_Free(self.ops)
        PyMem_Free(self.tagged)
        PyMem_Free(self.absent)

    def __repr__(self):
        return f"<Plan {self.name}, {self.op_count}+{self.tagged_count} fields>"

    cdef Op *_compile(self, list specs) except? NULL:
        cdef Op *ops
        cdef Op *op
        cdef Plan plan
        cdef Py_ssize_t i = 0
        if not specs:
            return NULL
        ops = <Op *> PyMem_Calloc(len(specs), sizeof(Op))
        if ops == NULL:
            raise MemoryError
        try:
            for name, kind, is_array, nullable, compact, ignorable, tag, default, sub in specs:
                op = &ops[i]
                i += 1
                op.kind = KINDS[kind]
                op.flags = (
                    (FLAG_ARRAY if is_array else 0)
                    | (FLAG_NULLABLE if nullable else 0)
                    | (FLAG_COMPACT if compact else 0)
                    | (FLAG_IGNORABLE if ignorable else 0)
                )
                op.tag = tag
                op.slot = _slot_offset(self.cls, name)
                op.name = <void *> name
                op.default = <void *> default
                self.refs.extend((name, default))
                if sub is not None:
                    plan = sub
                    self.refs.append(plan)
                    op.sub = <void *> plan
                op.min_size = _min_size(op)
        except BaseException:
            PyMem_Free(ops)
            raise
        return ops


cdef size_t _min_size(Op *op) except 0:
    """Least number of bytes of one encoded value (arrays: of one element)."""
    if op.kind <= KIND_INT8:
        return 1
    if op.kind == KIND_INT16 or op.kind == KIND_UINT16:
        return 2
    if op.kind == KIND_INT32:
        return 4
    if op.kind == KIND_INT64 or op.kind == KIND_FLOAT64:
        return 8
    if op.kind == KIND_UUID:
        return 16
    if op.kind == KIND_STRING:
        return 1 if op.flags & FLAG_COMPACT else 2
    if op.kind == KIND_BYTES:
        return 1 if op.flags & FLAG_COMPACT else 4
    if op.sub == NULL:
        return 1  # a struct that this version lacks
    if not op.flags & FLAG_ARRAY and op.flags & FLAG_NULLABLE:
        return 1
    if (<Plan> op.sub).min_size == 0:
        raise InvariantError(f"{(<Plan> op.sub).name} has no bytes")
    return (<Plan> op.sub).min_size


# ---- decoding ----------------------------------------------------------------------------------


cdef object _malformed(Plan plan, Op *op, int status, wire_cursor *cursor):
    cdef str reason
    if status == WIRE_SHORT:
        reason = f"does not fit into the {wire_left(cursor)} bytes left"
    elif status == WIRE_VARINT:
        reason = "has an overlong varint"
    elif status == WIRE_LENGTH:
        reason = "has an impossible length"
    else:
        reason = "is null"
    field = <str> op.name if op != NULL else "tagged fields"
    raise MalformedMessageError(f"{plan.name}: {field} {reason}")


cdef inline object _text(const uint8_t *data, Py_ssize_t size):
    try:
        return PyUnicode_DecodeUTF8(<const char *> data, size, NULL)
    except UnicodeDecodeError:
        # Kafka reads ill-formed UTF-8 with replacement characters and carries on (a Latin-1 client id
        # must not cost the connection).
        return PyUnicode_DecodeUTF8(<const char *> data, size, "replace")


cdef object _decode_one(Plan plan, Op *op, wire_cursor *cursor, bint keep_unknown):
    """One value that is no array."""
    cdef int8_t i8 = 0
    cdef int16_t i16 = 0
    cdef uint16_t u16 = 0
    cdef int32_t i32 = 0
    cdef uint32_t u32 = 0
    cdef int64_t i64 = 0
    cdef double f64 = 0
    cdef bint is_null
    cdef const uint8_t *data = NULL
    cdef int status
    if op.kind == KIND_INT32:
        status = wire_int32(cursor, &i32)
        if status == WIRE_OK:
            return PyLong_FromLong(i32)
    elif op.kind == KIND_STRING:
        status = wire_string(cursor, op.flags & FLAG_COMPACT, &data, &i32)
        if status == WIRE_OK:
            if i32 >= 0:
                return _text(data, i32)
            if op.flags & FLAG_NULLABLE and not op.flags & FLAG_ARRAY:
                return None
            status = 1
    elif op.kind == KIND_STRUCT:
        if op.flags & FLAG_NULLABLE and not op.flags & FLAG_ARRAY:
            # In front of a nullable struct: int8, negative for null; but when it is tagged, an
            # unsigned varint, 0 for null.
            if op.flags & FLAG_TAGGED:
                status = wire_uvarint(cursor, &u32)
                is_null = u32 == 0
            else:
                status = wire_int8(cursor, &i8)
                is_null = i8 < 0
            if status != WIRE_OK:
                _malformed(plan, op, status, cursor)
            if is_null:
                return None
        return decode_struct(<Plan> op.sub, cursor, keep_unknown)
    elif op.kind == KIND_INT16:
        status = wire_int16(cursor, &i16)
        if status == WIRE_OK:
            return PyLong_FromLong(i16)
    elif op.kind == KIND_INT64:
        status = wire_int64(cursor, &i64)
        if status == WIRE_OK:
            return PyLong_FromLongLong(i64)
    elif op.kind == KIND_INT8:
        status = wire_int8(cursor, &i8)
        if status == WIRE_OK:
            return PyLong_FromLong(i8)
    elif op.kind == KIND_BOOL:
        status = wire_int8(cursor, &i8)
        if status == WIRE_OK:
            return i8 != 0
    elif op.kind == KIND_UUID:
        status = WIRE_SHORT
        if wire_left(cursor) >= 16:
            data = cursor.pos
            cursor.pos += 16
            return PyBytes_FromStringAndSize(<const char *> data, 16)
    elif op.kind == KIND_BYTES:
        status = wire_bytes(cursor, op.flags & FLAG_COMPACT, &data, &i32)
        if status == WIRE_OK:
            if i32 >= 0:
                return PyBytes_FromStringAndSize(<const char *> data, i32)
            if op.flags & FLAG_NULLABLE and not op.flags & FLAG_ARRAY:
                return None
            status = 1
    elif op.kind == KIND_UINT16:
        status = wire_uint16(cursor, &u16)
        if status == WIRE_OK:
            return PyLong_FromLong(u16)
    else:
        status = wire_float64(cursor, &f64)
        if status == WIRE_OK:
            return PyFloat_FromDouble(f64)
    _malformed(plan, op, status, cursor)


cdef object _decode_array(Plan plan, Op *op, wire_cursor *cursor, bint keep_unknown):
    cdef int32_t count = 0
    cdef Py_ssize_t i
    cdef list items
    cdef object item
    cdef int status = wire_array_length(cursor, op.flags & FLAG_COMPACT, op.min_size, &count)
    if status != WIRE_OK:
        _malformed(plan, op, status, cursor)
    if count < 0:
        if op.flags & FLAG_NULLABLE:
            return None
        _malformed(plan, op, 1, cursor)
    if count > LIST_AT_ONCE:
        items = []
        for i in range(count):
            items.append(_decode_one(plan, op, cursor, keep_unknown))
        return items
    items = PyList_New(count)
    for i in range(count):
        item = _decode_one(plan, op, cursor, keep_unknown)
        Py_INCREF(item)  # PyList_SET_ITEM takes over a reference
        PyList_SET_ITEM(items, i, item)
    return items


cdef inline object _decode_field(Plan plan, Op *op, wire_cursor *cursor, bint keep_unknown):
    if op.flags & FLAG_ARRAY:
        return _decode_array(plan, op, cursor, keep_unknown)
    return _decode_one(plan, op, cursor, keep_unknown)


cdef inline PyObject **_slot(object message, Py_ssize_t offset) noexcept:
    return <PyObject **> (<char *> <PyObject *> message + offset)


cdef inline void _set_slot(object message, Py_ssize_t offset, object value) noexcept:
    cdef PyObject **slot = _slot(message, offset)
    cdef PyObject *old = slot[0]
    Py_INCREF(value)
    slot[0] = <PyObject *> value
    Py_XDECREF(old)


cdef int _set_default(object message, Op *op) except -1:
    """Mutable defaults are made anew: the object belongs to whoever decoded it."""
    cdef object default = <object> op.default
    if default is None:
        _set_slot(message, op.slot, None)
    elif op.flags & FLAG_ARRAY:
        _set_slot(message, op.slot, [])
    elif op.kind == KIND_STRUCT:
        _set_slot(message, op.slot, type(default)())
    else:
        _set_slot(message, op.slot, default)
    return 0


cdef int _decode_tagged(Plan plan, object message, wire_cursor *cursor, bint keep_unknown) except -1:
    cdef uint32_t count = 0
    cdef uint32_t tag = 0
    cdef uint32_t size = 0
    cdef const uint8_t *data = NULL
    cdef wire_cursor field
    cdef Op *op
    cdef Py_ssize_t i
    cdef list unknown = None
    cdef int status = wire_uvarint(cursor, &count)
    while status == WIRE_OK and count > 0:
        count -= 1
        status = wire_tagged_field(cursor, &tag, &data, &size)
        if status != WIRE_OK:
            break
        op = NULL
        for i in range(plan.tagged_count):
            if plan.tagged[i].tag == tag:
                op = &plan.tagged[i]
        if op != NULL:
            field.pos = data
            field.end = data + size
            _set_slot(message, op.slot, _decode_field(plan, op, &field, keep_unknown))
            if field.pos != field.end:
                raise MalformedMessageError(
                    f"{plan.name}: {<str> op.name} ends {wire_left(&field)} bytes before its size"
                )
        elif keep_unknown:
            if unknown is None:
                unknown = []
            unknown.append((tag, PyBytes_FromStringAndSize(<const char *> data, size)))
    if status != WIRE_OK:
        _malformed(plan, NULL, status, cursor)
    if unknown is not None:
        _set_slot(message, plan.unknown_slot, tuple(unknown))
    return 0


cdef object decode_struct(Plan plan, wire_cursor *cursor, bint keep_unknown):
    cdef object message = PyType_GenericAlloc(<PyTypeObject *> plan.cls, 0)
    cdef Py_ssize_t i
    for i in range(plan.op_count):
        _set_slot(
            message,
            plan.ops[i].slot,
            _decode_field(plan, &plan.ops[i], cursor, keep_unknown),
        )
    for i in range(plan.absent_count):
        _set_default(message, &plan.absent[i])
    _set_slot(message, plan.unknown_slot, ())
    if plan.flexible:
        if wire_left(cursor) > 0 and cursor.pos[0] == 0:
            cursor.pos += 1
        else:
            _decode_tagged(plan, message, cursor, keep_unknown)
        for i in range(plan.tagged_count):
            if _slot(message, plan.tagged[i].slot)[0] == NULL:
                _set_default(message, &plan.tagged[i])
    return message


def decode(Plan plan not None, buffer, Py_ssize_t offset=0, bint keep_unknown=False):
    """Decodes one struct that starts at `offset`; returns it and the offset behind it.

    buffer: bytes, bytearray or a contiguous memoryview. Unknown tagged fields are skipped, or with
    keep_unknown kept in `unknown_tagged_fields`. Raises MalformedMessageError.
    """
    cdef Py_buffer view
    cdef wire_cursor cursor
    cdef object message
    PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE)
    try:
        if offset < 0 or offset > view.len:
            raise MalformedMessageError(f"{plan.name}: starts behind the end of the buffer")
        cursor.pos = <const uint8_t *> view.buf + offset
        cursor.end = <const uint8_t *> view.buf + view.len
        message = decode_struct(plan, &cursor, keep_unknown)
        return message, cursor.pos - <const uint8_t *> view.buf
    finally:
        PyBuffer_Release(&view)


# ---- encoding ----------------------------------------------------------------------------------


cdef object _unwritable(Plan plan, Op *op, str reason):
    raise MessageEncodeError(f"{plan.name}: {<str> op.name} {reason}")


cdef uint8_t *_reserve(wire_buffer *out, size_t more) except NULL:
    cdef uint8_t *p = wire_reserve(out, more)
    if p == NULL:
        raise MemoryError
    return p


cdef int64_t _integer(Plan plan, Op *op, object value, int64_t low, int64_t high) except? -1:
    cdef int overflow = 0
    cdef int64_t number
    if not PyLong_Check(value):
        _unwritable(plan, op, f"is no integer but {value!r}")
    number = PyLong_AsLongLongAndOverflow(value, &overflow)
    if overflow or number < low or number > high:
        _unwritable(plan, op, f"is out of range: {value!r}")
    return number


cdef int _put_length(
    Plan plan, Op *op, int64_t length, bint compact, wire_buffer *out
) except -1:
    """Length prefix of bytes and arrays, -1 for null."""
    if length > 0x7FFFFFFF:
        _unwritable(plan, op, "is too long")
    cdef uint8_t *p = _reserve(out, 5)
    cdef uint8_t *end
    if compact:
        end = wire_put_uvarint(p, <uint32_t> (length + 1))
    else:
        end = wire_put_int32(p, <int32_t> length)
    out.length += end - p
    return 0


cdef int _put_data(const void *data, Py_ssize_t size, wire_buffer *out) except -1:
    if size > 0:
        wire_put_data(_reserve(out, size), data, size)
        out.length += size
    return 0


cdef int _encode_null(Plan plan, Op *op, wire_buffer *out) except -1:
    """Null of any kind; only where the version has it."""
    if not op.flags & FLAG_NULLABLE:
        _unwritable(plan, op, "is None, but has no null in this version")
    if op.flags & FLAG_ARRAY or op.kind == KIND_BYTES:
        return _put_length(plan, op, -1, op.flags & FLAG_COMPACT, out)
    cdef uint8_t *p = _reserve(out, 2)
    if op.kind == KIND_STRUCT:
        wire_put_int8(p, 0 if op.flags & FLAG_TAGGED else -1)
        out.length += 1
    elif op.flags & FLAG_COMPACT:
        wire_put_uvarint(p, 0)
        out.length += 1
    else:
        wire_put_int16(p, -1)
        out.length += 2
    return 0


cdef int _encode_string(Plan plan, Op *op, object value, wire_buffer *out) except -1:
    cdef Py_ssize_t size = 0
    cdef const char *text = NULL
    cdef uint8_t *p
    cdef uint8_t *end
    if not PyUnicode_Check(value):
        _unwritable(plan, op, f"is no string but {value!r}")
    try:
        text = PyUnicode_AsUTF8AndSize(value, &size)
    except UnicodeEncodeError:
        _unwritable(plan, op, "has a lone surrogate")
    if size > MAX_STRING_LENGTH:
        _unwritable(plan, op, f"is longer than {MAX_STRING_LENGTH} bytes")
    p = _reserve(out, 5 + size)
    if op.flags & FLAG_COMPACT:
        end = wire_put_uvarint(p, <uint32_t> (size + 1))
    else:
        end = wire_put_int16(p, <int16_t> size)
    end = wire_put_data(end, text, size)
    out.length += end - p
    return 0


cdef int _encode_bytes(Plan plan, Op *op, object value, wire_buffer *out) except -1:
    cdef Py_buffer view
    if PyBytes_CheckExact(value):
        _put_length(plan, op, PyBytes_GET_SIZE(value), op.flags & FLAG_COMPACT, out)
        return _put_data(PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value), out)
    try:
        PyObject_GetBuffer(value, &view, PyBUF_SIMPLE)
    except (TypeError, BufferError):
        _unwritable(plan, op, f"is no contiguous buffer but {type(value).__name__}")
    try:
        _put_length(plan, op, view.len, op.flags & FLAG_COMPACT, out)
        _put_data(view.buf, view.len, out)
    finally:
        PyBuffer_Release(&view)
    return 0


cdef int _encode_one(Plan plan, Op *op, object value, wire_buffer *out) except -1:
    """One value that is no array and not None."""
    cdef uint8_t *p
    cdef double f64
    if op.kind == KIND_INT32:
        p = _reserve(out, 4)
        wire_put_int32(p, <int32_t> _integer(plan, op, value, -0x80000000LL, 0x7FFFFFFFLL))
        out.length += 4
    elif op.kind == KIND_STRING:
        _encode_string(plan, op, value, out)
    elif op.kind == KIND_STRUCT:
        if op.flags & FLAG_NULLABLE and not op.flags & FLAG_ARRAY:
            wire_put_int8(_reserve(out, 1), 1)
            out.length += 1
        encode_struct(<Plan> op.sub, value, out)
    elif op.kind == KIND_INT16:
        p = _reserve(out, 2)
        wire_put_int16(p, <int16_t> _integer(plan, op, value, -0x8000, 0x7FFF))
        out.length += 2
    elif op.kind == KIND_INT64:
        p = _reserve(out, 8)
        wire_put_int64(p, _integer(plan, op, value, INT64_MIN, INT64_MAX))
        out.length += 8
    elif op.kind == KIND_INT8:
        p = _reserve(out, 1)
        wire_put_int8(p, <int8_t> _integer(plan, op, value, -0x80, 0x7F))
        out.length += 1
    elif op.kind == KIND_BOOL:
        if value is not True and value is not False:
            _unwritable(plan, op, f"is no bool but {value!r}")
        wire_put_int8(_reserve(out, 1), value is True)
        out.length += 1
    elif op.kind == KIND_UUID:
        if not PyBytes_CheckExact(value) or PyBytes_GET_SIZE(value) != 16:
            _unwritable(plan, op, f"is no 16 bytes but {value!r}")
        _put_data(PyBytes_AS_STRING(value), 16, out)
    elif op.kind == KIND_BYTES:
        _encode_bytes(plan, op, value, out)
    elif op.kind == KIND_UINT16:
        p = _reserve(out, 2)
        wire_put_int16(p, <int16_t> <uint16_t> _integer(plan, op, value, 0, 0xFFFF))
        out.length += 2
    else:
        if not isinstance(value, (float, int)):
            _unwritable(plan, op, f"is no float but {value!r}")
        f64 = PyFloat_AsDouble(value)
        wire_put_float64(_reserve(out, 8), f64)
        out.length += 8
    return 0


cdef int _encode_field(Plan plan, Op *op, object value, wire_buffer *out) except -1:
    cdef Py_ssize_t i, count
    if value is None:
        return _encode_null(plan, op, out)
    if not op.flags & FLAG_ARRAY:
        return _encode_one(plan, op, value, out)
    if PyList_Check(value):
        count = Py_SIZE(value)
        _put_length(plan, op, count, op.flags & FLAG_COMPACT, out)
        for i in range(count):
            if i >= Py_SIZE(value):
                _unwritable(plan, op, "changed while it was written")
            _encode_one(plan, op, (<list> value)[i], out)
    elif PyTuple_Check(value):
        count = Py_SIZE(value)
        _put_length(plan, op, count, op.flags & FLAG_COMPACT, out)
        for i in range(count):
            _encode_one(plan, op, (<tuple> value)[i], out)
    else:
        _unwritable(plan, op, f"is no list but {type(value).__name__}")
    return 0


cdef object _value(Plan plan, Op *op, object message):
    cdef PyObject *value = _slot(message, op.slot)[0]
    if value == NULL:
        _unwritable(plan, op, "was deleted")
    return <object> value


cdef bint _is_default(Op *op, object value) except -1:
    cdef object default = <object> op.default
    if value is default:
        return True
    if default is None or value is None:
        return False
    if op.flags & FLAG_ARRAY:
        return len(value) == 0
    return PyObject_RichCompareBool(value, default, Py_EQ)


cdef int _check_absent(Plan plan, object message) except -1:
    cdef Op *op
    cdef Py_ssize_t i
    for i in range(plan.absent_count):
        op = &plan.absent[i]
        if not op.flags & FLAG_IGNORABLE and not _is_default(op, _value(plan, op, message)):
            _unwritable(plan, op, "is set, but this version lacks it")
    return 0


cdef int _begin_tagged(uint32_t tag, wire_buffer *out) except -1:
    cdef uint8_t *p = _reserve(out, 10)
    out.length += wire_put_uvarint(p, tag) - p
    out.length += 5  # room for the longest size; _end_tagged closes the gap
    return 0


cdef int _end_tagged(size_t start, wire_buffer *out) except -1:
    """start: offset of the field's data, 5 bytes behind where its size belongs."""
    cdef size_t size = out.length - start
    if size > 0x7FFFFFFF:
        raise MessageEncodeError("a tagged field is too long")
    cdef uint8_t *p = out.data + start - 5
    cdef uint8_t *end = wire_put_uvarint(p, <uint32_t> size)
    memmove(end, out.data + start, size)
    out.length = (end - out.data) + size
    return 0


cdef list _unknown_fields(Plan plan, object message):
    """The kept unknown tagged fields, tags ascending."""
    cdef PyObject *kept = _slot(message, plan.unknown_slot)[0]
    cdef Py_ssize_t i
    if kept == NULL or not <object> kept:
        return []
    fields = sorted(<object> kept, key=lambda field: field[0])
    for i in range(plan.tagged_count):
        if any(plan.tagged[i].tag == tag for tag, _ in fields):
            raise MessageEncodeError(f"{plan.name}: tag {plan.tagged[i].tag} is not unknown")
    return fields


cdef int _put_unknown(tuple field, wire_buffer *out) except -1:
    cdef uint32_t tag = field[0]
    cdef bytes data = field[1]
    _begin_tagged(tag, out)
    cdef size_t start = out.length
    _put_data(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), out)
    return _end_tagged(start, out)


cdef int _encode_tagged(Plan plan, object message, wire_buffer *out) except -1:
    cdef uint64_t present = 0
    cdef uint32_t count = 0
    cdef Py_ssize_t i
    cdef Py_ssize_t next_unknown = 0
    cdef size_t start
    cdef Op *op
    cdef uint8_t *p
    cdef list unknown = _unknown_fields(plan, message)
    for i in range(plan.tagged_count):
        if not _is_default(&plan.tagged[i], _value(plan, &plan.tagged[i], message)):
            present |= <uint64_t> 1 << i
            count += 1
    p = _reserve(out, 5)
    out.length += wire_put_uvarint(p, count + <uint32_t> len(unknown)) - p
    for i in range(plan.tagged_count):
        op = &plan.tagged[i]
        if present >> i & 1:
            while next_unknown < len(unknown) and unknown[next_unknown][0] < op.tag:
                _put_unknown(unknown[next_unknown], out)
                next_unknown += 1
            _begin_tagged(op.tag, out)
            start = out.length
            _encode_field(plan, op, _value(plan, op, message), out)
            _end_tagged(start, out)
    while next_unknown < len(unknown):
        _put_unknown(unknown[next_unknown], out)
        next_unknown += 1
    return 0


cdef int encode_struct(Plan plan, object message, wire_buffer *out) except -1:
    cdef Py_ssize_t i
    if not PyObject_TypeCheck(message, <PyTypeObject *> plan.cls):
        raise MessageEncodeError(f"{plan.name}: cannot be written from {type(message).__name__}")
    for i in range(plan.op_count):
        _encode_field(plan, &plan.ops[i], _value(plan, &plan.ops[i], message), out)
    if plan.absent_count:
        _check_absent(plan, message)
    if plan.flexible:
        _encode_tagged(plan, message, out)
    elif _unknown_fields(plan, message):
        raise MessageEncodeError(f"{plan.name}: has no tagged fields")
    return 0


cdef int _put_frame_size(size_t start, wire_buffer *out) except -1:
    """Fills in the int32 size at `start` of the frame that ends with the buffer."""
    cdef size_t size = out.length - start - 4
    if size > 0x7FFFFFFF:
        raise MessageEncodeError("a frame of more than 2 GiB")
    wire_put_int32(out.data + start, <int32_t> size)
    return 0


cdef int encode_response_frame_into(
    Plan plan, object message, int32_t correlation_id, bint flexible_header, wire_buffer *out
) except -1:
    cdef size_t start = out.length
    cdef uint8_t *p = _reserve(out, 9)
    wire_put_int32(p + 4, correlation_id)
    p[8] = 0
    out.length += 9 if flexible_header else 8
    encode_struct(plan, message, out)
    return _put_frame_size(start, out)


def encode(Plan plan not None, message):
    """The encoded struct, without any header. Raises MessageEncodeError."""
    cdef wire_buffer out
    out.data = NULL
    out.length = out.capacity = 0
    try:
        encode_struct(plan, message, &out)
        return PyBytes_FromStringAndSize(<const char *> out.data, out.length)
    finally:
        free(out.data)


def encode_frame(Plan plan not None, message, bytes header not None):
    """A whole frame: int32 size, `header` (already encoded), then the struct."""
    cdef wire_buffer out
    out.data = NULL
    out.length = out.capacity = 0
    try:
        _reserve(&out, 4)
        out.length = 4
        _put_data(PyBytes_AS_STRING(header), PyBytes_GET_SIZE(header), &out)
        encode_struct(plan, message, &out)
        _put_frame_size(0, &out)
        return PyBytes_FromStringAndSize(<const char *> out.data, out.length)
    finally:
        free(out.data)


def encode_response_frame(
    Plan plan not None, message, int32_t correlation_id, bint flexible_header
):
    """A whole answer: int32 size, correlation id, empty tagged section when flexible_header, body."""
    cdef wire_buffer out
    out.data = NULL
    out.length = out.capacity = 0
    try:
        encode_response_frame_into(plan, message, correlation_id, flexible_header, &out)
        return PyBytes_FromStringAndSize(<const char *> out.data, out.length)
    finally:
        free(out.data)
