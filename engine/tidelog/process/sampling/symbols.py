"""Names of native functions: from the symbol tables of the files that are loaded (ELF), and as a
person would write them.

Runs on a helper thread, after the samples were taken. What it reads are files that this process has
mapped and runs; a damaged or stripped one costs its names.

| source | what |
|---|---|
| `.symtab`, else `.dynsym` | ELF-64, little-endian: value, size, name |
| Cython's names | `__pyx_f_7tidelog_7_native_3log_7LogCore_append` is `LogCore.append` of `log` |
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from tidelog.cpu_samples import NATIVE, Frame
from tidelog.limits import SAMPLING_SYMBOL_BYTES_MAX

_HEADER: Final = struct.Struct("<16xHHIQQQIHHHHHH")
_SECTION: Final = struct.Struct("<IIQQQQIIQQ")
_SYMBOL: Final = struct.Struct("<IBBHQQ")
_SHT_SYMTAB: Final = 2
_SHT_DYNSYM: Final = 11
_FUNCTIONS: Final = (0, 2, 10)  # no type (assembler), function, indirect function
_LOADED: Final = 0x2  # SHF_ALLOC

_LIBRARY: Final = re.compile(r"^(?:lib)?(.+?)(?:\.cpython-[^.]*|\.abi3)?\.so[\d.]*$")
_CLONE: Final = re.compile(r"\.(?:isra|constprop|part|cold|lto_priv|localalias)(?:\.\d+)*")
#: What stands before the parts of a name of Cython's: what kind of function it is.
_CYTHON: Final = re.compile(r"^__pyx_(\w*?)_(?=\d)")
_PLAIN: Final = ("f", "pw", "pf", "gb")
_PART: Final = re.compile(r"(\d+)")
_INDEXED: Final = re.compile(r"^\d+(?=[A-Za-z_])")

Module = tuple[str, int, int, int]


def resolve(addresses: Iterable[int], modules: Sequence[Module]) -> dict[int, Frame]:
    """Frames of functions by the addresses of their beginnings. modules: (path, base, first
    address, address behind the last); the program itself has the path "".
    """
    wanted = sorted(set(addresses))
    found: dict[int, Frame] = {}
    for path, base, low, high in modules:
        offsets = {address - base for address in wanted if low <= address < high}
        if not offsets:
            continue
        short = library_name(path)
        try:
            names = symbol_names(Path(path or "/proc/self/exe"), offsets)
        except (OSError, ValueError, struct.error, IndexError):
            names = {}
        for offset in offsets:
            name = names.get(offset)
            if name is None:
                frame = Frame(NATIVE, short, f"{short}+{offset:#x}")
            else:
                frame = Frame(NATIVE, *readable(short, name))
            found[base + offset] = frame
    for address in wanted:
        if address not in found:
            found[address] = Frame(NATIVE, "unknown", f"{address:#x}")
    return found


def library_name(path: str) -> str:
    """A library as one calls it: `libc.so.6` is libc, `log.cpython-311-...so` is log."""
    name = Path(path).name
    if not name:
        return "python"
    match = _LIBRARY.match(name)
    short = match[1] if match else name
    return f"lib{short}" if name.startswith("lib") and match else short


def symbol_names(path: Path, offsets: set[int]) -> dict[int, str]:
    """Names of the functions that begin there, or that have that address in them. Raises OSError,
    ValueError, struct.error, IndexError for what is no such file, or a damaged one.
    """
    if path.stat().st_size > SAMPLING_SYMBOL_BYTES_MAX:
        raise ValueError(f"{path} is too large")
    data = memoryview(path.read_bytes())
    if bytes(data[:6]) != b"\x7fELF\x02\x01":
        raise ValueError(f"{path} is no ELF file of 64 bits")
    head = _HEADER.unpack_from(data)
    at, size, count, names_index = head[5], head[10], head[11], head[12]
    sections = [_SECTION.unpack_from(data, at + i * size) for i in range(count)]
    found = _sections_of(data, sections, names_index, offsets)
    for kind in (_SHT_DYNSYM, _SHT_SYMTAB):  # what the second says is said last
        for section in sections:
            if section[1] == kind:
                found |= _functions_at(data, section, sections[section[6]], offsets)
    return found


def _functions_at(
    data: memoryview, table: Sequence[int], strings: Sequence[int], offsets: set[int]
) -> dict[int, str]:
    body = data[table[4] : table[4] + table[5] // _SYMBOL.size * _SYMBOL.size]
    exact: dict[int, list[str]] = {}
    inside: dict[int, str] = {}
    spans = sorted(offsets)
    for name_at, info, _, section, value, size in _SYMBOL.iter_unpack(body):
        if info & 0xF not in _FUNCTIONS or section == 0 or not name_at:
            continue
        if value in offsets:
            exact.setdefault(value, []).append(_text(data, strings[4] + name_at))
        if not size:
            continue
        first = bisect_right(spans, value)
        for offset in spans[first : bisect_left(spans, value + size, first)]:
            inside[offset] = _text(data, strings[4] + name_at)
    # Of several names of one function (recv, __recv, __libc_recv) the plainest.
    return inside | {
        value: min(names, key=lambda name: (name.startswith("_"), len(name), name))
        for value, names in exact.items()
    }


def _sections_of(
    data: memoryview, sections: Sequence[Sequence[int]], names_index: int, offsets: set[int]
) -> dict[int, str]:
    """What a table of jumps to other libraries is called: it has no symbols."""
    found = {}
    for section in sections:
        name = _text(data, sections[names_index][4] + section[0])
        if section[2] & _LOADED and name.startswith(".plt"):
            for offset in offsets:
                if section[3] <= offset < section[3] + section[5]:
                    found[offset] = "plt"
    return found


def _text(data: memoryview, at: int) -> str:
    end = at
    while data[end]:
        end += 1
    return bytes(data[at:end]).decode(errors="replace")


def readable(library: str, symbol: str) -> tuple[str, str]:
    """Module and name of a function by its symbol. Cython's say the module themselves."""
    symbol = _CLONE.sub("", symbol)
    kind = _CYTHON.match(symbol)
    if kind is None:
        return library, symbol
    rest, parts = symbol[kind.end() :], []
    while match := _PART.match(rest):
        size, start = int(match[1]), match.end()
        part, behind = rest[start : start + size], rest[start + size :]
        if len(part) < size or behind[:1] != "_":
            break
        parts.append(part)
        rest = behind[1:]
    for package in ("tidelog", "_native"):
        if parts[:1] == [package]:
            parts.pop(0)
    module = parts.pop(0) if parts else library
    name = ".".join([*parts, _INDEXED.sub("", rest)])
    return module, name if kind[1] in _PLAIN else f"{name} ({kind[1]})"
