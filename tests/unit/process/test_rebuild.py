"""A data directory whose store is lost, from outside: what is refused, kept, found and written."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
from pathlib import Path

import pytest

from tests.unit.storage.ending_files import EndingFiles, Stopped
from tidelog.metadata.image import MetadataImage
from tidelog.metastore.local import LocalMetastore, load_image
from tidelog.process.data_directory import DataDirectory, DataDirectoryError, FileLock, LockedError
from tidelog.process.rebuild import RebuildError, RebuildReport, rebuild_store
from tidelog.storage.checkpoints import RECOVERY_POINT_CHECKPOINT, write_offsets
from tidelog.storage.clean_shutdown import write_clean_shutdown
from tidelog.storage.directory import DirectoryInUseError
from tidelog.storage.files import SYSTEM_FILES
from tidelog.storage.meta_properties import MetaProperties, write_meta_properties
from tidelog.storage.partition_metadata import write_partition_metadata

NOW_MS = 1_800_000_000_000
A, B = bytes([1]) * 16, bytes([2]) * 16


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Two nodes with the logs t-0, t-1 and u-0; the store is not there."""
    directory = DataDirectory.open(tmp_path / "data")
    for node_id in (1, 2):
        directory.add_node(node_id)
        own(directory.node_path(node_id), node_id, directory.cluster_id)
    directory.save()
    directory.close()
    for node, name, topic_id in ((1, "t-0", A), (2, "t-1", A), (2, "u-0", B)):
        make_log(directory.path / f"node-{node}" / name, topic_id)
    return directory.path


def own(folder: Path, node_id: int, cluster_id: str) -> None:
    write_meta_properties(str(folder / "meta.properties"), MetaProperties(cluster_id, node_id), 0)


def make_log(folder: Path, topic_id: bytes) -> None:
    folder.mkdir()
    write_partition_metadata(str(folder / "partition.metadata"), topic_id)


def rebuild(path: Path, *, force: bool = False) -> RebuildReport:
    return rebuild_store(path, now_ms=NOW_MS, rng=random.Random(1), force=force)


def image(path: Path) -> MetadataImage:
    store = LocalMetastore(path / "metadata.db")
    try:
        return load_image(store)
    finally:
        store.close()


def placement(path: Path) -> dict[str, list[int]]:
    topics = image(path).topics.values()
    return {topic.name: [one.leader for one in topic.partitions] for topic in topics}


def notes(report: RebuildReport) -> dict[str, str]:
    return {note.where: note.what for note in report.notes}


def everything(path: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file() and file.name != ".lock"
    }


def test_a_lost_store_is_made_anew(path: Path) -> None:
    before = everything(path)
    with pytest.raises(DataDirectoryError, match=f"tidelog metadata rebuild --data-dir {path}"):
        DataDirectory.open(path)
    seen: list[int] = []
    report = rebuild_store(path, now_ms=NOW_MS, rng=random.Random(1), on_log=lambda: seen.append(1))
    assert (report.logs, len(seen)) == (3, 3)
    assert (report.set_aside, report.notes) == (None, ())
    assert "missing" in report.reason
    assert placement(path) == {"t": [1, 2], "u": [2]}
    directory = DataDirectory.open(path)
    assert image(path).cluster_id == report.cluster_id == directory.cluster_id
    directory.close()
    # Nothing else was touched.
    after = everything(path)
    assert set(after) - set(before) == {"metadata.db"}
    assert before.items() <= after.items()


def test_a_damaged_store_is_kept(path: Path) -> None:
    (path / "metadata.db").write_bytes(b"garbage" * 1000)
    report = rebuild(path)
    assert report.set_aside == path / "metadata.db.set-aside-20270115T080000Z"
    assert report.set_aside.read_bytes() == b"garbage" * 1000
    assert "not a database" in report.reason
    assert placement(path) == {"t": [1, 2], "u": [2]}


def test_a_good_store_is_replaced_by_force_only(path: Path) -> None:
    rebuild(path)
    make_log(path / "node-1" / "w-0", bytes([3]) * 16)
    before = everything(path)
    with pytest.raises(RebuildError, match=r"is good \(2 topic\(s\)\)"):
        rebuild(path)
    assert everything(path) == before
    report = rebuild(path, force=True)
    assert report.set_aside is not None and report.set_aside.exists()
    assert set(placement(path)) == {"t", "u", "w"}


def test_a_store_of_a_later_version_is_replaced_by_force_only(path: Path) -> None:
    rebuild(path)
    store = LocalMetastore(path / "metadata.db")
    store._db.execute("UPDATE meta SET value = 2 WHERE key = 'format'")
    store.close()
    with pytest.raises(RebuildError, match=r"format 2.*--force"):
        rebuild(path)
    assert rebuild(path, force=True).set_aside is not None


