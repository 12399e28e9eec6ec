"""The workloads with the native client: each kind is one function from a stage to a round
(transactions and the start of a broker have modules of their own).

Owned by the process of `tidelog bench`; the loads run on threads of their own (native_load) and are
watched from here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Protocol

from tidelog._native.loadgen import LoadGenerator
from tidelog.benchmarks.cluster import TopicLayout
from tidelog.benchmarks.histogram import Histogram
from tidelog.benchmarks.machine import client_warning
from tidelog.benchmarks.native_load import (
    BenchError,
    Load,
    ends_of,
    histogram_of,
    readers,
    writers,
)
from tidelog.benchmarks.process_stats import memory
from tidelog.benchmarks.requests import metadata_request
from tidelog.benchmarks.results import Round, Second
from tidelog.benchmarks.stage import Stage
from tidelog.benchmarks.workloads import Workload

if TYPE_CHECKING:
    from tidelog._native.loadgen import RunCounts

POLL_S: Final = 0.02
#: How long readers may go on when nothing is written any more.
CATCH_UP_S: Final = 15.0
#: Time for all threads to be there before a schedule begins.
START_AHEAD_NS: Final = 50_000_000
FOREVER_S: Final = 1e7
FILL_IN_FLIGHT: Final = 8
METADATA_REQUESTS: Final = 50


@dataclass
class Flow:
    """What writers and readers did together."""

    written: RunCounts | None = None
    read: RunCounts | None = None
    seconds: list[Second] = field(default_factory=list)
    consumed: int = 0  # records, of all groups
    consumed_bytes: int = 0
    consumed_s: float = 0.0  # until the last of them
    behind: int = 0  # records that were written and not read
    limited: bool = False  # ended by max_requests


class Watched(Protocol):
    @property
    def progress(self) -> tuple[int, int, int]:
        """(requests, records, bytes) so far."""


class Sampler:
    """Notes once in `every_s` what has been done since the last time."""

    def __init__(
        self, writer: Watched | None, reader: Watched | None, every_s: float, began_s: float
    ) -> None:
        self.seconds: list[Second] = []
        self.began_s = began_s
        self._writer, self._reader, self._every_s = writer, reader, every_s
        self._last = (0, 0, 0)

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.began_s

    def look(self, end: bool = False) -> None:
        if not end and self.elapsed_s < self._every_s * (len(self.seconds) + 1):
            return
        _, records, size = self._writer.progress if self._writer else (0, 0, 0)
        _, consumed, _ = self._reader.progress if self._reader else (0, 0, 0)
        now = (records, size, consumed)
        done = [new - old for new, old in zip(now, self._last, strict=True)]
        if any(done) or not end:
            self.seconds.append(Second(self.elapsed_s, *done))
        self._last = now


def flow(
    stage: Stage,
    writer: Load | None,
    reader: Load | None,
    *,
    seconds: float,
    max_requests: int = 0,
    drained: Callable[[Sampler], bool] | None = None,
) -> Flow:
    """Runs them together: for so long, or until `drained` says so; readers then catch up. Records
    that were written before count as not read."""
    ahead_ns = START_AHEAD_NS if writer and stage.workload.rate else 0
    start_at_ns = time.monotonic_ns() + ahead_ns
    bound = FOREVER_S if drained else seconds
    every_s = 1.0 if seconds >= 5 else seconds / 10
    sampler = Sampler(writer, reader, every_s, start_at_ns / 1e9)
    result = Flow(seconds=sampler.seconds)
    stage.meter.start()
    try:
        if drained:  # the clock begins with the schedule, and reading with the clock
            time.sleep(ahead_ns / 1e9)
        if reader:
            until = FOREVER_S if writer else seconds
            reader.start(seconds=until, start_at_ns=start_at_ns)
        if writer:
            writer.start(seconds=bound, max_requests=max_requests, start_at_ns=start_at_ns)
        main = writer or reader
        assert main is not None
        while main.running and (reader is None or reader.running):
            time.sleep(POLL_S)
            sampler.look()
            if drained and (drained(sampler) or sampler.elapsed_s > seconds):
                break
            stage.tell("measuring", min(1.0, sampler.elapsed_s / seconds))
        if writer:
            writer.stop()
            result.written = writer.join()
            result.limited = bool(max_requests) and result.written["requests"] >= max_requests
            stage.meter.finish()
        if reader:
            catch_up(stage, result, reader, sampler)
    finally:
        for load in (writer, reader):
            if load is not None and load.running:
                load.stop()
    return result


def catch_up(stage: Stage, result: Flow, reader: Load, sampler: Sampler) -> None:
    """Lets the readers read what was written in this flow, and ends them."""
    wanted = result.written["records"] * stage.workload.groups if result.written else 0
    deadline_s = time.monotonic() + CATCH_UP_S
    while reader.running and reader.progress[1] < wanted and time.monotonic() < deadline_s:
        time.sleep(POLL_S / 4)
        sampler.look()
    stage.meter.finish()
    result.consumed_s = sampler.elapsed_s
    sampler.look(end=True)
    reader.stop()
    result.read = reader.join()
    result.consumed = result.read["records"]
    result.consumed_bytes = result.read["record_bytes"]
    result.behind = max(0, wanted - result.consumed)


def round_of(
    stage: Stage,
    result: Flow,
    figures: Mapping[str, float] | None = None,
    latencies: Mapping[str, Histogram] | None = None,
) -> Round:
    """Rates, latencies, the broker's costs and what to be wary of."""
    found: dict[str, float] = {}
    histograms: dict[str, Histogram] = {}
    counts: dict[str, int] = {}
    warnings: list[str] = []
    shares = []
    if result.written:
        written = result.written
        elapsed_s = max(written["elapsed_ns"] / 1e9, 1e-9)
        found |= {
            "records_per_s": written["records"] / elapsed_s,
            "mb_per_s": written["record_bytes"] / 1e6 / elapsed_s,
            "requests_per_s": written["requests"] / elapsed_s,
        }
        histograms["produce"] = histogram_of(written["latency"])
        counts |= counted("written", written)
        shares.append(("writing", cpu_share(written)))
        warnings += rate_warnings(stage.workload, written)
        if stage.workload.rate:
            found["target_records_per_s"] = stage.workload.rate
            found["unsent_requests"] = written["unsent"]
    if result.read:
        elapsed_s = max(result.consumed_s, 1e-9)
        found |= {
            "consumed_records_per_s": result.consumed / elapsed_s,
            "consumed_mb_per_s": result.consumed_bytes / 1e6 / elapsed_s,
        }
        counts |= counted("read", result.read)
        shares.append(("reading", cpu_share(result.read)))
        if result.read["delays"].count:
            histograms["end_to_end"] = histogram_of(result.read["delays"])
        if not result.written:
            histograms["fetch"] = histogram_of(result.read["latency"])
    if result.limited:
        warnings.append("the round ended early: it has written max_bytes")
    if result.behind:
        warnings.append(f"{result.behind} records were not read {CATCH_UP_S:.0f} s after the end")
    found["client_cpu_share"] = max((share for _, share in shares), default=0.0)
    found["elapsed_s"] = stage.meter.elapsed_s
    moved = sum(c["record_bytes"] for c in (result.written, result.read) if c)
    for name, share in shares:
        warnings += client_warning(name, share)
    return Round(
        found | stage.meter.figures(moved) | dict(figures or {}),
        {name: h for name, h in (histograms | dict(latencies or {})).items() if h.count},
        result.seconds,
        counts,
        stage.meter.before.load_average,
        stage.meter.after.load_average,
        warnings + stage.meter.warnings(),
    )


