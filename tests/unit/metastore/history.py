"""A history of commits as their callers saw it, and whether a state fits to it."""

from __future__ import annotations

from collections.abc import Sequence

from tidelog.metadata.records import ChangeRecord, FeatureRecord
from tidelog.metastore.contract import Metastore
from tidelog.metastore.ensemble import SeatLostError


class History:
    """acknowledged: transactions by the version that they made. doubtful: those of which nobody
    knows whether they took effect, by the version that they would have made.
    """

    def __init__(self) -> None:
        self.acknowledged: dict[int, list[ChangeRecord]] = {}
        self.doubtful: dict[int, list[list[ChangeRecord]]] = {}

    @property
    def version(self) -> int:
        """The last that was acknowledged."""
        return max(self.acknowledged, default=0)

    def commit(
        self, store: Metastore, records: list[ChangeRecord], version: int, deposed: bool = False
    ) -> None:
        """Commits at that version; raises what the store raised. What raised anything but
        SeatLostError, and what a deposed holder tried, must have changed nothing.
        """
        # In doubt from now on: whoever loads meanwhile may find it.
        doubtful = [] if deposed else self.doubtful.setdefault(version + 1, [])
        doubtful.append(records)
        try:
            made = store.commit(records, version)
        except SeatLostError:
            raise
        except Exception:
            doubtful.remove(records)
            raise
        assert not deposed
        assert made == version + 1
        assert made not in self.acknowledged, "two transactions made one version"
        self.acknowledged[made] = records
        doubtful.remove(records)

    def fits(self, version: int, records: Sequence[ChangeRecord], least: int | None = None) -> bool:
        """Whether the state is what all acknowledged transactions made up to that version, and of
        the doubtful ones one where no acknowledged one is.

        least: the last acknowledged version when the state was asked for; None if it has not
        changed since.
        """
        if version < (self.version if least is None else least):
            return False
        found = {record.store_key: record for record in records}
        assert len(found) == len(records), "a key has more than one record"
        states: list[dict[tuple[str, str], ChangeRecord]] = [{}]
        for number in range(1, version + 1):
            if number in self.acknowledged:
                choices = [self.acknowledged[number]]
            else:
                choices = self.doubtful.get(number, [])
            states = [_after(state, change) for state in states for change in choices]
            states = [state for n, state in enumerate(states) if state not in states[:n]]
        return found in states


def _after(
    state: dict[tuple[str, str], ChangeRecord], change: list[ChangeRecord]
) -> dict[tuple[str, str], ChangeRecord]:
    after = dict(state)
    for record in change:
        if isinstance(record, FeatureRecord) and not record.level:
            after.pop(record.store_key, None)
        else:
            after[record.store_key] = record
    return after
