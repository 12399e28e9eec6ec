"""The three kinds of wrong, and what a caller may catch by which base."""

import errno

import pytest

from tidelog import errors
from tidelog.errors import (
    InvariantError,
    MalformedMessageError,
    MessageEncodeError,
    PeerError,
    StorageError,
    SyncError,
    TidelogError,
    UnsupportedVersionError,
    may_be_tried_again,
)

KINDS = (PeerError, StorageError, InvariantError)


def test_every_exception_is_of_exactly_one_kind() -> None:
    found = [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, TidelogError) and value is not TidelogError
    ]
    assert len(found) >= 6
    for each in found:
        assert sum(issubclass(each, kind) for kind in KINDS) == 1, each


@pytest.mark.parametrize("error", [MalformedMessageError, UnsupportedVersionError])
def test_bad_bytes_are_the_peers_fault(error: type[Exception]) -> None:
    assert issubclass(error, PeerError)


def test_a_message_that_cannot_be_written_is_ours() -> None:
    assert issubclass(MessageEncodeError, InvariantError)


def test_what_may_be_tried_again() -> None:
    assert may_be_tried_again(OSError(errno.ENOSPC, "full"))
    assert may_be_tried_again(OSError(errno.EMFILE, "no descriptor"))
    assert not may_be_tried_again(OSError(errno.EIO, "disk"))
    assert not may_be_tried_again(SyncError(errno.ENOSPC, "full")), "pages were lost already"
    assert not may_be_tried_again(StorageError("damaged"))
