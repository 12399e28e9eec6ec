"""What the native build knows about itself: modules, what each depends on, cache keys, the cache.

Imported by setup.py (which compiles), by ext/tools/build.py (which decides whether anything has to
be compiled) and by the tests that hold the cimport layers. Standard library only, since it runs
before anything is installed; it must never compile or install packages by itself.

A compiled module is named by the hash of everything that goes into it: its .pyx, every .pxd and .h
it reaches, the compiler flags and directives, and the versions of Python, Cython and the C
compiler. Equal hash, equal module: it is then copied from the cache instead of compiled.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = Path("ext/tidelog/_native")
PACKAGE = "tidelog._native"
CACHE = Path("build/cache")
# A module changes often while it is written; more old versions than this are not worth their disk.
KEPT_VERSIONS = 6


@dataclasses.dataclass(frozen=True)
class Mode:
    """One way to compile everything: its name, C flags, Cython directives."""

    name: str
    compile_args: tuple[str, ...]
    link_args: tuple[str, ...]
    directives: tuple[tuple[str, bool | int], ...]


def _directives(checked: bool) -> tuple[tuple[str, bool | int], ...]:
    return (
        ("language_level", 3),
        ("boundscheck", checked),
        ("wraparound", False),
        ("initializedcheck", checked),
        # Not nonecheck: Cython then refuses `self.field += n` in a method without the GIL.
        ("cdivision", True),
        ("embedsignature", True),
    )


_ASAN = ("-fsanitize=address", "-fno-omit-frame-pointer")
MODES = {
    # Without -fno-semantic-interposition calls between functions of one module go through the PLT.
    "release": Mode(
        "release",
        (
            "-O3",
            "-g0",
            "-fno-semantic-interposition",
            "-DTIDELOG_DEBUG=0",
            "-DCYTHON_WITHOUT_ASSERTIONS=1",
        ),
        (),
        _directives(False),
    ),
    "debug": Mode("debug", ("-O0", "-g", "-DTIDELOG_DEBUG=1"), (), _directives(True)),
    "address": Mode(
        "address", ("-O1", "-g", "-DTIDELOG_DEBUG=1", *_ASAN), _ASAN, _directives(True)
    ),
    # Every edge and every comparison is told to the fuzzer (tests/fuzz/coverage.c).
    "fuzz": Mode(
        "fuzz",
        (
            "-O1",
            "-g",
            "-DTIDELOG_DEBUG=1",
            *_ASAN,
            "-fsanitize-coverage=trace-pc",
            "-fsanitize-coverage=trace-cmp",
        ),
        _ASAN,
        _directives(True),
    ),
}


def current_mode(environ: dict[str, str] | os._Environ[str] = os.environ) -> Mode:
    """The mode that TIDELOG_SANITIZE (address, fuzz) or TIDELOG_DEBUG=1 asks for; else release."""
    if sanitizer := environ.get("TIDELOG_SANITIZE", ""):
        if sanitizer not in ("address", "fuzz"):
            raise SystemExit(f"TIDELOG_SANITIZE={sanitizer}: only 'address' and 'fuzz' are known")
        return MODES[sanitizer]
    return MODES["debug" if environ.get("TIDELOG_DEBUG") == "1" else "release"]


# --- what a source depends on ---------------------------------------------------------------------

_FROM_CIMPORT = re.compile(r"^\s*from\s+([.\w]+)\s+cimport\s+(\([^)]*\)|[^\n#]+)", re.MULTILINE)
_CIMPORT = re.compile(r"^\s*cimport\s+([^\n#]+)", re.MULTILINE)
_EXTERN = re.compile(r"""^\s*cdef\s+extern\s+from\s+["']([^"'<>]+)["']""", re.MULTILINE)
_INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


def native_cimports(source: str) -> set[str]:
    """Names of the native modules of this project that a .pyx or .pxd text cimports."""
    found: set[str] = set()
    for package, names in _FROM_CIMPORT.findall(source):
        if package in (PACKAGE, "."):
            found.update(name.split(" as ")[0].strip() for name in names.strip("()").split(","))
        elif package.startswith(PACKAGE + "."):
            found.add(package.removeprefix(PACKAGE + "."))
        elif re.fullmatch(r"\.\w+", package):
            found.add(package[1:])
    for modules in _CIMPORT.findall(source):
        for module in modules.split(","):
            name = module.split(" as ")[0].strip()
            if name.startswith(PACKAGE + "."):
                found.add(name.removeprefix(PACKAGE + "."))
    return {name for name in found if name}


def module_names(root: Path = ROOT) -> list[str]:
    """Every native module, by name."""
    return sorted(source.stem for source in (root / SOURCES).glob("*.pyx"))


def module_files(name: str, root: Path = ROOT) -> list[Path]:
    """The files that a module is made of: .pyx, and every .pxd and .h reached from it, sorted."""
    folder = root / SOURCES
    waiting = [folder / f"{name}.pyx", folder / f"{name}.pxd"]
    seen: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path in seen or not path.is_file():
            continue
        seen.add(path)
        text = path.read_text()
        if path.suffix == ".h":
            waiting += [folder / header for header in _INCLUDE.findall(text)]
        else:
            waiting += [folder / f"{other}.pxd" for other in native_cimports(text)]
            waiting += [folder / header for header in _EXTERN.findall(text)]
    return sorted(seen)


# --- keys -----------------------------------------------------------------------------------------


def toolchain() -> str:
    """Versions of everything that turns a source into a module, as one line."""
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()
    version = subprocess.run(
        [compiler[0], "--version"], capture_output=True, text=True, check=True
    ).stdout
    return "; ".join(
        [
            sys.version,
            str(sysconfig.get_config_var("EXT_SUFFIX")),
            f"Cython {importlib.metadata.version('cython')}",
            " ".join(compiler),
            version.splitlines()[0],
            *(
                f"{name}={os.environ[name]}"
                for name in ("CFLAGS", "CPPFLAGS", "LDFLAGS")
                if name in os.environ
            ),
        ]
    )


def module_key(name: str, mode: Mode, tools: str, root: Path = ROOT) -> str:
    """Hash of everything that goes into one compiled module."""
    digest = hashlib.sha256(repr((name, mode, tools)).encode())
    for path in module_files(name, root):
        digest.update(f"\0{path.relative_to(root)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:32]


def built_name(name: str) -> str:
    """File name of the compiled module."""
    return f"{name}{sysconfig.get_config_var('EXT_SUFFIX')}"


# --- the record of what is installed --------------------------------------------------------------


def _record_path(target: Path) -> Path:
    # Not beside the module: what stands in a build folder is packed into a wheel.
    name = hashlib.sha256(str(target.resolve()).encode()).hexdigest()[:32]
    return ROOT / "build" / "installed" / name


def is_current(target: Path, key: str) -> bool:
    """True if `target` was put there under `key` and has not been touched since."""
    try:
        record = json.loads(_record_path(target).read_text())
        status = target.stat()
    except (OSError, ValueError):
        return False
    return bool(record == [key, status.st_size, status.st_mtime_ns])


def install(source: Path, target: Path, key: str) -> None:
    """Put a compiled module at `target` by a rename: who has the old one mapped keeps it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".new-", delete=False) as scratch:
        scratch.write(source.read_bytes())
    os.chmod(scratch.name, 0o755)
    os.replace(scratch.name, target)
    status = target.stat()
    record = _record_path(target)
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps([key, status.st_size, status.st_mtime_ns]))


