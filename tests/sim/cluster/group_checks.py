"""What has to hold of groups, whoever coordinates them and whatever happens.

- In one generation a partition is given to one member, and a member is given one thing.
- Generations that members were given never go back from one coordinator to the next.
- A committed offset that was acknowledged, or told to somebody, is told by every later coordinator,
  or a later one that was attempted.

A coordinator that does not know yet that it is none any more may tell what is old: so what was
told is ordered by the leader epochs of the coordinators.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.sim.cluster.checks import Broken, Place


class Acknowledged(NamedTuple):
    """A committed offset, acknowledged by the coordinator of this reign."""

    reign: int
    value: int


class GroupChecks:
    """Of one group."""

    def __init__(self) -> None:
        self._owners: dict[tuple[int, Place], str] = {}
        self._given: dict[tuple[int, str], frozenset[Place]] = {}
        #: By reign: the least and the greatest generation that were given.
        self._generations: dict[int, tuple[int, int]] = {}

    def given(self, reign: int, generation: int, member_id: str, places: frozenset[Place]) -> None:
        """A coordinator has answered a SyncGroup."""
        for place in places:
            owner = self._owners.setdefault((generation, place), member_id)
            if owner != member_id:
                raise Broken(
                    f"generation {generation}: {place} is given to {owner} and to {member_id}"
                )
        known = self._given.setdefault((generation, member_id), places)
        if known != places:
            raise Broken(f"generation {generation}: {member_id} is given {known} and {places}")
        low, high = self._generations.get(reign, (generation, generation))
        self._generations[reign] = min(low, generation), max(high, generation)
        for other, (least, greatest) in self._generations.items():
            if (other < reign and greatest > generation) or (other > reign and least < generation):
                raise Broken(
                    f"generation {generation} is given in leader epoch {reign}, and"
                    f" {least} to {greatest} in {other}"
                )


class OffsetChecks:
    """Of all groups: offsets are values that grow with every attempt for a place of a group."""

    def __init__(self) -> None:
        self._attempted: dict[tuple[str, Place], int] = {}
        self._acknowledged: dict[tuple[str, Place], list[Acknowledged]] = {}

    def next_value(self, group: str, place: Place) -> int:
        value = self._attempted.get((group, place), 0) + 1
        self._attempted[group, place] = value
        return value

    def attempts(self, group: str, place: Place, value: int) -> None:
        """The same for a value that grows by itself."""
        self._attempted[group, place] = max(value, self._attempted.get((group, place), 0))

    def acknowledged(self, group: str, place: Place, reign: int, value: int) -> None:
        """An OffsetCommit was a success, or somebody was told."""
        self._acknowledged.setdefault((group, place), []).append(Acknowledged(reign, value))

    def known(self, group: str, place: Place) -> int:
        """How many of them there are: what is asked from now on has to know those."""
        return len(self._acknowledged.get((group, place), ()))

    def told(self, group: str, place: Place, reign: int, value: int, known: int) -> None:
        """A coordinator has answered an OffsetFetch that was sent when `known` held."""
        if value > self._attempted.get((group, place), 0):
            raise Broken(f"{group} {place}: {value} is told, which nobody committed")
        for before in self._acknowledged.get((group, place), [])[:known]:
            if before.reign <= reign and value < before.value:
                raise Broken(
                    f"{group} {place}: {value} is told in leader epoch {reign} after"
                    f" {before.value} in {before.reign}"
                )
        # What a consumer went on from holds as what somebody committed does.
        self.acknowledged(group, place, reign, value)
