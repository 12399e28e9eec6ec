"""Fetches Apache Kafka's jars by Maven and compiles the Java helper beside them.

Owner: the compat suite and the side-by-side benchmarks; nothing in `engine/` imports it.
The result is cached in `build/compat/<digest>` of the checkout, or below the folder named by
`TIDELOG_COMPAT_DIR`. It must never be assumed to be there: call `install()` each time.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[2]
MAVEN_TIMEOUT_S = 900


class ReferenceMissing(RuntimeError):
    """What is needed to run Java is not on this machine; the text says what."""


@dataclass(frozen=True)
class Installation:
    """Where the jars, the compiled helper and the log settings are."""

    root: Path
    java: str

    @property
    def classpath(self) -> str:
        return f"{self.root / 'classes'}:{self.root / 'lib'}/*"

    def command(
        self,
        main: str,
        *args: str,
        heap_mb: int = 256,
        log_level: str = "ERROR",
        full_speed: bool = False,
    ) -> list[str]:
        """A JVM command line; `full_speed` leaves the second compiler on (brokers, perf tools)."""
        quick = [] if full_speed else ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
        return [
            self.java,
            f"-Xmx{heap_mb}m",
            *quick,
            "-Xshare:auto",
            "-Djava.awt.headless=true",
            f"-Dtidelog.log.level={log_level}",
            f"-Dlog4j2.configurationFile={self.root / 'log4j2.properties'}",
            "-cp",
            self.classpath,
            main,
            *args,
        ]


def missing_reason() -> str | None:
    """Why the Java side cannot run here, or None."""
    for program in ("java", "javac", "mvn"):
        if shutil.which(program) is None:
            return f"{program} is not installed (the reference needs a JDK 17+ and Maven)"
    return None


def install() -> Installation:
    """The reference's installation, made if it is not there yet. Raises ReferenceMissing."""
    return install_from(HERE, "kafka")


@cache
def install_from(source: Path, name: str) -> Installation:
    """What `pom.xml` names, and `java/*.java` compiled with it, made if it is not there yet.

    Raises ReferenceMissing without a JDK or Maven, or when Maven cannot fetch the jars.
    """
    reason = missing_reason()
    if reason is not None:
        raise ReferenceMissing(reason)
    inputs = [source / "pom.xml", *sorted((source / "java").iterdir())]
    digest = hashlib.sha256(b"".join(p.read_bytes() for p in inputs)).hexdigest()[:12]
    base = Path(os.environ.get("TIDELOG_COMPAT_DIR") or CHECKOUT / "build" / "compat")
    root = base / f"{name}-{digest}"
    java = shutil.which("java") or "java"
    if not (root / "complete").exists():
        _fetch(source, root.with_name(f"{root.name}.{os.getpid()}"), root)
    return Installation(root, java)


def _fetch(source: Path, work: Path, root: Path) -> None:
    """Builds everything in `work`, then renames it, so that a half-made cache is never used."""
    shutil.rmtree(work, ignore_errors=True)
    (work / "classes").mkdir(parents=True)
    shutil.copy(source / "pom.xml", work / "pom.xml")
    shutil.copy(source / "java" / "log4j2.properties", work / "log4j2.properties")
    maven = [
        "mvn",
        "-B",
        "-q",
        "-f",
        str(work / "pom.xml"),
        "dependency:copy-dependencies",
    ]
    maven += [f"-DoutputDirectory={work / 'lib'}", "-DincludeScope=runtime"]
    _run(maven, "Maven could not fetch the reference broker")
    sources = [str(p) for p in sorted((source / "java").glob("*.java"))]
    javac = [
        "javac",
        "-nowarn",
        "-cp",
        f"{work / 'lib'}/*",
        "-d",
        str(work / "classes"),
    ]
    _run(javac + sources, "the Java helper does not compile")
    (work / "complete").touch()
    try:
        work.rename(root)
    except OSError:
        # Another process finished first; its copy is as good.
        if not (root / "complete").exists():
            raise
        shutil.rmtree(work, ignore_errors=True)


def _run(command: list[str], what: str) -> None:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=MAVEN_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ReferenceMissing(f"{what}: {error}") from error
    if done.returncode != 0:
        raise ReferenceMissing(f"{what}: {(done.stdout + done.stderr)[-2000:]}")
