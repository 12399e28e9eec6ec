"""The three kinds of wrong, as exception bases.

Belongs to no process or task: every layer raises and catches these. Nothing in here may import from
the rest of the package.

* The peer's fault (`PeerError`): answered with an error code, or the connection is closed.
* The environment's fault (`StorageError`): the log or directory goes offline; nothing that was
  acknowledged is lost.
* Ours (`InvariantError`): never handled. The worker dies and the supervisor recovers it.
"""

import errno
from typing import Final

#: Errors of the system that say no more than that there is no room (on the disk, for descriptors):
#: what was done before is not in doubt, and the same may work later.
NO_ROOM: Final = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE))


class SyncError(OSError):
    """The disk did not take what was written: nobody knows what of it is there, and asking again
    would be answered with success (the system forgets failed pages)."""


def may_be_tried_again(error: BaseException) -> bool:
    """Whether the same may work later, and nothing was lost meanwhile."""
    return (
        isinstance(error, OSError) and error.errno in NO_ROOM and not isinstance(error, SyncError)
    )


class TidelogError(Exception):
    """Base of every exception that this package defines."""


class InvariantError(TidelogError):
    """Our own code is wrong: an invariant does not hold. Not to be caught and carried on from."""


class StorageError(TidelogError):
    """A disk, file or metastore failed or holds something unreadable."""


class PeerError(TidelogError):
    """The other side of a connection did something that it must not do."""


class MalformedMessageError(PeerError, ValueError):
    """Bytes that are no message of the expected schema and version: truncated, a hostile length."""


class MessageEncodeError(InvariantError, ValueError):
    """A message object that cannot be written: a value of a wrong type or out of range, null where
    the version has no null, or a value in a field that the version lacks and that must not be
    dropped silently."""


class TextTooLongError(PeerError, ValueError):
    """A text that is too long for any message (32,767 bytes). What is ours is far from it: it is a
    peer's own text with something added, as a member id that begins with the client's id. Kafka
    closes the connection, too."""


class UnsupportedVersionError(PeerError):
    """An API key or a version of it that has no table here."""


class KafkaError(PeerError):
    """A request, or one item of it, that is answered with an error code of Kafka's.

    `error_code` is a number of tidelog.protocol.error_codes; `message` goes into the answer's
    error_message where the API has one (None: the code's own text).
    """

    def __init__(self, error_code: int, message: str | None = None) -> None:
        super().__init__(int(error_code), message)
        self.error_code = int(error_code)
        self.message = message

    def __str__(self) -> str:
        return f"error {self.error_code}" if self.message is None else self.message
