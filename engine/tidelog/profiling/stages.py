"""Which stage of a request a sample was in, and the table that follows: pure.

The innermost function that has a stage decides. Functions that several stages use (finding a
topic, copying memory) have none: their callers decide. What no rule knows is "other", and shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tidelog.cpu_samples import PYTHON, RUNNING, WAITING, Frame, NodeSamples, Stack
from tidelog.profiling.results import Column, Row, Section, Table

OTHER: Final = "other"
#: Stages in the order of the table, with the API whose requests they are counted on ("": all).
STAGES: Final = {
    "receive": "",
    "parse": "",
    "check": "Produce",
    "append": "Produce",
    "index": "Produce",
    "flush": "Produce",
    "wait": "",
    "answer": "",
    "look-up": "Fetch",
    "header": "Fetch",
    "sendfile": "Fetch",
    "replication": "",
    "other requests": "",
    "counters": "",
    "event loop": "",
    "helpers": "",
    "interpreter": "",
    OTHER: "",
}

#: libc's functions that are little more than a system call: time in them is the kernel's.
KERNEL_CALLS: Final = {
    "recv": "receive",
    "recvmsg": "receive",
    "send": "answer",
    "sendmsg": "answer",
    "sendfile": "sendfile",
    "preadv2": "sendfile",
    "pwrite": "append",
    "pwritev": "append",
    "fsync": "flush",
    "fdatasync": "flush",
    "sync_file_range": "flush",
    "epoll_wait": "event loop",
    "epoll_pwait": "event loop",
    "epoll_ctl": "event loop",
    "accept4": "event loop",
    "read": "",
    "write": "",
    "pread": "",
    "open": "",
    "close": "",
    "ftruncate": "",
    "fallocate": "",
    "mmap": "",
    "munmap": "",
    "madvise": "",
    "syscall": "",
    "clock_nanosleep": "",
    "sched_yield": "",
}
_LIBC: Final = ("libc",)

# (module, beginnings of names, stage); the first that fits. A native module is its own name,
# a Python module its dotted one and all below it.
_NATIVE_RULES: Final[Sequence[tuple[str, tuple[str, ...], str]]] = (
    (
        "connection",
        ("Connection.send_region", "Connection.take_warm", "Connection.look_ahead"),
        "sendfile",
    ),
    ("connection", ("Connection._warmed",), "sendfile"),
    (
        "connection",
        (
            "Connection.on_writable",
            "Connection.flush",
            "Connection.send_",
            "Connection.sent_",
            "Connection.watch_writes",
            "Connection.relieve",
        ),
        "answer",
    ),
    ("connection", ("",), "receive"),
    ("transport", ("Transport.handle_slowly", "Transport._answer"), "other requests"),
    ("transport", ("Transport.handle_frame",), "parse"),
    ("transport", ("Transport.may_take", "Transport.refuse", "Transport.may_exceed"), "receive"),
    ("transport", ("",), "answer"),
    ("throttling", ("",), "check"),
    ("request", ("parse_header",), "parse"),
    ("request_stats", ("",), "counters"),
    ("produce_message", ("ProduceMessage.encode", "ProduceMessage.bound"), "answer"),
    ("produce_message", ("encode_text",), "answer"),
    ("produce_message", ("is_transactional", "writer_of"), "check"),
    ("produce_message", ("",), "parse"),
    ("produce_lane", ("ProduceLane.",), "parse"),
    (
        "produce_lane",
        (
            "ProduceTask.check_part",
            "ProduceTask.entry_of",
            "ProduceTask.is_verified",
            "ProduceTask.ask_gate",
            "ProduceTask.refuse",
        ),
        "check",
    ),
    (
        "produce_lane",
        (
            "ProduceTask.still_waits",
            "ProduceTask.settle",
            "ProduceTask.wait",
            "ProduceTask.on_progress",
            "ProduceTask.note_waited",
            "ProduceTask.forget_waits",
        ),
        "wait",
    ),
    ("produce_lane", ("ProduceTask.answer", "ProduceTask.finish", "ProduceTask.count_"), "answer"),
    ("produce_lane", ("",), "append"),
    ("fetch_message", ("FetchMessage.encode", "FetchMessage.bound"), "header"),
    ("fetch_message", ("FetchMessage.group_end", "FetchMessage.leave_parts_out"), "header"),
    ("fetch_message", ("",), "parse"),
    ("fetch_lane", ("FetchLane.",), "parse"),
    (
        "fetch_lane",
        (
            "FetchTask.answer",
            "FetchTask.encode",
            "FetchTask.count_parts",
            "FetchTask.note_aborted",
            "FetchTask.charge",
        ),
        "header",
    ),
    (
        "fetch_lane",
        (
            "FetchTask.wait",
            "FetchTask.on_progress",
            "FetchTask.forget_waits",
            "FetchTask.time_out",
            "FetchTask.go_on",
        ),
        "wait",
    ),
    ("fetch_lane", ("",), "look-up"),
    ("fetch_session", ("",), "look-up"),
    ("batch", ("stamp",), "append"),
    ("batch", ("",), "check"),
    ("crc32c", ("",), "check"),
    ("producer_state", ("ProducerStates.update", "ProducerEntry.add"), "append"),
    ("producer_state", ("",), "check"),
    ("index", ("OffsetIndex.lookup", "TimeIndex.lookup"), "look-up"),
    ("index", ("OffsetIndex.slot_of", "TimeIndex.slot_of"), "look-up"),
    ("index", ("",), "index"),
    ("segment", ("Segment.reserve_index",), "index"),
    (
        "segment",
        ("Segment.locate", "Segment.scan_from", "Segment.records_in", "scan_forward"),
        "look-up",
    ),
    ("segment", ("",), "append"),
    ("segments", ("",), "look-up"),
    (
        "log",
        ("LogCore.read", "LogCore.available_bytes", "LogCore.segment_of", "LogCore.slot_of"),
        "look-up",
    ),
    ("log", ("LogCore.append", "LogCore.must_roll", "LogCore.update_", "LogCore.note_"), "append"),
    ("log", ("LogCore.answer", "LogCore.flush_due", "LogCore.refuse"), "append"),
    ("partition", ("Partition.append_produce", "Partition.note_appended"), "append"),
    (
        "partition",
        ("Partition.advance", "Partition.update_progress", "Partition.wake", "Progress."),
        "wait",
    ),
    ("partition", ("Waiter.", "CallbackWaiter."), "wait"),
    ("partition", ("Partition.may_answer",), "wait"),
    ("response", ("Slot.add_region",), "header"),
    ("response", ("",), "answer"),
    ("replica_fetch", ("",), "replication"),
    ("followers", ("",), "replication"),
    ("codec_decoder", ("",), "other requests"),
    ("codec_encoder", ("",), "other requests"),
    ("cleaner", ("",), "helpers"),
    ("scan", ("",), "helpers"),
    ("uvloop.loop", ("",), "event loop"),
    ("loop", ("",), "event loop"),  # uvloop's file
    ("libpython3", ("collect", "gc_"), "interpreter"),
)
_PYTHON_RULES: Final[Sequence[tuple[str, str]]] = (
    ("tidelog.handlers", "other requests"),
    ("tidelog.coordinator", "other requests"),
    ("tidelog.protocol", "other requests"),
    ("tidelog.net", "answer"),
    ("tidelog.replication", "replication"),
    ("tidelog.storage.flush", "flush"),
    ("tidelog.storage", "helpers"),
    ("tidelog.process", "helpers"),
    ("asyncio", "event loop"),
    ("uvloop", "event loop"),
    ("base_events", "event loop"),
    ("runners", "event loop"),
    ("thread", "helpers"),
    ("threading", "helpers"),
)


def is_kernel_call(frame: Frame) -> bool:
    """Whether time in the function is the kernel's."""
    return frame.kind != PYTHON and frame.module in _LIBC and frame.name in KERNEL_CALLS


