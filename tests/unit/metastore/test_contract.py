"""The contract's errors: whoever handles a storage error handles them."""

from __future__ import annotations

import pytest

from tidelog.errors import StorageError
from tidelog.metastore.contract import Metastore, MetastoreError, VersionConflictError


def test_errors_are_storage_errors() -> None:
    assert issubclass(VersionConflictError, MetastoreError)
    assert issubclass(MetastoreError, StorageError)


def test_a_store_has_to_keep_the_whole_contract() -> None:
    class Half(Metastore):
        def close(self) -> None: ...

    with pytest.raises(TypeError):
        Half()  # type: ignore[abstract]
