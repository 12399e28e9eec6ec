"""`make fuzz`: runs the targets one after another, each for a time, and says what came of it.

    python tests/fuzz/campaign.py [--seconds N] [--targets "messages records"] [--merge]

Each target runs in a process of its own (tests/fuzz/fuzzer.py) on the modules of build/fuzz, with
a bound on its memory and on the time of one input. It goes on from build/fuzz-corpus/TARGET, which
grows, and from tests/fuzz/corpus. A fault ends it: the input stands in
build/fuzz-corpus/TARGET-faults, and the exit status is 1. --merge afterwards adds the fewest and
shortest inputs to tests/fuzz/corpus that reach what the corpus and the seeds do not.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.fuzz import registry  # noqa: E402
from tests.house.suites import environment  # noqa: E402

WORK = ROOT / "build" / "fuzz-corpus"
LIBRARY = ROOT / "build" / "fuzz" / "libcoverage.so"
MEMORY_MIB = 2048
#: One allocation: far more than any limit of the engine lets an input of some KiB ask for.
ALLOCATION_MIB = 512
INPUT_TIMEOUT_S = 30
#: libFuzzer counts in seconds and may be within one long input.
GRACE_S = INPUT_TIMEOUT_S + 30


@dataclass(frozen=True)
class Result:
    """One target's run."""

    name: str
    seconds: float
    executions: int
    new_inputs: int
    status: int

    def __str__(self) -> str:
        rate = self.executions / max(self.seconds, 0.001)
        return (
            f"{self.name:<10} {self.seconds:7.0f} s {self.executions:10d} executions {rate:8.0f}/s"
            f" {self.new_inputs:5d} new inputs  {'ok' if self.status == 0 else 'FAULT'}"
        )


def compile_counters() -> None:
    """Compiles coverage.c, if it changed."""
    source = Path(__file__).with_name("coverage.c")
    if LIBRARY.exists() and LIBRARY.stat().st_mtime >= source.stat().st_mtime:
        return
    compiler = os.environ.get("CC", "gcc")
    line = [compiler, "-O2", "-shared", "-fPIC", "-o", str(LIBRARY), str(source), "-ldl"]
    subprocess.run(line, check=True)


def prepare(name: str) -> tuple[Path, Path, Path]:
    """Folders of a target: what it works in, seeds (written anew), faults."""
    work, seeds, faults = (WORK / f"{name}{tail}" for tail in ("", "-seeds", "-faults"))
    shutil.rmtree(seeds, ignore_errors=True)
    for folder in (work, seeds, faults):
        folder.mkdir(parents=True, exist_ok=True)
    write = (
        "import sys; from pathlib import Path; from tests.fuzz import registry\n"
        "for name, data in registry.load(sys.argv[1]).inputs():\n"
        "    Path(sys.argv[2], name).write_bytes(data)"
    )
    subprocess.run([sys.executable, "-c", write, name, str(seeds)], check=True, cwd=ROOT)
    return work, seeds, faults


def command(name: str, *options: str) -> list[str]:
    """libFuzzer on that target. A merge starts argv[0] again, so that is a script."""
    script = WORK / f"run-{name}"
    line = f'#!/bin/sh\nexec "{sys.executable}" -m tests.fuzz.fuzzer {name} "$@"\n'
    script.write_text(line)
    script.chmod(0o755)
    return [str(script), *options]


def fuzz_environment(name: str) -> dict[str, str]:
    """Modules under AddressSanitizer, with counters."""
    environ = environment("fuzz")
    core = importlib.util.find_spec("atheris.core_with_libfuzzer")
    assert core is not None and core.origin is not None
    # libstdc++ comes first, too: the sanitizer looks for it when it starts.
    environ["LD_PRELOAD"] = f"{LIBRARY} {environ['LD_PRELOAD']} libstdc++.so.6"
    environ["ASAN_OPTIONS"] += (
        ":verify_asan_link_order=0:quarantine_size_mb=32:allocator_may_return_null=1"
        ":handle_segv=0:handle_abort=0"
    )
    environ["TIDELOG_LIBFUZZER"] = core.origin
    environ["TIDELOG_FUZZ_SCRIPT"] = str(WORK / f"run-{name}")
    environ["PYTHONPATH"] += f":{ROOT}"
    return environ


