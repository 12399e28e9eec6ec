"""Compiled tables of messages: what the decoder and the encoder interpret.

Built by tidelog.protocol.schema in every process that speaks the protocol, once for each struct and
version, then only read. It must never look at bytes of a message.
"""

from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.object cimport PyObject, PyTypeObject

from tidelog.errors import InvariantError


cdef extern from "Python.h":
    int PyObject_TypeCheck(object value, PyTypeObject *cls)

    PyTypeObject PyMemberDescr_Type

    ctypedef struct MemberDef "PyMemberDef":
        Py_ssize_t offset

    ctypedef struct MemberDescr "PyMemberDescrObject":
        MemberDef *d_member

cdef extern from "structmember.h":
    pass

cdef enum:
    MAX_TAGGED_FIELDS = 64  # the encoder's bit set

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