def test_it_is_refused_while_a_broker_or_a_worker_runs(path: Path) -> None:
    lock = FileLock.take(path / ".lock")
    with pytest.raises(LockedError, match=f"in use by process {os.getpid()}"):
        rebuild(path)
    lock.release()
    descriptor = SYSTEM_FILES.lock(str(path / "node-2" / ".lock"))
    assert descriptor is not None
    with pytest.raises(DirectoryInUseError, match="node-2 is in use"):
        rebuild(path)
    os.close(descriptor)
    assert not (path / "metadata.db").exists()
    rebuild(path)
    # Its own locks are given up.
    FileLock.take(path / ".lock").release()
    descriptor = SYSTEM_FILES.lock(str(path / "node-2" / ".lock"))
    assert descriptor is not None
    os.close(descriptor)


def test_what_is_no_data_directory_is_left(tmp_path: Path) -> None:
    with pytest.raises(RebuildError, match="there is no data directory"):
        rebuild(tmp_path / "none")
    (tmp_path / "photos").mkdir()
    with pytest.raises(RebuildError, match="is no data directory"):
        rebuild(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["photos"]


@pytest.mark.parametrize("damage", [None, b"", b'{"format": 1}'])
def test_the_cluster_file_is_restored_from_the_nodes(path: Path, damage: bytes | None) -> None:
    file = path / "cluster.json"
    before = json.loads(file.read_bytes())
    file.unlink()
    if damage is not None:
        file.write_bytes(damage)
    with pytest.raises(DataDirectoryError, match="tidelog metadata rebuild"):
        DataDirectory.open(path)
    report = rebuild(path)
    assert json.loads(file.read_bytes()) == before
    assert "made anew" in notes(report)["cluster.json"]
    kept = [one.read_bytes() for one in path.glob("cluster.json.set-aside-*")]
    assert kept == ([] if damage is None else [damage])
    DataDirectory.open(path).close()


@pytest.mark.parametrize("damage", [None, b"garbage"])
def test_a_lost_cluster_file_needs_no_force_though_the_store_is_good(
    path: Path, damage: bytes | None
) -> None:
    rebuild(path)
    before = (path / "cluster.json").read_bytes()
    (path / "cluster.json").unlink()
    if damage is not None:
        (path / "cluster.json").write_bytes(damage)
    report = rebuild(path)
    assert "cluster.json" in report.reason
    assert (path / "cluster.json").read_bytes() == before
    assert sorted(image(path).topics) == ["t", "u"]


def test_a_cluster_file_of_a_later_version_is_not_replaced(path: Path) -> None:
    file = path / "cluster.json"
    file.write_bytes(file.read_bytes().replace(b'"format": 1', b'"format": 2'))
    with pytest.raises(RebuildError, match="format 2"):
        rebuild(path)


def test_folders_that_disagree_are_errors(path: Path) -> None:
    cluster_id = json.loads((path / "cluster.json").read_bytes())["cluster_id"]
    own(path / "node-2", 2, "b" * 22)
    with pytest.raises(RebuildError, match=f"node-2 belongs to cluster {'b' * 22}"):
        rebuild(path)
    own(path / "node-2", 3, cluster_id)
    with pytest.raises(RebuildError, match="node-2 belongs to node 3"):
        rebuild(path)
    (path / "cluster.json").unlink()
    own(path / "node-2", 1, cluster_id)
    with pytest.raises(RebuildError, match="both belong to node 1"):
        rebuild(path)
    own(path / "node-2", 2, "b" * 22)
    with pytest.raises(RebuildError, match=f"to cluster {cluster_id}, .*node-2 to {'b' * 22}"):
        rebuild(path)
    (path / "node-2" / "meta.properties").write_bytes(b"version=9\n")
    with pytest.raises(RebuildError, match=r"meta\.properties"):
        rebuild(path)
    assert not (path / "metadata.db").exists()


def test_a_nodes_missing_folder_is_an_error(path: Path) -> None:
    (path / "node-2").rename(path.parent / "elsewhere")
    with pytest.raises(RebuildError, match="node-2 of node 2 is missing"):
        rebuild(path)
    (path / "node-2").mkdir()
    report = rebuild(path)
    assert placement(path) == {"t": [1]}
    assert report.notes == ()


def test_what_is_not_taken_is_told_and_left(path: Path) -> None:
    for name in ("v-0.12-delete", "w-0.34-stray"):
        make_log(path / "node-1" / name, A)
    (path / "node-1" / "backup-2024").mkdir()
    (path / "node-1" / "notes").mkdir()
    (path / "node-2" / "t-1" / "leader-epoch-checkpoint").write_bytes(b"garbage")
    (path / "node-9").mkdir()
    make_log(path / "node-9" / "t-5", A)
    before = everything(path)
    report = rebuild(path)
    found = notes(report)
    assert found["node-1/v-0.12-delete"] == "a deleted log: left, the next start removes it"
    assert "rename it to w-0" in found["node-1/w-0.34-stray"]
    assert found["node-1/backup-2024"] == "no log is in it: left"
    assert found["node-1/notes"] == "not named as a log: left"
    assert "leader-epoch-checkpoint" in found["node-2/t-1"]
    assert found["node-9"] == "not a node's folder: 1 log(s) in it are left"
    assert len(found) == len(report.notes) == 6
    assert placement(path) == {"t": [1, 2], "u": [2]}
    assert before.items() <= everything(path).items()


@pytest.mark.parametrize("known", [True, False])
def test_recovery_expects_gaps_where_nobody_knows_what_is_compacted(
    path: Path, known: bool
) -> None:
    for node in ("node-1", "node-2"):
        write_offsets(str(path / node / RECOVERY_POINT_CHECKPOINT), {("t", 0): 5})
    write_clean_shutdown(str(path / "node-2"), 1)
    if known:
        rebuild(path)
        write_offsets(str(path / "node-1" / RECOVERY_POINT_CHECKPOINT), {("t", 0): 5})
        rebuild(path, force=True)
    else:
        rebuild(path)
    assert (path / "node-1" / RECOVERY_POINT_CHECKPOINT).exists() is known
    assert (path / "node-2" / RECOVERY_POINT_CHECKPOINT).exists(), "its stop was clean"


def test_a_disk_error_is_one_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_path: str) -> None:
        raise OSError(28, "No space left on device", "metadata.db.rebuild")

    monkeypatch.setattr(SYSTEM_FILES, "sync_file", fails)
    with pytest.raises(RebuildError, match=r"metadata\.db\.rebuild: No space left on device"):
        rebuild(path)
    assert not (path / "metadata.db").exists()


