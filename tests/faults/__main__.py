"""A cluster of three hosts under faults, with clients of every kind, and what a checker finds.

    python -m tests.faults [--seconds 60] [--seed 1] [--only kill-host,cut-host] [--keep DIR]
    python -m tests.faults --measure host-lost|rolling-restart [--times 5]

It lives in namespaces of its own (network, mounts, processes), and everything in them ends with it.
Exit status: 0 when nothing was wrong, 1 when something was, 77 when the run cannot be had here: its
reason is the last line then.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.faults import net
from tests.faults.checker import Anomaly, check, missing_copies
from tests.faults.cluster import Cluster, clock_library
from tests.faults.confluent_clients import COPY_PREFIX
from tests.faults.faults import CLOCK_FAULT, FAULTS, Fault
from tests.faults.history import Operation, Send, Transaction, Trouble
from tests.faults.measures import host_lost, rolling_restart
from tests.faults.nemesis import Nemesis, Stroke, gap_lines
from tests.faults.workload import Workload
from tests.house.zookeeper import ZooKeeperMissing, install

EXIT_SKIPPED: Final = 77
MEASURES: Final = {"host-lost": host_lost, "rolling-restart": rolling_restart}
_SHOWN_MAX: Final = 20
_FOLDER: Final = Path("/mnt")
_FOLDER_BYTES: Final = 4 * 1024**3


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="faults, comma-separated")
    parser.add_argument(
        "--keep", type=Path, help="keep histories and logs there, whatever is found"
    )
    parser.add_argument("--measure", choices=MEASURES, help="one thing, instead of a mix")
    parser.add_argument("--times", type=int, default=5, help="how often it is measured")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    try:
        install()
        if not net.inside():
            net.probe()
            command = net.own_namespaces([sys.executable, "-m", "tests.faults", *sys.argv[1:]])
            os.execvpe(command[0], command, net.environment())
    except (net.NamespacesMissing, ZooKeeperMissing) as missing:
        print(missing)
        return EXIT_SKIPPED
    return run(options)


def run(options: argparse.Namespace) -> int:
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:7.1f}  {line}", flush=True)

    # In memory, and gone with this process, as nobody else sees it.
    net.mount_memory(_FOLDER, _FOLDER_BYTES)
    folder = _FOLDER
    say(f"seed {options.seed}")
    strokes: list[Stroke] = []
    faults = chosen(options.only, say)
    moves_clocks = any(fault.name == CLOCK_FAULT for fault in faults) and not options.measure
    with Cluster(folder, clock_library(folder) if moves_clocks else None) as cluster:
        workload = Workload(cluster)
        try:
            workload.create_topics()
            if options.measure:
                MEASURES[options.measure](cluster, workload, options.times, say)
            else:
                nemesis = Nemesis(cluster, options.seed, say, faults)
                strokes = mix(workload, nemesis, options.seconds, say)
        except Exception:
            workload.problems.append(f"stopped by {traceback.format_exc()}")
            say(workload.problems[-1])
        finally:
            workload.close()
        say("reads the history")
        problems = workload.problems + cluster.unwanted()
        operations = workload.operations()
    anomalies = check(operations)
    if not options.measure:
        anomalies += missing_copies(operations, "log", "copied", COPY_PREFIX)
    report(operations, anomalies, problems, gap_lines(operations, strokes, "log"))
    if anomalies or problems or options.keep:
        kept = options.keep or Path(tempfile.mkdtemp(prefix="tidelog-faults-"))
        shutil.copytree(folder, kept, dirs_exist_ok=True)
        print(f"data, logs and histories: {kept}")
    if anomalies or problems:
        return 1
    return 0


def chosen(only: str, say: Callable[[str], None]) -> list[Fault]:
    """All faults, or those that are named; what cannot be had here is left out by name."""
    names = set(only.split(",")) if only else {fault.name for fault in FAULTS}
    if unknown := names - {fault.name for fault in FAULTS}:
        raise SystemExit(f"no such faults: {', '.join(sorted(unknown))}")
    if CLOCK_FAULT in names and shutil.which(os.environ.get("CC", "gcc")) is None:
        say(f"no {CLOCK_FAULT}: there is no C compiler")
        names.discard(CLOCK_FAULT)
    return [fault for fault in FAULTS if fault.name in names]


def mix(
    workload: Workload, nemesis: Nemesis, seconds: float, say: Callable[[str], None]
) -> list[Stroke]:
    """Faults for that long, with clients of all kinds."""
    workload.start()
    nemesis.run(seconds)
    say("no more faults")
    workload.finish()
    return nemesis.strokes


def report(
    operations: list[Operation], anomalies: list[Anomaly], problems: list[str], gaps: list[str]
) -> None:
    results = Counter(one.result for one in operations if isinstance(one, Send))
    ends = Counter(one.result for one in operations if isinstance(one, Transaction))
    troubles = Counter(one.error[:100] for one in operations if isinstance(one, Trouble))
    print(f"records: {results['ok']} acknowledged, {results['info']} of unknown fate")
    print(f"transactions: {ends['ok']} committed, {ends['fail']} aborted, {ends['info']} unknown")
    for error, count in troubles.most_common(_SHOWN_MAX):
        print(f"clients were told {count} times: {error}")
    for line in gaps:
        print(line)
    kinds = Counter(anomaly.kind for anomaly in anomalies)
    print(f"anomalies: {len(anomalies)} {dict(kinds)}, other problems: {len(problems)}")
    for anomaly in anomalies[:_SHOWN_MAX]:
        print(anomaly)
    for problem in problems[:_SHOWN_MAX]:
        print(problem)


if __name__ == "__main__":
    sys.exit(main())
