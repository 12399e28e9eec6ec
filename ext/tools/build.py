"""`make build` and the first half of `make debug`: environment, packages, compiled modules.

    python3 ext/tools/build.py                 .venv with everything, release modules in engine/
    python3 ext/tools/build.py --mode debug    the same, and checked modules in build/debug/
    python3 ext/tools/build.py --mode address  the same, and modules under AddressSanitizer
    python3 ext/tools/build.py --mode fuzz     the same with counters for fuzzing, and the fuzzer

Every step is skipped when what it depends on has not changed, so that a build with nothing to do
takes a fraction of a second. A checked build never touches the release modules: it lands in a
folder that mirrors the package by links and is put before it on PYTHONPATH.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import native_build as native

ROOT = native.ROOT
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / ".tidelog-installed"


def requirements(pyproject: dict[str, object]) -> list[str]:
    """Everything that the environment holds: build, run and development requirements."""
    build = pyproject["build-system"]["requires"]  # type: ignore[index]
    project = pyproject["project"]
    return [*build, *project["dependencies"], *project["optional-dependencies"]["dev"]]  # type: ignore[index]


def installation_key() -> str:
    """Hash of what the installed environment depends on."""
    digest = hashlib.sha256(f"{sys.version_info[:2]} {ROOT}".encode())
    digest.update((ROOT / "pyproject.toml").read_bytes())
    return digest.hexdigest()


def install_packages() -> None:
    """Make .venv and install the requirements and the project itself (editable) into it."""
    if not PYTHON.exists():
        print("creating .venv", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    key = installation_key()
    if STAMP.exists() and STAMP.read_text() == key:
        return
    print("installing packages into .venv", flush=True)
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    wanted = requirements(tomllib.loads((ROOT / "pyproject.toml").read_text()))
    subprocess.run([*pip, *wanted], check=True, cwd=ROOT)
    # The modules are compiled afterwards, so that a broken one does not keep the rest from being
    # installed.
    subprocess.run(
        [*pip, "--no-deps", "--no-build-isolation", "--editable", "."],
        check=True,
        cwd=ROOT,
        env={**os.environ, "TIDELOG_NATIVE": "0"},
    )
    STAMP.write_text(key)


def install_fuzzer() -> None:
    """The packages of the extra `fuzz`, which nothing but `make fuzz` needs."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]["fuzz"]
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *wanted], check=True, cwd=ROOT)


def target_folder(mode: native.Mode) -> Path:
    """Where the compiled modules of a mode are imported from."""
    base = ROOT / "engine" if mode.name == "release" else ROOT / "build" / mode.name
    return base.joinpath(*native.PACKAGE.split("."))


def mirror_package(mode: native.Mode) -> None:
    """Lay build/<mode>/tidelog: links to the package's files beside a _native folder of its own."""
    source = ROOT / "engine" / "tidelog"
    native_folder = target_folder(mode)
    native_folder.mkdir(parents=True, exist_ok=True)
    wanted: dict[Path, Path] = {}
    for folder, mirror in ((source, native_folder.parent), (source / "_native", native_folder)):
        for entry in folder.iterdir():
            if entry.name in ("__pycache__", "_native") or entry.suffix == ".so":
                continue
            wanted[mirror / entry.name] = entry
    for mirror in (native_folder.parent, native_folder):
        for entry in mirror.iterdir():
            if entry.is_symlink() and wanted.get(entry) != entry.readlink():
                entry.unlink()
    for link, entry in wanted.items():
        if not link.is_symlink():
            link.symlink_to(entry)


def remove_orphans(folder: Path, names: list[str]) -> None:
    """Delete compiled modules whose source is gone: they would still be importable."""
    for path in folder.glob("*.so"):
        if path.name.split(".")[0] not in names:
            path.unlink()


def compile_modules(mode: native.Mode) -> None:
    """Compile what is not current. Runs inside .venv, whose Cython decides the keys."""
    started = time.monotonic()
    folder = target_folder(mode)
    if mode.name != "release":
        mirror_package(mode)
    names = native.module_names()
    remove_orphans(folder, names)
    tools = native.toolchain()
    stale = [
        name
        for name in names
        if not native.is_current(
            folder / native.built_name(name), native.module_key(name, mode, tools)
        )
    ]
    if not stale:
        print(f"build: {len(names)} native modules are current ({mode.name})")
        return
    where = ["--inplace"] if mode.name == "release" else ["--build-lib", str(folder.parents[1])]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TIDELOG_")}
    environ |= {
        name: os.environ[name] for name in ("TIDELOG_CACHE", "TIDELOG_JOBS") if name in os.environ
    }
    environ["TIDELOG_ONLY"] = ",".join(stale)
    if mode.name == "debug":
        environ["TIDELOG_DEBUG"] = "1"
    elif mode.name != "release":
        environ["TIDELOG_SANITIZE"] = mode.name
    result = subprocess.run(
        [str(PYTHON), "setup.py", "-q", "build_ext", *where], cwd=ROOT, env=environ, check=False
    )
    if result.returncode:
        raise SystemExit("build: FAILED, see the modules named above")
    print(
        f"build: {len(stale)} of {len(names)} native modules built"
        f" ({mode.name}, {time.monotonic() - started:.0f} s)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Install and compile everything into .venv.")
    parser.add_argument("--mode", choices=sorted(native.MODES), default="release")
    parser.add_argument("--compile-only", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if sys.version_info < (3, 11):  # noqa: UP036  it may be run by any python3
        raise SystemExit(f"Python 3.11 or newer is needed; this is {sys.version.split()[0]}")
    if options.compile_only:
        compile_modules(native.MODES[options.mode])
        return
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    with open(build / ".lock-venv", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        install_packages()
        if options.mode == "fuzz":
            install_fuzzer()
    os.execv(PYTHON, [str(PYTHON), __file__, "--compile-only", "--mode", options.mode])


if __name__ == "__main__":
    main()
