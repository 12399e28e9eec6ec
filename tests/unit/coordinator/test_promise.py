"""Answers that come later."""

from __future__ import annotations

import pytest

from tidelog.coordinator.promise import Promise
from tidelog.errors import InvariantError


@pytest.mark.parametrize("early", [True, False])
def test_the_callback_gets_the_answer_whenever_it_comes(early: bool) -> None:
    promise: Promise[int] = Promise()
    got: list[int] = []
    if early:
        promise.when_done(got.append)
        assert got == []
    promise.fulfil(7)
    if not early:
        promise.when_done(got.append)
    assert got == [7]
    assert (promise.done, promise.value) == (True, 7)


def test_an_answer_is_given_once() -> None:
    promise: Promise[int] = Promise()
    promise.fulfil(1)
    with pytest.raises(InvariantError):
        promise.fulfil(2)
