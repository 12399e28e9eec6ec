"""Stub of the native rewrite module (ext/tidelog/_native/rewrite.pyx).

Nothing for Python callers.
"""
