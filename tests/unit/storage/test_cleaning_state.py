"""Who stops and keeps away the cleaning of a log."""

from __future__ import annotations

import asyncio

import pytest

from tidelog.errors import InvariantError
from tidelog.storage.cleaning_state import CleaningState


async def test_one_cleaning_at_a_time() -> None:
    state = CleaningState()
    stop = state.begin()
    assert state.running
    with pytest.raises(InvariantError):
        state.begin()
    state.end()
    assert not stop.is_set()
    assert state.may_begin


async def test_a_pause_stops_what_runs_and_keeps_the_next_away() -> None:
    state = CleaningState()
    stop = state.begin()
    pause = asyncio.ensure_future(state.pause())
    await asyncio.sleep(0)
    assert stop.is_set()
    assert not pause.done()
    state.end()
    await pause
    assert not state.may_begin
    async with state.paused():
        assert not state.may_begin
    assert not state.may_begin  # one pause is left
    state.resume()
    assert state.may_begin


async def test_a_pause_that_is_cancelled_is_none() -> None:
    state = CleaningState()
    state.begin()

    async def change() -> None:
        async with state.paused():
            raise AssertionError("the cleaning runs")

    waiting = asyncio.ensure_future(change())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    state.end()
    assert state.may_begin


async def test_a_problem_keeps_cleanings_away() -> None:
    state = CleaningState()
    state.problem = "damaged"
    assert not state.may_begin


async def test_a_truncation_takes_the_cleaned_offset_with_it() -> None:
    state = CleaningState()
    state.on_truncated(5)
    assert state.cleaned_offset is None
    state.cleaned_offset = 30
    state.on_truncated(50)
    assert state.cleaned_offset == 30
    state.on_truncated(20)
    assert state.cleaned_offset == 20
    state.stop()  # nothing runs
