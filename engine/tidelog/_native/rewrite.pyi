"""Stub of the native rewrite module (ext/tidelog/_native/rewrite.pyx): nothing for Python callers."""
