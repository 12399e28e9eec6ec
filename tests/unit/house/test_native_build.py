"""The native build: what changes a module's key, and what is taken from a cache."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.house.build_tools import native_build as native


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small tree: log cimports segment, whose contract needs wire, which needs a header."""
    folder = tmp_path / native.SOURCES
    folder.mkdir(parents=True)
    texts = {
        "log.pyx": "from tidelog._native.segment cimport Segment\n",
        "log.pxd": "cdef class Log:\n    pass\n",
        "segment.pyx": "x = 1\n",
        "segment.pxd": "from tidelog._native.wire cimport Cursor\ncdef class Segment:\n    pass\n",
        "wire.pxd": 'cdef extern from "wire.h":\n    ctypedef struct Cursor:\n        pass\n',
        "wire.h": '#include "inner.h"\n',
        "inner.h": "\n",
        "other.pyx": "y = 1\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    return tmp_path


def test_files_of_a_module_are_found_through_contracts_and_headers(tree: Path) -> None:
    names = [path.name for path in native.module_files("log", tree)]
    assert names == ["inner.h", "log.pxd", "log.pyx", "segment.pxd", "wire.h", "wire.pxd"]


@pytest.mark.parametrize(
    ("changed", "rebuilt"),
    [
        ("log.pyx", {"log"}),
        ("segment.pyx", {"segment"}),
        ("segment.pxd", {"log", "segment"}),
        ("inner.h", {"log", "segment"}),
    ],
)
def test_a_change_rebuilds_what_depends_on_it(tree: Path, changed: str, rebuilt: set[str]) -> None:
    mode = native.MODES["release"]

    def keys() -> dict[str, str]:
        return {n: native.module_key(n, mode, "tools", tree) for n in native.module_names(tree)}

    before = keys()
    path = tree / native.SOURCES / changed
    path.write_text(path.read_text() + "# changed\n")
    after = keys()
    assert {name for name in before if before[name] != after[name]} == rebuilt


def test_mode_and_tools_are_part_of_the_key(tree: Path) -> None:
    keys = {
        native.module_key("log", mode, tools, tree)
        for mode in native.MODES.values()
        for tools in ("Cython 3.3", "Cython 3.4")
    }
    assert len(keys) == 2 * len(native.MODES)


def test_installing_is_recorded_and_a_touched_module_is_not_current(tmp_path: Path) -> None:
    built = tmp_path / "built.so"
    built.write_bytes(b"code")
    target = tmp_path / "package" / "log.so"
    assert not native.is_current(target, "key")
    native.install(built, target, "key")
    assert target.read_bytes() == b"code"
    assert native.is_current(target, "key")
    assert not native.is_current(target, "another")
    os.utime(target, ns=(1, 1))
    assert not native.is_current(target, "key")


def test_the_cache_gives_back_what_was_stored_and_forgets_old_versions(tmp_path: Path) -> None:
    mode = native.MODES["release"]
    folder = tmp_path / "cache"
    for number in range(native.KEPT_VERSIONS + 3):
        built = tmp_path / "built.so"
        built.write_bytes(b"%d" % number)
        native.store(built, "log", mode, f"key{number}", [folder])
        os.utime(folder / f"log-{mode.name}-key{number}.so", (number, number))
    assert native.find_cached("log", mode, "key0", [folder]) is None
    newest = native.find_cached("log", mode, f"key{native.KEPT_VERSIONS + 2}", [folder])
    assert newest.read_bytes() == b"%d" % (native.KEPT_VERSIONS + 2)
    assert native.find_cached("log", native.MODES["debug"], "key5", [folder]) is None
    assert len(list(folder.iterdir())) == native.KEPT_VERSIONS


def test_a_cache_that_cannot_be_written_is_no_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    built = tmp_path / "built.so"
    built.write_bytes(b"code")
    (tmp_path / "file").write_text("")
    native.store(built, "log", native.MODES["release"], "key", [tmp_path / "file" / "cache"])
    assert "native cache" in capsys.readouterr().err


def test_the_environment_chooses_the_mode() -> None:
    assert native.current_mode({}).name == "release"
    assert native.current_mode({"TIDELOG_DEBUG": "1"}).name == "debug"
    assert native.current_mode({"TIDELOG_SANITIZE": "address"}).name == "address"
    assert native.current_mode({"TIDELOG_SANITIZE": "fuzz"}).name == "fuzz"
    with pytest.raises(SystemExit):
        native.current_mode({"TIDELOG_SANITIZE": "memory"})