def stage_of_frame(frame: Frame) -> str:
    """The stage that the function belongs to by itself, "" when its callers decide."""
    if frame.kind == PYTHON:
        for module, stage in _PYTHON_RULES:
            if frame.module == module or frame.module.startswith(module + "."):
                return stage
        return ""
    if frame.module in _LIBC:
        return KERNEL_CALLS.get(frame.name, "")
    for module, names, stage in _NATIVE_RULES:
        if frame.module == module and frame.name.startswith(names):
            return stage
    return ""


def stage_of(frames: Iterable[Frame]) -> str:
    """The stage of a stack, whose frames come from the outermost on."""
    for frame in reversed(list(frames)):
        if stage := stage_of_frame(frame):
            return stage
    return OTHER


@dataclass(frozen=True)
class Shares:
    """Ticks of one thread, or several, by stage."""

    ticks: Mapping[str, int]

    @property
    def total(self) -> int:
        return sum(self.ticks.values())


def shares(samples: NodeSamples, threads: Iterable[int], state: int = RUNNING) -> Shares:
    """How the ticks of those threads in that state divide."""
    by_frame = [stage_of_frame(frame) for frame in samples.frames]
    wanted, ticks = set(threads), Counter[str]()
    for stack in samples.stacks:
        if stack.thread in wanted and stack.state == state:
            ticks[_stage(stack, by_frame)] += stack.ticks
    return Shares({stage: ticks[stage] for stage in STAGES if ticks[stage]})


