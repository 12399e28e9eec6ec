"""The parts of a profile one after another, and how busy the machine was."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tidelog.profiling import session
from tidelog.profiling.brokers import BrokerPlace
from tidelog.profiling.gather import Limits, ProfileError
from tidelog.profiling.results import Report, Section
from tidelog.profiling.session import BusyWatch, Options, busy_before, needed_bytes, run_profile
from tidelog.profiling.stage_runs import StageRuns

LIMITS = Limits(1, 1.0, 100_000_000)


def options(directory: Path, *parts: str) -> Options:
    return Options(parts, LIMITS, directory, broker=BrokerPlace("a:1", 0))


def test_parts_are_measured_in_folders_that_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(
        part: str, _options: Options, folder: Path, tell: object, stages: StageRuns
    ) -> Section:
        assert folder.is_dir() and not stages.ran
        (folder / "file").touch()
        return Section(part, part.capitalize(), warnings=["mine"])

    monkeypatch.setattr(session, "measured", measured)
    monkeypatch.setattr(session, "busy_before", lambda: ["busy"])
    monkeypatch.setattr(BusyWatch, "warnings", lambda _, title: [f"{title} was disturbed"])
    heard: list[Section] = []
    found = run_profile(options(tmp_path, "disk", "broker"), lambda *_: None, heard.append)
    assert [section.name for section in found.sections] == ["disk", "broker"]
    assert found.sections[0].warnings == ["mine", "Disk was disturbed"]
    assert heard == found.sections
    assert found.warnings == ["busy"]
    assert found.settings["bootstrap"] == "a:1"
    assert str(tmp_path) not in str(found.to_json())
    assert Report.from_json(found.to_json()).to_json() == found.to_json()
    assert list(tmp_path.iterdir()) == []


def test_nothing_stays_of_a_part_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(_part: str, _options: Options, folder: Path, *_: object) -> Section:
        (folder / "file").touch()
        raise ProfileError("no")

    monkeypatch.setattr(session, "measured", measured)
    with pytest.raises(ProfileError, match=r"^no$"):
        run_profile(options(tmp_path, "network"), lambda *_: None, lambda _: None)
    assert list(tmp_path.iterdir()) == []


def test_the_largest_part_says_what_is_needed(tmp_path: Path) -> None:
    each = [needed_bytes(options(tmp_path, part)) for part in session.PARTS]
    assert needed_bytes(options(tmp_path, *session.PARTS)) == max(each)
    assert min(each) > 0


@pytest.mark.parametrize(("others_s", "told"), [(0.1, False), (1.5, True)])
def test_others_are_told(others_s: float, told: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    cpus = os.cpu_count() or 1
    readings = iter([(0.0, 100.0, 5.0), (2.0, 100.0 + 2.0 + others_s * cpus, 7.0)])
    monkeypatch.setattr(BusyWatch, "_read", lambda _: next(readings))
    with BusyWatch(0) as watch:
        pass
    assert watch.share == pytest.approx(others_s / 2)
    assert bool(watch.warnings("Disk")) == told


def test_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session.process_stats, "busy_share", lambda: 0.01)
    assert busy_before() == []
    monkeypatch.setattr(session.process_stats, "busy_share", lambda: 0.7)
    assert busy_before() == ["the machine was busy before the run: 70% of its CPUs"]


def test_this_process_and_the_measured_broker_are_no_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[list[int]] = []
    monkeypatch.setattr(session.process_stats, "cpu_s", lambda pids: float(asked.append(pids) or 0))
    for pid in (0, 7):
        with BusyWatch(pid):
            pass
    assert asked == [[os.getpid()]] * 2 + [[os.getpid(), 7]] * 2