# --- the cache ------------------------------------------------------------------------------------


def cache_folders(root: Path = ROOT) -> list[Path]:
    """The checkout's own cache, then the user's, which a fresh clone on the same machine finds.

    TIDELOG_CACHE=0 leaves the user's out.
    """
    folders = [root / CACHE]
    if os.environ.get("TIDELOG_CACHE", "1") != "0":
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folders.append(Path(base) / "tidelog" / "native")
    return folders


def _cached(folder: Path, name: str, mode: Mode, key: str) -> Path:
    return folder / f"{name}-{mode.name}-{key}.so"


def find_cached(name: str, mode: Mode, key: str, folders: Iterable[Path]) -> Path | None:
    """The compiled module of that key, if any folder has it."""
    for folder in folders:
        path = _cached(folder, name, mode, key)
        if path.is_file():
            with contextlib.suppress(OSError):
                os.utime(path)
            return path
    return None


def store(built: Path, name: str, mode: Mode, key: str, folders: Iterable[Path]) -> None:
    """Keep a compiled module in every folder, and drop the oldest versions of it."""
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=folder, prefix=".new-", delete=False) as scratch:
                pass
            shutil.copyfile(built, scratch.name)
            os.replace(scratch.name, _cached(folder, name, mode, key))
            versions = sorted(
                folder.glob(f"{name}-{mode.name}-*.so"),
                key=lambda p: p.stat().st_mtime,
                reverse=True,
            )
            for old in versions[KEPT_VERSIONS:]:
                old.unlink(missing_ok=True)
        except OSError as error:
            # A cache that cannot be written (read-only home, full disk) costs time, not
            # correctness.
            print(f"native cache {folder}: {error}", file=sys.stderr)


@contextlib.contextmanager
def locked(name: str, root: Path = ROOT) -> Iterator[None]:
    """Hold the build lock of one module: two builds at once would write the same C file."""
    folder = root / "build"
    folder.mkdir(exist_ok=True)
    with open(folder / f".lock-{name}", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
