"""Stub of the Fetch messages (ext/tidelog/_native/fetch_message.pyx): cdef only, used by the
lane.
"""

from tidelog._native.partition import Waiter

class FetchMessage(Waiter): ...
