"""What a list of changes leaves: the latest record of every key.

Pure: the stores that keep a log of transactions, instead of rows, make their state with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tidelog.metadata.records import ChangeRecord, RemoveTopicRecord, is_removal


class Fold:
    """The state after all records that were applied, in order."""

    def __init__(self, records: Iterable[ChangeRecord] = ()) -> None:
        # By kind and the key up to its first slash, so that what a topic ends is found at once.
        self._groups: dict[tuple[str, str], dict[str, ChangeRecord]] = {}
        self.apply(records)

    def apply(self, records: Iterable[ChangeRecord]) -> None:
        """The same as in a row store: a value replaces, a removal ends its key and all below it."""
        for record in records:
            kind, key = record.store_key
            group = kind, key[: key.find("/") + 1]
            if not is_removal(record):
                self._groups.setdefault(group, {})[key] = record
                continue
            held = self._groups.get(group)
            if held is not None:
                held.pop(key, None)
                if not held:
                    del self._groups[group]
            if isinstance(record, RemoveTopicRecord):
                self._groups.pop(record.ends, None)

    def __iter__(self) -> Iterator[ChangeRecord]:
        for group in self._groups.values():
            yield from group.values()

    def __len__(self) -> int:
        return sum(map(len, self._groups.values()))
