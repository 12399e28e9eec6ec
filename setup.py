"""Build of the native modules (everything else stands in pyproject.toml).

Environment:
    TIDELOG_ONLY   comma-separated names of native modules: build only those
    TIDELOG_DEBUG  "1": -O0, Cython bounds checks and assertions, macro TIDELOG_DEBUG
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, find_packages, setup

DEBUG = os.environ.get("TIDELOG_DEBUG") == "1"
ONLY = {name for name in os.environ.get("TIDELOG_ONLY", "").split(",") if name}
ROOT = Path("ext/tidelog/_native")

if DEBUG:
    compile_args = ["-O0", "-g", "-DTIDELOG_DEBUG=1"]
else:
    compile_args = ["-O3", "-g0", "-fno-semantic-interposition", "-DTIDELOG_DEBUG=0"]

extensions = [
    Extension(
        f"tidelog._native.{source.stem}",
        [str(source)],
        include_dirs=[str(ROOT)],
        depends=[str(header) for header in sorted(ROOT.glob("*.h"))],
        extra_compile_args=compile_args,
    )
    for source in sorted(ROOT.glob("*.pyx"))
    if not ONLY or source.stem in ONLY
]

setup(
    packages=find_packages("engine"),
    package_dir={"": "engine"},
    include_package_data=False,
    package_data={"tidelog": ["py.typed", "*.pyi"], "tidelog._native": ["*.pyi"]},
    ext_modules=cythonize(
        extensions,
        include_path=["ext"],
        build_dir="build/cython-debug" if DEBUG else "build/cython",
        compiler_directives={
            "language_level": 3,
            "boundscheck": DEBUG,
            "wraparound": False,
            "initializedcheck": False,
            "cdivision": True,
            "embedsignature": True,
        },
    ),
)
