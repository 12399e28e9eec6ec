"""The transaction index: entries, what a fetch needs of them, truncation, damage."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidelog.errors import InvariantError
from tidelog.storage.txn_index import (
    AbortedTxn,
    CorruptTxnIndexError,
    TxnIndex,
    collect_aborted,
    decode_txns,
    encode_txn,
)

ONE = AbortedTxn(producer_id=7, first_offset=10, last_offset=20, last_stable_offset=15)
TWO = AbortedTxn(producer_id=8, first_offset=15, last_offset=30, last_stable_offset=31)
THREE = AbortedTxn(producer_id=7, first_offset=32, last_offset=40, last_stable_offset=41)
ALL = [ONE, TWO, THREE]


def test_bytes_are_kafka_s() -> None:
    assert encode_txn(ONE) == struct.pack(">hqqqq", 0, 7, 10, 20, 15)
    assert len(encode_txn(ONE)) == 34
    assert decode_txns(b"".join(map(encode_txn, ALL)), "f") == ALL


@pytest.mark.parametrize(
    ("fetch", "upper", "found", "complete"),
    [
        (0, 100, ALL, False),
        (0, 41, ALL, True),
        (0, 31, [ONE, TWO], True),
        (0, 15, [ONE], True),
        (0, 10, [], True),
        (20, 31, [ONE, TWO], True),
        (21, 31, [TWO], True),
        (31, 100, [THREE], False),
        (41, 100, [], False),
    ],
)
def test_collect(fetch: int, upper: int, found: list[AbortedTxn], complete: bool) -> None:
    assert collect_aborted(ALL, fetch, upper) == (found, complete)


def test_life_of_an_index(tmp_path: Path) -> None:
    path = str(tmp_path / "00000000000000000000.txnindex")
    index = TxnIndex.open(path, 0)
    assert not index.write()
    assert list(tmp_path.iterdir()) == []  # no file without an entry
    index.append(ONE)
    index.append(TWO)
    assert index.collect(0, 31).aborted == [ONE, TWO]
    assert index.pending
    assert index.write()
    assert not index.pending
    index.append(THREE)
    assert not index.write(durable=False)
    assert (tmp_path / "00000000000000000000.txnindex").stat().st_size == 3 * 34
    again = TxnIndex.open(path, 0)
    assert again.entries == ALL
    again.truncate_to(40)
    again.append(THREE._replace(last_offset=50))
    again.write()
    assert TxnIndex.open(path, 0).entries == [ONE, TWO, THREE._replace(last_offset=50)]


def test_truncation_of_what_was_never_written(tmp_path: Path) -> None:
    index = TxnIndex(str(tmp_path / "i.txnindex"), 0)
    for txn in ALL:
        index.append(txn)
    index.truncate_to(30)
    assert index.entries == [ONE]
    index.truncate_to(0)
    assert not index.write()
    assert list(tmp_path.iterdir()) == []


def test_entries_ascend() -> None:
    index = TxnIndex("f", 0)
    index.append(TWO)
    with pytest.raises(InvariantError):
        index.append(ONE)


@pytest.mark.parametrize(
    ("data", "entry"),
    [
        (encode_txn(ONE)[:-1], 0),
        (encode_txn(ONE) + encode_txn(TWO)[:5], 1),
        (encode_txn(ONE) + b"\x00\x01" + encode_txn(TWO)[2:], 1),
        (encode_txn(TWO) + encode_txn(ONE), 1),
        (encode_txn(ONE) + encode_txn(ONE), 1),
        (encode_txn(ONE._replace(first_offset=21)), 0),
        (encode_txn(ONE._replace(first_offset=-1)), 0),
        (encode_txn(ONE._replace(last_offset=4, first_offset=4)), 0),
    ],
)
def test_damage_names_file_and_entry(data: bytes, entry: int, tmp_path: Path) -> None:
    path = tmp_path / "i.txnindex"
    path.write_bytes(data)
    with pytest.raises(CorruptTxnIndexError) as caught:
        TxnIndex.open(str(path), 5)
    assert (caught.value.path, caught.value.entry) == (str(path), entry)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=10), st.data())
def test_collect_leaves_nothing_out(pairs: list[tuple[int, int]], data: st.DataObject) -> None:
    entries, end = [], 0
    for producer, (length, gap) in enumerate(pairs):
        end += gap + 1
        entries.append(AbortedTxn(producer, max(end - length, 0), end, end + 1))
    fetch = data.draw(st.integers(0, end + 5))
    upper = data.draw(st.integers(fetch, end + 5))
    found = collect_aborted(entries, fetch, upper).aborted
    wanted = [t for t in entries if t.last_offset >= fetch and t.first_offset < upper]
    # Those after the first one that was decided above the bound may begin below it; a reader that
    # stops at the bound still gets every one whose marker it has not passed.
    assert found == wanted[: len(found)]
    for missing in wanted[len(found) :]:
        assert missing.last_offset >= upper