def fuzz(name: str, seconds: int) -> Result:
    """Runs one target for that time."""
    work, seeds, faults = prepare(name)
    had = {path.name for path in work.iterdir()}
    options = [
        f"-max_total_time={seconds}",
        f"-rss_limit_mb={MEMORY_MIB}",
        f"-malloc_limit_mb={ALLOCATION_MIB}",
        f"-timeout={INPUT_TIMEOUT_S}",
        f"-artifact_prefix={faults}/",
        "-print_final_stats=1",
        "-verbosity=1",
    ]
    report = WORK / f"{name}.log"
    started = time.monotonic()
    with open(report, "wb") as output:
        try:
            status = subprocess.run(
                command(name, *options, str(work), str(seeds)),
                cwd=ROOT,
                env=fuzz_environment(name),
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=seconds + GRACE_S + 120,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            status = -1
    text = report.read_text(errors="replace")
    if status:
        print("\n".join(text.splitlines()[-40:]), flush=True)
    new = len({path.name for path in work.iterdir()} - had)
    return Result(name, time.monotonic() - started, executions(text), new, status)


def executions(report: str) -> int:
    """How many inputs were run, by what libFuzzer said last."""
    counts = re.findall(
        r"^(?:stat::number_of_executed_units: |#)(\d+)(?:\t|$)", report, re.MULTILINE
    )
    return int(counts[-1]) if counts else 0


def merge(name: str) -> int:
    """Adds to tests/fuzz/corpus what reaches further than seeds and corpus. Returns how many."""
    work, seeds, _ = prepare(name)
    corpus = registry.CORPUS / name
    corpus.mkdir(parents=True, exist_ok=True)
    # The first folder gets what the others add to it.
    before = {path.name for path in seeds.iterdir()}
    subprocess.run(
        # (By edges alone: how often each was passed would take ten times as many inputs.)
        command(
            name,
            "-merge=1",
            "-use_counters=0",
            f"-rss_limit_mb={MEMORY_MIB}",
            str(seeds),
            str(work),
        ),
        cwd=ROOT,
        env=fuzz_environment(name),
        stdout=subprocess.DEVNULL,
        stderr=open(WORK / f"{name}-merge.log", "wb"),  # noqa: SIM115
        check=True,
    )
    added = [path for path in seeds.iterdir() if path.name not in before]
    for path in added:
        path.rename(corpus / path.name[:16])
    return len(added)


def main() -> int:
    parser = argparse.ArgumentParser(description="Coverage-guided fuzzing of every target.")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--targets", default="", help="names, parted by blanks; default: all")
    parser.add_argument("--merge", action="store_true", help="take new inputs into tests/fuzz")
    options = parser.parse_args()
    names = options.targets.split() or list(registry.NAMES)
    if unknown := set(names) - set(registry.NAMES):
        parser.error(f"no target: {', '.join(sorted(unknown))}")
    if importlib.util.find_spec("atheris") is None:
        parser.error("atheris is not installed: pip install -e '.[fuzz]'")
    compile_counters()
    results = []
    for name in names:
        print(f"== {name}, {options.seconds} s", flush=True)
        results.append(fuzz(name, options.seconds))
        print(results[-1], flush=True)
        if options.merge and results[-1].status == 0:
            print(f"{name}: {merge(name)} inputs more in tests/fuzz/corpus", flush=True)
    total = sum(result.executions for result in results)
    seconds = sum(result.seconds for result in results)
    print("", *results, sep="\n")
    print(
        f"fuzz: {len(results)} targets, {seconds:.0f} s, {total} executions"
        f" ({total / max(seconds, 1):.0f}/s), {sum(r.new_inputs for r in results)} new inputs,"
        f" {sum(r.status != 0 for r in results)} with faults"
    )
    return int(any(result.status for result in results))


if __name__ == "__main__":
    raise SystemExit(main())
