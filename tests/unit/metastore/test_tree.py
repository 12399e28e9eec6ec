"""The seal of a znode holds in its place only."""

from __future__ import annotations

import pytest

from tidelog.metastore.contract import DamagedStoreError
from tidelog.metastore.tree import seal, unseal


@pytest.mark.parametrize("body", [b"", b"a", bytes(range(256)) * 100])
def test_what_was_sealed_comes_back(body: bytes) -> None:
    assert unseal("/a", seal("/a", body)) == body


def test_any_damage_is_found_and_told() -> None:
    sealed = seal("/a/b", b"some body")
    damaged = [sealed[:cut] for cut in range(len(sealed))]
    damaged += [
        sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :] for at in range(len(sealed))
    ]
    for data in [*damaged, sealed + b" "]:
        with pytest.raises(DamagedStoreError, match="/a/b"):
            unseal("/a/b", data)


def test_another_znodes_content_is_damage() -> None:
    with pytest.raises(DamagedStoreError):
        unseal("/b", seal("/a", b"body"))