def stop_after(path: Path, steps: int) -> bool:
    """Whether a rebuild that ends after so many steps was not done by then."""
    try:
        rebuild_store(path, now_ms=NOW_MS, rng=random.Random(1), files=EndingFiles(steps))
    except Stopped:
        return True
    return False


def test_a_stop_at_any_step_is_made_good_by_running_it_again(path: Path, tmp_path: Path) -> None:
    cluster = json.loads((path / "cluster.json").read_bytes())
    (path / "cluster.json").write_bytes(b"{")
    garbage = b"garbage" * 1000
    for suffix in ("", "-wal", "-shm"):
        (path / f"metadata.db{suffix}").write_bytes(garbage)
    stores = []
    for steps in itertools.count():
        copy = tmp_path / str(steps)
        shutil.copytree(path, copy)
        stopped = stop_after(copy, steps)
        store = copy / "metadata.db"
        stores.append(store.read_bytes()[:7] if store.exists() else b"")
        if stores[-1] == b"":
            with pytest.raises(DataDirectoryError, match="tidelog metadata rebuild"):
                DataDirectory.open(copy)
        if stores[-1] in (b"", b"garbage"):
            rebuild(copy)
        DataDirectory.open(copy).close()
        assert placement(copy) == {"t": [1, 2], "u": [2]}
        assert json.loads((copy / "cluster.json").read_bytes()) == cluster
        kept = [file.read_bytes() for file in copy.glob("metadata.db.set-aside-*")]
        assert kept == [garbage] * 3
        if not stopped:
            break
    # Before, without any, and (its name not yet durable) with the new one.
    assert [len(list(group)) for _, group in itertools.groupby(stores)] == [4, 6, 2]


def test_logs_of_all_log_directories_are_found(path: Path) -> None:
    other, gone = path.parent / "other", path.parent / "gone"
    directory = DataDirectory.open(path.parent / "empty")
    directory.close()
    content = json.loads((path / "cluster.json").read_text())
    content["log_directories"] = [str(other), str(gone)]
    (path / "cluster.json").write_text(json.dumps(content))
    (other / "node-1").mkdir(parents=True)
    own(other / "node-1", 1, content["cluster_id"])
    make_log(other / "node-1" / "v-0", bytes([3]) * 16)
    report = rebuild(path)
    assert report.logs == 4
    assert placement(path) == {"t": [1, 2], "u": [2], "v": [1]}
    assert notes(report)[str(gone)] == "a log directory that is missing: what is in it is not found"
