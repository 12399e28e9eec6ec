"""Names out of the files that this process has loaded."""

from __future__ import annotations

import ctypes
import struct
from pathlib import Path

import pytest

from tidelog._native import crc32c, log
from tidelog._native.sampler import Sampler
from tidelog.process.sampling.symbols import library_name, readable, resolve, symbol_names


@pytest.mark.parametrize(
    ("symbol", "module", "name"),
    [
        ("__pyx_f_7tidelog_7_native_3log_7LogCore_append_produce", "log", "LogCore.append_produce"),
        ("__pyx_pw_7tidelog_7_native_10connection_10Connection_5on_readable", "connection",
         "Connection.on_readable"),
        ("__pyx_f_7tidelog_7_native_5batch_crc_ok", "batch", "crc_ok"),
        ("__pyx_f_7tidelog_7_native_5batch_crc_ok.part.0", "batch", "crc_ok"),
        ("__pyx_pw_7tidelog_7_native_8segments_3read", "segments", "read"),
        ("__pyx_tp_dealloc_7tidelog_7_native_3log_LogCore", "log", "LogCore (tp_dealloc)"),
        ("__pyx_f_6uvloop_4loop_4Loop__run", "uvloop", "loop.Loop._run"),
        ("_PyEval_EvalFrameDefault.cold", "lib", "_PyEval_EvalFrameDefault"),
        ("__pyx_f_99toolong_x", "lib", "toolong_x"),
        ("plain", "lib", "plain"),
    ],
)  # fmt: skip
def test_names_as_a_person_would_write_them(symbol: str, module: str, name: str) -> None:
    assert readable("lib", symbol) == (module, name)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/usr/lib/libc.so.6", "libc"),
        ("/x/libpython3.11.so.1.0", "libpython3.11"),
        ("/x/log.cpython-311-x86_64-linux-gnu.so", "log"),
        ("/x/_sqlite.abi3.so", "_sqlite"),
        ("linux-vdso.so.1", "linux-vdso"),
        ("/usr/bin/thing", "thing"),
        ("", "python"),
    ],
)
def test_libraries_by_the_name_that_one_calls_them(path: str, name: str) -> None:
    assert library_name(path) == name


def modules() -> list[tuple[str, int, int, int]]:
    one = Sampler()
    one.prepare(1 << 16, 1)
    try:
        return one.modules()
    finally:
        one.release()


def test_addresses_of_libc_have_its_names() -> None:
    libc = ctypes.CDLL(None)
    addresses = {
        name: ctypes.cast(getattr(libc, name), ctypes.c_void_p).value or 0
        for name in ("recv", "sendfile", "pwrite", "epoll_wait", "fdatasync")
    }
    found = resolve(addresses.values(), modules())
    for name, address in addresses.items():
        assert (found[address].module, found[address].name) == ("libc", name)


def test_what_is_in_no_module_or_has_no_symbol_is_an_address() -> None:
    path, base, low, high = next(m for m in modules() if "crc32c" in m[0])
    found = resolve([1, high - 1, low], [(path, base, low, high)])
    assert found[1].module == "unknown" and found[1].name == "0x1"
    assert found[high - 1].name == f"crc32c+{high - 1 - base:#x}"
    gone = resolve([low], [("/nowhere/libgone.so", base, low, high)])
    assert gone[low].name.startswith("libgone+0x")


def test_an_address_in_a_function_has_its_name(tmp_path: Path) -> None:
    path = Path(crc32c.__file__)
    listed: dict[int, str] = {}
    for at in range(0, path.stat().st_size, 16):  # where functions are aligned
        listed[at] = ""
    named = symbol_names(path, set(listed))
    begin = next(at for at, name in named.items() if name == "tl_crc32c_hardware")
    assert symbol_names(path, {begin + 1})[begin + 1] == "tl_crc32c_hardware"


@pytest.mark.parametrize("cut", [0, 4, 64, 4096])
def test_damaged_files_have_no_names(tmp_path: Path, cut: int) -> None:
    damaged = tmp_path / "damaged.so"
    damaged.write_bytes(Path(log.__file__).read_bytes()[:cut])
    with pytest.raises((ValueError, IndexError, struct.error)):
        symbol_names(damaged, {0x1000})
    assert resolve([0x1000], [(str(damaged), 0, 0, 0x2000)])[0x1000].name == "damaged+0x1000"
