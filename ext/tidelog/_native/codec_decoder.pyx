"""Decodes messages by their compiled tables.

Used by every process that speaks the protocol; has no state. It must never read outside the buffer
it is given, nor allocate by a length that it has not compared with the bytes left. Depth of
recursion is the depth of the schema, which is fixed and small: no struct contains itself.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.float cimport PyFloat_FromDouble
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.long cimport PyLong_FromLong, PyLong_FromLongLong
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t

from tidelog._native.codec_plan cimport (
    FLAG_ARRAY,
    FLAG_COMPACT,
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
    WIRE_LENGTH,
    WIRE_OK,
    WIRE_SHORT,
    WIRE_VARINT,
    wire_array_length,
    wire_bytes,
    wire_cursor,
    wire_float64,
    wire_int8,
    wire_int16,
    wire_int32,
    wire_int64,
    wire_left,
    wire_string,
    wire_tagged_field,
    wire_uint16,
    wire_uvarint,
)

from tidelog.errors import MalformedMessageError


cdef extern from "Python.h":
    object PyType_GenericAlloc(PyTypeObject *cls, Py_ssize_t items)

# Lists up to this length are allocated at once; longer ones grow with what was really decoded, so
# that a count that the frame could just hold does not cost many times the frame at once.
cdef enum:
    LIST_AT_ONCE = 1024

cdef int64_t ELEMENTS_UNLIMITED = 2**62

# Beside the statuses of wire.h.
cdef enum:
    IS_NULL = 1
    MAX_STRING_LENGTH = 0x7FFF  # Kafka's


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
        # Kafka reads ill-formed UTF-8 with replacement characters and carries on (a Latin-1 client
        # id must not cost the connection).
        text = PyUnicode_DecodeUTF8(<const char *> data, size, "replace")
    # One of them may be longer than what it stands for: such a text could be written nowhere.
    if len(text.encode()) > MAX_STRING_LENGTH:
        raise MalformedMessageError(
            f"a text that is longer than {MAX_STRING_LENGTH} bytes with replacement characters"
        )
    return text


cdef bint _is_null_struct(Plan plan, Op *op, wire_cursor *cursor) except -1:
    """Reads what stands before a nullable struct: int8, negative for null; but when the field is
    tagged, an unsigned varint, 0 for null."""
    cdef int8_t marker = 0
    cdef uint32_t tagged_marker = 0
    cdef int status
    if op.flags & FLAG_TAGGED:
        status = wire_uvarint(cursor, &tagged_marker)
        marker = -1 if tagged_marker == 0 else 1
    else:
        status = wire_int8(cursor, &marker)
    if status != WIRE_OK:
        _malformed(plan, op, status, cursor)
    return marker < 0


cdef object _decode_one(Plan plan, Op *op, wire_cursor *cursor, Decoding *options):
    """One value that is no array."""
    cdef int8_t i8 = 0
    cdef int16_t i16 = 0
    cdef uint16_t u16 = 0
    cdef int32_t i32 = 0
    cdef int64_t i64 = 0
    cdef double f64 = 0
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
            status = IS_NULL
    elif op.kind == KIND_STRUCT:
        if op.flags & FLAG_NULLABLE and not op.flags & FLAG_ARRAY:
            if _is_null_struct(plan, op, cursor):
                return None
        return decode_struct(<Plan> op.sub, cursor, options)
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
            status = IS_NULL
    elif op.kind == KIND_UINT16:
        status = wire_uint16(cursor, &u16)
        if status == WIRE_OK:
            return PyLong_FromLong(u16)
    else:
        status = wire_float64(cursor, &f64)
        if status == WIRE_OK:
            return PyFloat_FromDouble(f64)
    _malformed(plan, op, status, cursor)


cdef object _decode_array(Plan plan, Op *op, wire_cursor *cursor, Decoding *options):
    cdef int32_t count = 0
    cdef Py_ssize_t i, _i
    cdef list items
    cdef object item
    cdef int status = wire_array_length(cursor, op.flags & FLAG_COMPACT, op.min_size, &count)
    if status != WIRE_OK:
        _malformed(plan, op, status, cursor)
    if count < 0:
        if op.flags & FLAG_NULLABLE:
            return None
        _malformed(plan, op, IS_NULL, cursor)
    options.elements_left -= count
    if options.elements_left < 0:
        raise MalformedMessageError(f"{plan.name}: too many elements of arrays")
    if count > LIST_AT_ONCE:
        items = []
        for _i in range(count):
            items.append(_decode_one(plan, op, cursor, options))
        return items
    items = PyList_New(count)
    for i in range(count):
        item = _decode_one(plan, op, cursor, options)
        Py_INCREF(item)  # PyList_SET_ITEM takes over a reference
        PyList_SET_ITEM(items, i, item)
    return items


cdef inline object _decode_field(Plan plan, Op *op, wire_cursor *cursor, Decoding *options):
    if op.flags & FLAG_ARRAY:
        return _decode_array(plan, op, cursor, options)
    return _decode_one(plan, op, cursor, options)


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


cdef int _decode_tagged(
    Plan plan, object message, wire_cursor *cursor, Decoding *options
) except -1:
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
            _set_slot(message, op.slot, _decode_field(plan, op, &field, options))
            if field.pos != field.end:
                raise MalformedMessageError(
                    f"{plan.name}: {<str> op.name} ends {wire_left(&field)} bytes before its size"
                )
        elif options.keep_unknown:
            if unknown is None:
                unknown = []
            unknown.append((tag, PyBytes_FromStringAndSize(<const char *> data, size)))
    if status != WIRE_OK:
        _malformed(plan, NULL, status, cursor)
    if unknown is not None:
        _set_slot(message, plan.unknown_slot, tuple(unknown))
    return 0


cdef object decode_struct(Plan plan, wire_cursor *cursor, Decoding *options):
    cdef object message = PyType_GenericAlloc(<PyTypeObject *> plan.cls, 0)
    cdef Py_ssize_t i
    for i in range(plan.op_count):
        _set_slot(
            message,
            plan.ops[i].slot,
            _decode_field(plan, &plan.ops[i], cursor, options),
        )
    for i in range(plan.absent_count):
        _set_default(message, &plan.absent[i])
    _set_slot(message, plan.unknown_slot, ())
    if plan.flexible:
        if wire_left(cursor) > 0 and cursor.pos[0] == 0:
            cursor.pos += 1
        else:
            _decode_tagged(plan, message, cursor, options)
        for i in range(plan.tagged_count):
            if _slot(message, plan.tagged[i].slot)[0] == NULL:
                _set_default(message, &plan.tagged[i])
    return message


def decode(
    Plan plan not None, buffer, Py_ssize_t offset=0, bint keep_unknown=False,
    int64_t elements_max=ELEMENTS_UNLIMITED
):
    """Decodes one struct that starts at `offset`; returns it and the offset behind it.

    buffer: bytes, bytearray or a contiguous memoryview. Unknown tagged fields are skipped, or with
    keep_unknown kept in `unknown_tagged_fields`. elements_max: of all arrays together, whatever
    their depth. Raises MalformedMessageError.
    """
    cdef Decoding options
    cdef Py_buffer view
    cdef wire_cursor cursor
    cdef object message
    options.keep_unknown = keep_unknown
    options.elements_left = elements_max
    PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE)
    try:
        if offset < 0 or offset > view.len:
            raise MalformedMessageError(f"{plan.name}: starts behind the end of the buffer")
        cursor.pos = <const uint8_t *> view.buf + offset
        cursor.end = <const uint8_t *> view.buf + view.len
        message = decode_struct(plan, &cursor, &options)
        return message, cursor.pos - <const uint8_t *> view.buf
    finally:
        PyBuffer_Release(&view)
