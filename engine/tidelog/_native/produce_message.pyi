"""Stub of the Produce messages (ext/tidelog/_native/produce_message.pyx): cdef only, used by the
lane.
"""

from tidelog._native.partition import Waiter

class ReasonTexts: ...
class ProduceMessage(Waiter): ...
