"""Produce (key 0), versions 3-13: answered by the native produce lane of the net layer; here only
its row of the registry.

Behaviour: see ext/tidelog/_native/produce_lane.pyx. Versions 0-2 are advertised, as Kafka does
(KAFKA-18659), and refused.

Version notes: 3 record batches only, 8 errors of single records, 9 flexible, 10 the new leader in
errors, 13 topic ids.
"""

from __future__ import annotations

from typing import Final

from tidelog.handlers.api import Api
from tidelog.protocol.api import ApiKey

API: Final = Api(ApiKey.PRODUCE, 3, 13, native=True)