def _stage(stack: Stack, by_frame: Sequence[str]) -> str:
    for index in reversed(stack.frames):
        if stage := by_frame[index]:
            return stage
    return OTHER


@dataclass(frozen=True)
class StageTime:
    """share: 0..1 of the loop's CPU time; each_ns: of it for a request, None without requests."""

    share: float
    each_ns: float | None


def stage_times(nodes: Sequence[NodeSamples]) -> dict[str, StageTime]:
    """CPU time of the loops of several nodes together, by stage."""
    spent: Counter[str] = Counter()
    requests: Counter[str] = Counter()
    for one in nodes:
        requests.update(one.counted.requests)
        for index, thread in enumerate(one.threads):
            if thread.wall:
                found = shares(one, [index])
                for stage, ticks in found.ticks.items():
                    spent[stage] += thread.cpu_ns * ticks // found.total
    total, times = sum(spent.values()), {}
    for stage, ns in spent.items():
        api = STAGES[stage]
        count = requests[api] if api else sum(requests.values())
        times[stage] = StageTime(_share(ns, total), ns / count if count else None)
    return times


def stage_table(samples: NodeSamples) -> Table:
    """The loop's CPU time by stage: share, time for a request of the API that has the stage, ticks;
    and how long it had no CPU there.

    The CPU time is the clock's, the shares are the samples'.
    """
    loop = [index for index, thread in enumerate(samples.threads) if thread.wall]
    found, waiting = shares(samples, loop), shares(samples, loop, WAITING)
    all_ticks = sum(samples.threads[index].ticks for index in loop)
    times, rows = stage_times([samples]), []
    for stage in STAGES:
        ticks, waited = found.ticks.get(stage, 0), waiting.ticks.get(stage, 0)
        if not ticks and not waited:
            continue
        time = times.get(stage, StageTime(0.0, None))
        share, each = time.share, [] if time.each_ns is None else [time.each_ns]
        without = [100 * waited / all_ticks]
        rows.append(Row(stage, [[100 * share], each, [float(ticks)], without]))
    return Table(
        f"loop of node {samples.node_id}",
        "stage",
        [
            Column("share of CPU", "%"),
            Column("time for a request", "ns", "lower"),
            Column("samples", ""),
            Column("without a CPU", "% of the time", "lower"),
        ],
        rows,
        "CPU time of the event loop. Times of check, append, index and flush are for a Produce, of "
        "look-up, header and sendfile for a Fetch, the others for a request of any kind. Without a "
        "CPU it is where others have them all, or where the kernel waits (for the disk).",
    )


def function_table(samples: NodeSamples, limit: int = 15) -> Table:
    """The functions in which the loop was found most often, callees not counted."""
    ticks: Counter[int] = Counter()
    for stack in samples.stacks:
        if samples.threads[stack.thread].wall and stack.state == RUNNING and stack.frames:
            ticks[stack.frames[-1]] += stack.ticks
    total = sum(ticks.values())
    named: Counter[str] = Counter()
    for index, count in ticks.items():
        named[full_name(samples.frames[index])] += count
    return Table(
        f"functions of node {samples.node_id}",
        "function",
        [Column("share of CPU", "%"), Column("samples", "")],
        [
            Row(name, [[100 * count / total], [float(count)]])
            for name, count in named.most_common(limit)
        ],
        "Where the loop itself was, without what a function calls. Time in a system call is that "
        "of the function of libc that makes it.",
    )


