"""Encodes messages by their compiled tables.

Used by every process that speaks the protocol; has no state. What cannot be written is our own
mistake and raises MessageEncodeError; it must never be written as something else.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.float cimport PyFloat_AsDouble
from cpython.object cimport Py_EQ, PyObject, PyObject_RichCompareBool, PyTypeObject
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

from tidelog._native.codec_plan cimport (
    FLAG_ARRAY,
    FLAG_COMPACT,
    FLAG_IGNORABLE,
    FLAG_NULLABLE,
    FLAG_TAGGED,
    KIND_BOOL,
    KIND_BYTES,
    KIND_INT8,
    KIND_INT16,
    KIND_INT32,
    KIND_INT64,
    KIND_STRING,
    KIND_STRUCT,
    KIND_UINT16,
    KIND_UUID,
    Op,
    Plan,
)
from tidelog._native.wire cimport (
    wire_buffer,
    wire_put_data,
    wire_put_float64,
    wire_put_int8,
    wire_put_int16,
    wire_put_int32,
    wire_put_int64,
    wire_put_uvarint,
    wire_reserve,
)

from tidelog.errors import MessageEncodeError, TextTooLongError


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

cdef enum:
    MAX_STRING_LENGTH = 0x7FFF  # Kafka's, also in the compact form


cdef inline PyObject **_slot(object message, Py_ssize_t offset) noexcept:
    return <PyObject **> (<char *> <PyObject *> message + offset)


cdef object _unwritable(Plan plan, Op *op, str reason):
    raise MessageEncodeError(f"{plan.name}: {<str> op.name} {reason}")


cdef inline uint8_t *_reserve(wire_buffer *out, size_t more) except NULL:
    cdef uint8_t *p = wire_reserve(out, more)
    if p == NULL:
        raise MemoryError
    return p


cdef inline int64_t _integer(Plan plan, Op *op, object value, int64_t low, int64_t high) except? -1:
    cdef int overflow = 0
    cdef int64_t number
    if not PyLong_Check(value):
        _unwritable(plan, op, f"is no integer but {value!r}")
    number = PyLong_AsLongLongAndOverflow(value, &overflow)
    if overflow or number < low or number > high:
        _unwritable(plan, op, f"is out of range: {value!r}")
    return number


cdef inline int _put_length(
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
        raise TextTooLongError(
            f"{plan.name}: {<str> op.name} is longer than {MAX_STRING_LENGTH} bytes"
        )
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


cdef inline object _value(Plan plan, Op *op, object message):
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


cdef inline object _unknown_fields(Plan plan, object message):
    """The kept unknown tagged fields as a tuple of (tag, data), nearly always empty."""
    cdef PyObject *kept = _slot(message, plan.unknown_slot)[0]
    return () if kept == NULL else <object> kept


cdef list _in_order(Plan plan, object unknown):
    """Unknown tagged fields, tags ascending."""
    cdef Py_ssize_t i
    for i in range(plan.tagged_count):
        if any(plan.tagged[i].tag == tag for tag, _ in unknown):
            raise MessageEncodeError(f"{plan.name}: tag {plan.tagged[i].tag} is not unknown")
    return sorted(unknown, key=lambda field: field[0])


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
    cdef object kept = _unknown_fields(plan, message)
    if not kept and plan.tagged_count == 0:
        _reserve(out, 1)[0] = 0
        out.length += 1
        return 0
    cdef list unknown = _in_order(plan, kept) if kept else []
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
    """A whole answer: int32 size, correlation id, an empty tagged section if flexible, body."""
    cdef wire_buffer out
    out.data = NULL
    out.length = out.capacity = 0
    try:
        encode_response_frame_into(plan, message, correlation_id, flexible_header, &out)
        return PyBytes_FromStringAndSize(<const char *> out.data, out.length)
    finally:
        free(out.data)
