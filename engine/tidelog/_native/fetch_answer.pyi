"""Stub of the native reader of Fetch answers (ext/tidelog/_native/fetch_answer.pyx): C only."""
