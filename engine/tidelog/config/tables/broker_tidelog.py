"""Tidelog's own broker configs: limits and habits that Kafka has no name for.

Data only, owned by no process. A config is added here only when a user has a reason to change it.
"""

from __future__ import annotations

from tidelog.config.definition import ConfigType, Importance, Row, UpdateMode
from tidelog.config.validators import at_least

INT = ConfigType.INT
LONG = ConfigType.LONG
LOW = Importance.LOW
MEDIUM = Importance.MEDIUM
READ_ONLY = UpdateMode.READ_ONLY

# One row a config, wrapped by hand: name, type, default, allowed values, importance, update
# mode, and below them what it means.
# fmt: off
ROWS: tuple[Row, ...] = (
    ("tidelog.connection.max.inflight.requests", INT, 1024, at_least(1), MEDIUM, READ_ONLY,
     "Requests of one connection that may wait for their answers before no more are read."),
    ("tidelog.connection.max.queued.bytes", LONG, 67108864, at_least(65536), MEDIUM, READ_ONLY,
     "Bytes of one connection's requests and answers before no more is read from it."),
    ("tidelog.connection.max.unsent.bytes", LONG, 65536, at_least(4096), MEDIUM, READ_ONLY,
     "Bytes of answers that one connection may leave unread before no more is read from it."),
    ("tidelog.process.max.queued.bytes", LONG, 67108864, at_least(1048576), MEDIUM, READ_ONLY,
     "Bytes of requests and answers that one worker holds before it stops reading and closes"
     " connections that hold much and make no progress; queued.max.request.bytes, if smaller."),
    ("tidelog.sendfile.slice.bytes", INT, 262144, at_least(4096), LOW, READ_ONLY,
     "Most bytes sent to one connection before the others get their turn."),
    ("tidelog.open.segments.max", INT, 1000, at_least(1), LOW, READ_ONLY,
     "Files of segments that take no more appends which one worker keeps open; those that were not"
     " read for the longest time are closed, and opened again when they are read."),
    ("tidelog.helper.threads", INT, 4, at_least(1), LOW, READ_ONLY,
     "Threads of one worker that wait for the disk in place of its event loop."),
)
# fmt: on
