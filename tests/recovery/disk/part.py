"""A part of many cases, another one in each run: what is tried often is not all tried each time.

TIDELOG_ONE_IN=1 tries them all, as one does after a change to what they test; the name of a case
that failed is in its error, and every case is the same in every run.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Iterable, Iterator
from typing import TypeVar

Case = TypeVar("Case")

#: One case in so many is tried.
ONE_IN = int(os.environ.get("TIDELOG_ONE_IN", "3"))


def part(cases: Iterable[Case]) -> Iterator[Case]:
    """Every `ONE_IN`th case, from one of the first on that chance chooses."""
    yield from itertools.islice(cases, random.SystemRandom().randrange(ONE_IN), None, ONE_IN)
