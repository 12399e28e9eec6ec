"""Fetch (key 1), versions 4-18: answered by the native fetch lane of the net layer; here only its
row of the registry.

Behaviour: see ext/tidelog/_native/fetch_lane.pyx.

Version notes: 4 isolation level, 7 incremental sessions, 9 leader epochs, 11 rack, 12 flexible and
diverging epochs, 13 topic ids, 15 replica state instead of replica id, 16 the new leader in errors.
"""

from __future__ import annotations

from typing import Final

from tidelog.handlers.api import Api
from tidelog.protocol.api import ApiKey

API: Final = Api(ApiKey.FETCH, 4, 18, native=True)
