"""Compiled tables of messages (contract).

A `Plan` is the table of one struct in one version: an array of ops in wire order. It is built once,
then only read; it keeps its sub-plans and defaults alive. Objects of the struct's class are read
and written through the memory offsets of their slots.
"""

from libc.stdint cimport uint8_t, uint32_t

cdef enum Kind:
    KIND_BOOL
    KIND_INT8
    KIND_INT16
    KIND_UINT16
    KIND_INT32
    KIND_INT64
    KIND_FLOAT64
    KIND_UUID
    KIND_STRING
    KIND_BYTES
    KIND_STRUCT

cdef enum OpFlag:
    FLAG_ARRAY = 1
    FLAG_NULLABLE = 2
    FLAG_COMPACT = 4
    FLAG_IGNORABLE = 8
    FLAG_TAGGED = 16

cdef struct Op:
    uint8_t kind
    uint8_t flags
    uint32_t tag
    size_t min_size  # of one encoded element (arrays) or of the value
    Py_ssize_t slot  # offset of the slot in an object of the plan's class
    void *name  # borrowed str
    void *default  # borrowed; for structs a pristine object that is compared with, never handed out
    void *sub  # borrowed Plan of a struct, or NULL

cdef class Plan:
    cdef readonly object cls  # a type
    cdef readonly str name
    cdef readonly int version
    cdef readonly bint flexible
    cdef readonly size_t min_size
    cdef Op *ops  # regular fields in wire order
    cdef Py_ssize_t op_count
    cdef Op *tagged  # tagged fields, tags ascending
    cdef Py_ssize_t tagged_count
    cdef Op *absent  # fields that this version lacks
    cdef Py_ssize_t absent_count
    cdef Py_ssize_t unknown_slot
    cdef list refs  # what the ops borrow

    cdef Op *_compile(self, list specs) except? NULL
