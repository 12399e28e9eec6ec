"""Build of the native modules (everything else stands in pyproject.toml).

Environment:
    TIDELOG_ONLY      comma-separated names of native modules: build only those
    TIDELOG_NATIVE    "0": build none (the package is then installed by its Python files alone)
    TIDELOG_DEBUG     "1": -O0, Cython's bounds and initialisation checks, assertions,
                      macro TIDELOG_DEBUG
    TIDELOG_SANITIZE  "address": the checks of TIDELOG_DEBUG under AddressSanitizer; "fuzz": the
                      same, with calls to a fuzzer's counters at every edge
    TIDELOG_CACHE     "0": do not use the user's cache of compiled modules (the checkout's own is
                      always used)
    TIDELOG_JOBS      modules compiled at the same time (2)
"""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

# A folder of its own, since ext/ itself would shadow the package.
sys.path.insert(0, str(Path(__file__).resolve().parent / "ext" / "tools"))
import native_build as native

MODE = native.current_mode()
ONLY = {name for name in os.environ.get("TIDELOG_ONLY", "").split(",") if name}
JOBS = int(os.environ.get("TIDELOG_JOBS", "2"))


def extensions() -> list[Extension]:
    """One Extension per native module that this build was asked for."""
    if os.environ.get("TIDELOG_NATIVE") == "0":
        return []
    names = native.module_names()
    if unknown := ONLY - set(names):
        raise SystemExit(f"TIDELOG_ONLY names no native module: {', '.join(sorted(unknown))}")
    return [
        Extension(
            f"{native.PACKAGE}.{name}",
            [str(native.SOURCES / f"{name}.pyx")],
            include_dirs=[str(native.SOURCES)],
            extra_compile_args=list(MODE.compile_args),
            extra_link_args=list(MODE.link_args),
        )
        for name in names
        if not ONLY or name in ONLY
    ]


class CachedBuildExt(build_ext):
    """Compiles a module only if no cache has it, two at a time, and names every broken one."""

    # Cython keeps global state; the C compiler, which takes most of the time, runs outside this
    # lock.
    _cython = threading.Lock()

    def build_extensions(self) -> None:
        self.tools = native.toolchain()
        # Up-to-date is decided by the key, never by the age of files.
        self.force = True
        broken: list[str] = []
        with ThreadPoolExecutor(max_workers=max(1, JOBS)) as pool:
            futures = [(ext, pool.submit(self.build_extension, ext)) for ext in self.extensions]
            for ext, future in futures:
                if error := future.exception():
                    broken.append(ext.name)
                    print(
                        f"error: native module {ext.name} does not build: {error}", file=sys.stderr
                    )
        if broken:
            raise CompileError(f"native modules that do not build: {', '.join(broken)}")

    def build_extension(self, ext: Extension) -> None:
        name = ext.name.rpartition(".")[2]
        target = Path(self.get_ext_fullpath(ext.name))
        folders = native.cache_folders()
        with native.locked(name):
            # The key is taken before compiling: a source that changes meanwhile is compiled again
            # next time.
            key = native.module_key(name, MODE, self.tools)
            cached = native.find_cached(name, MODE, key, folders)
            if cached is None:
                self._compile(ext)
                native.store(target, name, MODE, key, folders)
                cached = target
                print(f"{ext.name}: compiled ({MODE.name})")
            else:
                print(f"{ext.name}: unchanged, from the cache ({MODE.name})")
                if not native.is_current(target, key):
                    native.install(cached, target, key)
            if self.wanted_in_source:
                native.install(cached, self._source_target(name), key)

    def _compile(self, ext: Extension) -> None:
        from Cython.Build import (
            cythonize,
        )  # only when something must be compiled: the import takes a third of a second

        with self._cython:
            (translated,) = cythonize(
                [ext],
                force=True,
                quiet=True,
                include_path=["ext"],
                build_dir=f"build/cython-{MODE.name}",
                compiler_directives=dict(MODE.directives),
            )
        ext.sources = translated.sources
        super().build_extension(ext)

    def _source_target(self, name: str) -> Path:
        return Path("engine", *native.PACKAGE.split("."), native.built_name(name))

    def run(self) -> None:
        # setuptools resets `inplace` while it builds and copies afterwards, overwriting files that
        # a running broker has mapped; here each module is put into the source tree by a rename
        # instead, as soon as it is built.
        self.wanted_in_source = bool(self.inplace)
        super().run()

    def copy_extensions_to_source(self) -> None:
        pass


setup(
    packages=find_packages("engine"),
    package_dir={"": "engine"},
    include_package_data=False,
    package_data={"tidelog": ["py.typed", "*.pyi"], "tidelog._native": ["*.pyi"]},
    ext_modules=extensions(),
    cmdclass={"build_ext": CachedBuildExt},
)