def counted(prefix: str, counts: RunCounts) -> dict[str, int]:
    return {
        f"{prefix}_records": counts["records"],
        f"{prefix}_bytes": counts["record_bytes"],
        f"{prefix}_batches": counts["batches"],
        f"{prefix}_requests": counts["requests"],
        f"{prefix}_throttled": counts["throttled_responses"],
    }


def cpu_share(counts: RunCounts) -> float:
    return (counts["user_ns"] + counts["system_ns"]) / max(1, counts["elapsed_ns"])


def rate_warnings(workload: Workload, written: RunCounts) -> list[str]:
    warnings = []
    if written["unsent"]:
        share = written["unsent"] / (written["unsent"] + written["requests"])
        warnings.append(
            f"the rate was not kept: {share:.1%} of the requests that were due were never sent, "
            "and no latency counts them"
        )
    if written["throttled_responses"]:
        warnings.append(f"the broker throttled {written['throttled_responses']} answers (a quota)")
    return warnings


def request_limit(workload: Workload, batch_bytes: int) -> int:
    return max(1, workload.max_bytes // max(1, batch_bytes))


def now_ms() -> int:
    return int(time.time() * 1000)


def batch_size(workload: Workload) -> int:
    """About the bytes of record batches in one request."""
    in_request = min(workload.partitions_per_request, workload.partitions * workload.topics)
    return workload.records_per_batch * workload.record_bytes * in_request


def warm_up(stage: Stage, layouts: Sequence[TopicLayout]) -> None:
    """The same writing for a while, unmeasured."""
    w = stage.workload
    if w.warmup_s <= 0:
        return
    stage.tell("warming up", 0.0)
    with writers(stage.cluster, w, layouts, now_ms=now_ms()) as load:
        load.run(seconds=w.warmup_s, max_requests=request_limit(w, batch_size(w)) // 4 + 1)


def measure_produce(stage: Stage) -> Round:
    layouts = stage.make_topics()
    warm_up(stage, layouts)
    w = stage.workload
    with writers(stage.cluster, w, layouts, now_ms=now_ms()) as writer:
        limit = request_limit(w, batch_size(w))
        return round_of(stage, flow(stage, writer, None, seconds=w.seconds, max_requests=limit))


def fill(stage: Stage, layouts: Sequence[TopicLayout]) -> None:
    """Writes the backlog, as fast as it goes and over every partition."""
    w = replace(
        stage.workload,
        rate=0.0,
        acks="all",
        idempotent=False,
        in_flight=FILL_IN_FLIGHT,
        producers=1,
    )
    requests = max(1, -(-w.backlog_bytes // batch_size(w)))
    with writers(stage.cluster, w, layouts, now_ms=now_ms()) as load:
        load.start(seconds=FOREVER_S, max_requests=requests)
        while load.running:
            time.sleep(POLL_S)
            stage.tell("writing the backlog", load.progress[0] / requests)
        load.join()


def measure_consume(stage: Stage) -> Round:
    layouts = stage.make_topics()
    fill(stage, layouts)
    w, ends = stage.workload, ends_of(stage.cluster, layouts)
    if not all(ends.values()):
        raise BenchError("the backlog leaves partitions empty: more backlog_bytes are needed")
    starts = dict.fromkeys(ends, 0)
    with readers(stage.cluster, w, layouts, mode="stream", starts=starts, ends=ends) as reader:
        if w.warmup_s > 0:
            stage.tell("warming up", 0.0)
            reader.run(seconds=w.warmup_s)
        return round_of(stage, flow(stage, None, reader, seconds=w.seconds))


def measure_pipeline(stage: Stage) -> Round:
    layouts = stage.make_topics()
    warm_up(stage, layouts)
    w, ends = stage.workload, ends_of(stage.cluster, layouts)
    with writers(stage.cluster, w, layouts, now_ms=now_ms()) as writer:
        known = len(writer.schedules) == len(ends)
        with readers(
            stage.cluster,
            w,
            layouts,
            mode="tail",
            starts=ends,
            ends=ends,
            schedules=writer.schedules if known else None,
        ) as reader:
            limit = request_limit(w, batch_size(w))
            result = flow(stage, writer, reader, seconds=w.seconds, max_requests=limit)
            found = round_of(stage, result)
    if w.rate and not known:
        text = "no end-to-end latency: several producers write to one partition"
        return replace(found, warnings=[*found.warnings, text])
    return found


def measure_backlog(stage: Stage) -> Round:
    layouts = stage.make_topics()
    fill(stage, layouts)
    w, ends = stage.workload, ends_of(stage.cluster, layouts)
    filled = sum(ends.values())
    # Who keeps up is always a moment behind what was just written.
    slack = int(w.rate * 0.1) + w.records_per_batch * len(ends)
    drain_s: list[float] = []
    starts = dict.fromkeys(ends, 0)
    with (
        writers(stage.cluster, w, layouts, now_ms=now_ms()) as writer,
        readers(stage.cluster, w, layouts, mode="tail", starts=starts, ends=ends) as reader,
    ):

        def drained(sampler: Sampler) -> bool:
            written, read = writer.progress[1], reader.progress[1] // w.groups
            stage.tell("draining", min(1.0, read / max(1, filled + written)))
            if filled + written - read > slack:
                return False
            drain_s.append(sampler.elapsed_s)
            return True

        result = flow(stage, writer, reader, seconds=w.seconds, drained=drained)
    found = round_of(stage, result, {"drain_s": drain_s[0]} if drain_s else {})
    if drain_s:
        return found
    text = f"the backlog was not drained in {w.seconds:g} s"
    return replace(found, warnings=[*found.warnings, text])


def measure_idle(stage: Stage) -> Round:
    if not stage.target.pid:
        raise BenchError("the idle workload measures the broker's process: --pid is needed")
    layouts = stage.make_topics()
    w, ends = stage.workload, ends_of(stage.cluster, layouts)
    with readers(stage.cluster, w, layouts, mode="tail", starts=ends, ends=ends) as reader:
        reader.run(seconds=max(w.warmup_s, 0.1))
        result = flow(stage, None, reader, seconds=w.seconds)
    found = round_of(stage, result)
    figures = {
        name: found.figures[name]
        for name in ("broker_cpu_share", "broker_rss_mb", "client_cpu_share", "elapsed_s")
    }
    return replace(found, figures=figures, latencies={}, seconds=())


def measure_partitions(stage: Stage) -> Round:
    w, pid = stage.workload, stage.target.pid
    rss_before = memory([pid]).rss if pid else 0
    stage.tell("creating partitions", 0.0)
    began_s = time.monotonic()
    layouts = stage.make_topics()
    figures = {"create_s": time.monotonic() - began_s}
    if pid:
        grown = memory([pid]).rss - rss_before
        figures["kb_per_partition"] = grown / 1e3 / (w.partitions * w.topics)
    stage.tell("asking for metadata", 0.0)
    with Load("ask for metadata", LoadGenerator("raw", 1)) as asking:
        asking.connect(stage.cluster.bootstrap, [metadata_request(layouts[0].name)])
        asked = asking.run(max_requests=METADATA_REQUESTS)
    with writers(stage.cluster, w, layouts, now_ms=now_ms()) as writer:
        limit = request_limit(w, batch_size(w))
        result = flow(stage, writer, None, seconds=w.seconds, max_requests=limit)
    return round_of(stage, result, figures, {"metadata": histogram_of(asked["latency"])})


MEASURES: Final[Mapping[str, Callable[[Stage], Round]]] = {
    "produce": measure_produce,
    "consume": measure_consume,
    "pipeline": measure_pipeline,
    "backlog": measure_backlog,
    "idle": measure_idle,
    "partitions": measure_partitions,
}