def request_table(samples: NodeSamples) -> Table:
    """What requests went through, by the clocks of the requests: waiting is among it."""
    return Table(
        f"requests of node {samples.node_id}",
        "stage",
        [Column("requests", ""), Column("mean", "us", "lower")],
        [
            Row(f"{one.api} {one.stage}", [[float(one.count)], [one.sum_ns / one.count / 1e3]])
            for one in sorted(samples.counted.stages, key=lambda one: one.api)
            if one.count
        ],
        "By clock and not by CPU: `flush` and `wait` are for other replicas, data and the disk.",
    )


def thread_table(samples: NodeSamples) -> Table:
    """CPU time of each thread."""
    names = Counter[str]()
    rows = []
    for thread in samples.threads:
        names[thread.name] += 1
        number = names[thread.name]
        name = thread.name if number == 1 else f"{thread.name} ({number})"
        cpu = 100 * thread.cpu_ns / samples.wall_ns
        rows.append(Row(name, [[cpu], [float(thread.running_ticks)]]))
    counted = sum(thread.cpu_ns for thread in samples.threads)
    rest = 100 * (samples.counted.process_cpu_ns - counted) / samples.wall_ns
    rows.append(Row("(not sampled)", [[max(0.0, rest)], []]))
    return Table(
        f"threads of node {samples.node_id}",
        "thread",
        [Column("CPU", "% of a core"), Column("samples", "")],
        rows,
        "Threads that run no Python are not sampled.",
    )


def full_name(frame: Frame) -> str:
    """Module and function."""
    if frame.name.startswith((f"{frame.module}.", f"{frame.module}+")) or not frame.module:
        return frame.name
    return f"{frame.module}: {frame.name}"


def section_of(samples: NodeSamples) -> Section:
    """All of it for one node."""
    counted, seconds = samples.counted, samples.wall_ns / 1e9
    loop = [thread for thread in samples.threads if thread.wall]
    ticks = sum(thread.ticks for thread in loop)
    taken = sum(thread.samples for thread in samples.threads)
    spent = sum(thread.handler_ns for thread in samples.threads)
    facts = {
        "time": f"{seconds:.1f} s",
        "requests": f"{sum(counted.requests.values()) / seconds:.0f}/s",
        "received": f"{counted.received_bytes / seconds / 1e6:.1f} MB/s",
        "sent": f"{counted.sent_bytes / seconds / 1e6:.1f} MB/s",
        "loop on CPU": f"{sum(one.cpu_ns for one in loop) / samples.wall_ns:.0%}",
        "loop asleep": f"{_share(sum(one.asleep_ticks for one in loop), ticks):.0%}",
        "loop without a CPU": f"{_share(sum(one.waiting_ticks for one in loop), ticks):.0%}",
        "samples": taken,
        "cost of a sample": f"{spent / taken / 1e3:.1f} us" if taken else "-",
        "syncs": counted.syncs,
    }
    tables = [stage_table(samples), function_table(samples), thread_table(samples)]
    if counted.stages:
        tables.append(request_table(samples))
    return Section(
        f"stages of node {samples.node_id}",
        f"Where the time of node {samples.node_id} goes",
        "Its threads were interrupted while it ran, and asked where they are.",
        facts,
        [table for table in tables if table.rows],
        notes=_notes(samples),
        warnings=_warnings(samples),
    )


def _notes(samples: NodeSamples) -> list[str]:
    notes = []
    if not samples.python_frames:
        notes.append("functions of Python are not told: their frames are not known here")
    if samples.threads_left_out:
        notes.append(f"{samples.threads_left_out} threads could not be sampled")
    return notes


def _warnings(samples: NodeSamples) -> list[str]:
    warnings = []
    taken = sum(thread.samples for thread in samples.threads)
    lost = sum(thread.lost for thread in samples.threads)
    cut = sum(thread.cut for thread in samples.threads)
    if lost or samples.dropped_ticks:
        warnings.append(
            f"{lost} of {taken} samples were lost, {samples.dropped_ticks} ticks not told: too many"
        )
    if cut > taken / 50:
        warnings.append(f"callers are missing in {cut} of {taken} samples")
    busy = sum(thread.running_ticks for thread in samples.threads if thread.wall)
    if busy < 100:
        warnings.append(f"the loop was found at work {busy} times only: shares are rough")
    return warnings


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
