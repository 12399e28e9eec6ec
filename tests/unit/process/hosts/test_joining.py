"""How a data directory becomes that of one host among several, and what forbids it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.house.memory_ensemble import MemoryEnsemble, MemoryService
from tidelog.config.listeners import Endpoint
from tidelog.metadata.records import ClusterRecord, MoveRecord, TopicRecord
from tidelog.metastore.ensemble import RefusedError
from tidelog.metastore.local import LocalMetastore
from tidelog.process.data_directory import DataDirectory, DataDirectoryError
from tidelog.process.hosts.joining import Joining

ADDRESS = Endpoint("CLUSTER", "PLAINTEXT", "127.0.0.1", 0)


@pytest.fixture
def service() -> MemoryService:
    return MemoryService()


def opened(path: Path, *records: object) -> DataDirectory:
    """A data directory; with records, one that was a cluster of its own."""
    directory = DataDirectory.open(path)
    if records:
        store = LocalMetastore(directory.store_path)
        store.commit([ClusterRecord(directory.cluster_id), *records], 0)  # type: ignore[list-item]
        store.close()
    return directory


def joined(directory: DataDirectory, service: MemoryService) -> Joining:
    return Joining(directory, "zk:1/path", 6_000, MemoryEnsemble(service))


def test_new_directories_take_the_clusters_id(service: MemoryService, tmp_path: Path) -> None:
    first, second = opened(tmp_path / "1"), opened(tmp_path / "2")
    assert first.cluster_id != second.cluster_id
    places = [
        joined(directory, service).take_place(ADDRESS, (number,))
        for number, directory in enumerate((first, second))
    ]
    assert first.cluster_id == second.cluster_id
    assert first.host_id != second.host_id
    assert [place.imported for place in places] == [None, None]
    assert [place.agreed.importer for place in places] == [None, None]
    for place in places:
        assert place.host.address == f"127.0.0.1:{place.sock.getsockname()[1]}"
        place.sock.close()
    # Put away and opened again it is the same host.
    first.share()
    first.close()
    again = DataDirectory.open(first.path)
    assert (again.host_id, again.cluster_id, again.is_shared) == (
        *(first.host_id, first.cluster_id),
        True,
    )


def test_metadata_is_brought_once(service: MemoryService, tmp_path: Path) -> None:
    topic = TopicRecord(bytes(15) + b"\1", "t")
    first = opened(tmp_path / "1", topic)
    joining = joined(first, service)
    place = joining.take_place(ADDRESS, (1,))
    place.sock.close()
    assert place.agreed.importer == first.host_id
    assert place.imported is not None
    version, records = place.imported
    assert (version, topic in records) == (1, True)
    # Killed here and started again, it is brought again, by the same host.
    first.save()
    joining.close()
    first.close()
    again = DataDirectory.open(first.path)
    assert joined(again, service).take_place(ADDRESS, (1,)).imported == place.imported
    again.share()
    again.share()
    assert sorted(file.name for file in again.path.glob("metadata*")) == ["metadata.db.imported"]
    again.close()
    once_more = DataDirectory.open(first.path)
    assert once_more.is_shared
    assert joined(once_more, service).take_place(ADDRESS, (1,)).imported is None


def test_what_belongs_to_another_cluster_is_refused(service: MemoryService, tmp_path: Path) -> None:
    joined(opened(tmp_path / "1"), service)
    other = opened(tmp_path / "2", TopicRecord(bytes(15) + b"\1", "t"))
    with pytest.raises(RefusedError, match=f"belongs to cluster {other.cluster_id}"):
        joined(other, service)
    shared = opened(tmp_path / "3")
    shared.take_host_id()
    shared.share()
    with pytest.raises(RefusedError, match="belongs to cluster"):
        joined(shared, service)


def test_a_copy_brings_nothing(service: MemoryService, tmp_path: Path) -> None:
    first = opened(tmp_path / "1", TopicRecord(bytes(15) + b"\1", "t"))
    joined(first, service)
    copy = opened(tmp_path / "2")
    copy.cluster_id = first.cluster_id
    store = LocalMetastore(copy.store_path)
    store.commit([ClusterRecord(first.cluster_id)], 0)
    store.close()
    with pytest.raises(RefusedError, match="cannot be imported"):
        joined(copy, service)


def test_a_node_elsewhere_is_refused(service: MemoryService, tmp_path: Path) -> None:
    first = joined(opened(tmp_path / "1"), service)
    first.take_place(ADDRESS, (1, 2)).sock.close()
    second = joined(opened(tmp_path / "2"), service)
    with pytest.raises(RefusedError, match="--node-id"):
        second.take_place(ADDRESS, (2, 3))
    second.take_place(ADDRESS, (3, 4)).sock.close()
    first.close()
    third = joined(opened(tmp_path / "3"), service)
    third.take_place(ADDRESS, (1,)).sock.close()


def test_logs_on_their_way_stay(service: MemoryService, tmp_path: Path) -> None:
    topic_id = bytes(15) + b"\1"
    moving = opened(tmp_path / "1", TopicRecord(topic_id, "t"), MoveRecord(topic_id, 0, 1, 2))
    with pytest.raises(RefusedError, match="without --zookeeper"):
        joined(moving, service)


def test_logs_without_metadata_are_no_new_host(service: MemoryService, tmp_path: Path) -> None:
    directory = opened(tmp_path / "1")
    directory.add_node(1)
    log = directory.node_path(1) / "t-0"
    log.mkdir()
    (log / "partition.metadata").write_text("version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ\n")
    LocalMetastore(directory.store_path).close()
    with pytest.raises(DataDirectoryError, match="holds nothing"):
        joined(directory, service)
