"""Power cuts at every operation of a log with transactions, for every durability level: afterwards
open transactions, aborted ones and the last stable offset are what the batches that are left say.
"""

from __future__ import annotations

import asyncio
import random
import shutil
from pathlib import Path

import pytest

from tests.recovery.disk.disk import Image, write_image
from tests.recovery.disk.operations import Operation
from tests.recovery.disk.part import ONE_IN, part
from tests.recovery.disk.recording import RecordingFiles, UnsyncedFiles
from tests.recovery.disk.script import LEVELS, Expectation, Ledger, started
from tests.recovery.disk.transactions import TransactionScript, check_transactions, model
from tests.recovery.test_power_cut import cuts


def life(folder: Path, level: str) -> tuple[list[Operation], Ledger]:
    files = RecordingFiles(str(folder))
    ledger = Ledger(lambda: len(files.journal))
    try:
        asyncio.run(TransactionScript(str(folder), files, level, ledger).run())
    finally:
        files.close_watched()
    return files.journal, ledger


async def recover(folder: Path, image: Image, expectation: Expectation, level: str) -> None:
    """Two starts on the same disk: they find the same, and it is right."""
    write_image(image, str(folder))
    try:
        async with started(str(folder), UnsyncedFiles(), level) as manager:
            found = check_transactions(manager, expectation)
        async with started(str(folder), UnsyncedFiles(), level) as manager:
            assert check_transactions(manager, expectation) == found
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("level", LEVELS)
def test_transactions_survive_a_power_cut(level: str, folder: Path) -> None:
    (folder / "life").mkdir()
    journal, ledger = life(folder / "life", level)
    last = model(ledger.now.histories[-1])
    assert len(last.aborted) > 5
    assert last.open == ()

    async def recover_all() -> int:
        count = 0
        for cut in part(cuts(journal, ledger, random.Random(level))):
            count += 1
            try:
                await recover(folder / f"disk-{count}", cut.image, cut.expectation, level)
            except Exception as error:
                raise AssertionError(str(cut)) from error
        return count

    assert asyncio.run(recover_all()) * ONE_IN > len(journal)
