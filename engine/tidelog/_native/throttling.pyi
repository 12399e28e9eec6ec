"""Stub of the quotas in the native lanes (ext/tidelog/_native/throttling.pyx)."""
