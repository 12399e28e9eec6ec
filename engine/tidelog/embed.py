"""A broker inside another Python program: started, held and stopped like a variable.

    with tidelog.Broker(workers=1) as broker:
        connect(broker.bootstrap_servers)

Runs in the user's process, on whatever thread calls it. The broker itself is `tidelog serve` in
processes of its own, in a session of their own: a Ctrl-C at the terminal is the embedding
program's to handle. It must never touch that program's signals, title, logging or event loop, and
starts no thread for the synchronous interface.

The two are tied by a pair of sockets, one end of which the supervisor watches: a byte is the order
to stop, and the end of the other side says that the embedding process is gone, however it ended. A
signal would be less: its disposition and mask are inherited from the embedding program, which may
ignore it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import select
import shutil
import signal
import site
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, Self

from tidelog.errors import KafkaError, TidelogError

if TYPE_CHECKING:
    from tidelog.protocol.schema import Request, Response

__all__ = ["Broker", "BrokerError", "BrokerStartError", "ConfigValue"]

LogLevel = Literal["debug", "info", "warning", "error"]
#: A config as a program has it; written as Kafka writes it (True is "true").
ConfigValue = str | int | float

#: How long start and stop may take in all, unless told otherwise.
TIMEOUT_S: Final = 30.0
#: What a process may need to be gone once it was killed.
_KILL_WAIT_S: Final = 10.0
_READY: Final = re.compile(rb"tidelog ready bootstrap=(\S+) pid=(\d+)")
_READY_LINE_BYTES_MAX: Final = 1024 * 1024
#: How much of the end of the broker's log is read back.
_LOG_BYTES_MAX: Final = 1024 * 1024
_ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
_CREATE_TOPICS_VERSION: Final = 7
_DELETE_TOPICS_VERSION: Final = 6


class BrokerError(TidelogError):
    """The broker is not in the state that a call needs, or a request of ours failed."""


class BrokerStartError(BrokerError):
    """The broker did not start. The message ends with what it wrote to standard error.

    exit_status: of the process, None when it was still running and was killed. log: its standard
    error.
    """

    def __init__(self, problem: str, exit_status: int | None, log: str) -> None:
        super().__init__(f"{problem}: {log.strip()}" if log.strip() else problem)
        self.exit_status = exit_status
        self.log = log


class Broker:
    """A broker of one or more nodes on this machine, for as long as the program wants it.

    workers: processes, each a Kafka node; None: as many as before in the data directory, at first
    one per core. configs: broker configs under Kafka's names. data_dir: where everything is kept;
    None: a temporary directory that is removed at the stop. listen: `HOST:PORT` of the first node;
    port 0 takes free ports; None: the `listeners` of `configs`. node_id: of the first node, None:
    1. timeout: seconds that a start may take, and a stop before the processes are killed.
    log_level: which of the broker's log lines `log()` gives.

    A context manager, synchronous and asynchronous; or `start` and `stop`, which may be called
    from any thread and again after one another. A broker that is forgotten is stopped when the
    object is collected or the interpreter exits, and by itself when the process dies. In a forked
    child the object is of no use, and does no harm.
    """

    def __init__(
        self,
        *,
        workers: int | None = 1,
        configs: Mapping[str, ConfigValue] | None = None,
        data_dir: str | os.PathLike[str] | None = None,
        listen: str | None = "127.0.0.1:0",
        node_id: int | None = None,
        timeout: float = TIMEOUT_S,
        log_level: LogLevel = "warning",
    ) -> None:
        self.timeout = timeout
        self._given_data_dir = None if data_dir is None else Path(os.fspath(data_dir)).absolute()
        self._options = ["--workers", "auto" if workers is None else str(workers)]
        self._options += ["--log-level", log_level]
        if node_id is not None:
            self._options += ["--node-id", str(node_id)]
        settings = {name: config_text(name, value) for name, value in (configs or {}).items()}
        # Listeners that are configured are meant, the free port is only our default.
        if listen is not None and not ("listeners" in settings and listen == "127.0.0.1:0"):
            self._options += ["--listen", listen]
        for name, text in settings.items():
            self._options += ["--set", f"{name}={text}"]
        self._changing = threading.Lock()
        self._process: _Process | None = None
        self._finalizer: weakref.finalize[..., Broker] | None = None
        self._last_log = ""

    def __repr__(self) -> str:
        process = self._process
        state = f"{process.bootstrap_servers} pid={process.pid}" if process else "not running"
        return f"<tidelog.Broker {state}>"

    # --- what it is ---

    @property
    def bootstrap_servers(self) -> str:
        """`HOST:PORT` of every node, with commas between, as clients take it."""
        return self._running().bootstrap_servers

    @property
    def port(self) -> int:
        """The port of the first node."""
        return int(self.bootstrap_servers.partition(",")[0].rpartition(":")[2])

    @property
    def data_dir(self) -> Path:
        """Where everything is kept."""
        return self._running().data_dir

    @property
    def pid(self) -> int:
        """The supervisor's process; those of the nodes are below it."""
        return self._running().pid

    @property
    def is_running(self) -> bool:
        """Whether it was started and its supervisor has not ended by itself."""
        process = self._process
        return process is not None and process.is_mine and not process.wait(0)

    def log(self) -> str:
        """What the broker wrote to standard error, of a stopped one too; at most the last 1 MiB."""
        process = self._process
        return self._last_log if process is None else process.log()

    def _running(self) -> _Process:
        if self._process is None:
            raise BrokerError("the broker is not running")
        return self._process

    # --- start and stop ---

    def start(self) -> Self:
        """Returns when every node serves; without effect when it runs already.

        Raises BrokerStartError; by then nothing is left behind.
        """
        with self._changing:
            if self._process is None:
                process = _Process(self._given_data_dir)
                self._start(process)
        return self

    def _start(self, process: _Process) -> None:
        try:
            process.launch(self._options)
            process.wait_ready(time.monotonic() + self.timeout)
        except BaseException:
            process.kill()
            process.close()
            raise
        self._process = process
        self._finalizer = weakref.finalize(self, process.end, self.timeout)

    def stop(self) -> int:
        """Stops the broker cleanly; kills it when that takes longer than `timeout`.

        Returns its exit status: 0 after a clean stop and when it was not running, negative for the
        signal that ended it.
        """
        if self._process is not None and not self._process.is_mine:
            return 0
        with self._changing:
            process, self._process = self._process, None
            if process is None:
                return 0
            if self._finalizer is not None:
                self._finalizer.detach()
            try:
                return process.end(self.timeout)
            finally:
                self._last_log = process.last_log

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        process = _Process(self._given_data_dir)

        def start() -> None:
            with self._changing:
                if self._process is None:
                    self._start(process)

        # A cancelled start is killed instead of being waited for.
        await _in_thread(start, process.kill)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await _in_thread(self.stop, lambda: None)

    # --- topics ---

    def create_topic(
        self,
        name: str,
        *,
        partitions: int = 1,
        configs: Mapping[str, ConfigValue] | None = None,
        timeout: float = TIMEOUT_S,
    ) -> None:
        """Creates a topic; it serves when this returns. Raises KafkaError, BrokerError."""
        from tidelog.protocol.messages import create_topics as api

        request = api.CreateTopicsRequest(
            topics=[
                api.CreatableTopic(
                    name=name,
                    num_partitions=partitions,
                    replication_factor=-1,
                    configs=[
                        api.CreatableTopicConfig(name=key, value=config_text(key, value))
                        for key, value in (configs or {}).items()
                    ],
                )
            ],
            timeout_ms=int(timeout * 1000),
        )
        answer = self._ask(request, _CREATE_TOPICS_VERSION, timeout)
        assert isinstance(answer, api.CreateTopicsResponse)
        for topic in answer.topics:
            _raise_for(topic.error_code, topic.error_message)

    def delete_topic(self, name: str, *, timeout: float = TIMEOUT_S) -> None:
        """Deletes a topic. Raises KafkaError, BrokerError."""
        from tidelog.protocol.messages import delete_topics as api

        request = api.DeleteTopicsRequest(
            topics=[api.DeleteTopicState(name=name)], timeout_ms=int(timeout * 1000)
        )
        answer = self._ask(request, _DELETE_TOPICS_VERSION, timeout)
        assert isinstance(answer, api.DeleteTopicsResponse)
        for topic in answer.responses:
            _raise_for(topic.error_code, topic.error_message)

    def _ask(self, request: Request, version: int, timeout: float) -> Response:
        """One request on a connection of its own to the first node."""
        from tidelog.protocol.codec import decode_response, encode_request_frame
        from tidelog.protocol.frames import FrameSplitter

        host, _, port = self.bootstrap_servers.partition(",")[0].rpartition(":")
        splitter = FrameSplitter(_ANSWER_BYTES_MAX)
        deadline = time.monotonic() + timeout
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout) as sock:
                sock.sendall(encode_request_frame(request, version, 1, "tidelog-embed"))
                while (frame := splitter.next_frame()) is None:
                    sock.settimeout(max(deadline - time.monotonic(), 0.001))
                    data = sock.recv(65536)
                    if not data:
                        raise BrokerError(f"{host}:{port} closed the connection without an answer")
                    splitter.feed(data)
        except OSError as error:
            raise BrokerError(f"{host}:{port}: {error.strerror or error}") from error
        return decode_response(request.API, version, frame)[1]


class _Process:
    """One run of `tidelog serve` and all that has to be given back after it.

    Knows the operating system, not the broker. Not to be used by two threads at a time, but for
    `kill`.
    """

    def __init__(self, data_dir: Path | None) -> None:
        self.bootstrap_servers = ""
        self.last_log = ""
        self.is_mine = True
        self._data_dir = data_dir
        self._temporary: str | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._orders: socket.socket | None = None  # our end; the supervisor watches the other
        self._pidfd = -1
        self._log = -1
        self._killed = False

    @property
    def pid(self) -> int:
        assert self._child is not None
        return self._child.pid

    @property
    def data_dir(self) -> Path:
        assert self._data_dir is not None
        return self._data_dir

    def launch(self, options: Sequence[str]) -> None:
        """Starts the process. Raises BrokerStartError."""
        if not sys.executable:
            raise BrokerStartError(
                "sys.executable names no Python to run the broker with", None, ""
            )
        if self._data_dir is None:
            self._temporary = tempfile.mkdtemp(prefix="tidelog-")
            self._data_dir = Path(self._temporary)
        # A file, since nobody would empty a pipe; without a name, so that nobody has to remove it.
        with tempfile.TemporaryFile(prefix="tidelog-log-") as log:
            self._log = os.dup(log.fileno())
        self._orders, watched = socket.socketpair()
        command = [sys.executable, "-P", "-m", "tidelog", "serve", *options]
        command += ["--data-dir", str(self._data_dir), "--parent-fd", str(watched.fileno())]
        _running.add(self)
        try:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=self._log,
                env=_environment(),
                pass_fds=(watched.fileno(),),
                start_new_session=True,
            )
            self._pidfd = os.pidfd_open(self._child.pid)
        except (OSError, ValueError) as error:
            raise BrokerStartError(f"the broker cannot be started: {error}", None, "") from error
        finally:
            watched.close()
        if self._killed:  # while it was born
            self.kill()

    def wait_ready(self, deadline: float) -> None:
        """Returns when the broker said that it serves. Raises BrokerStartError."""
        assert self._child is not None and self._child.stdout is not None
        output = self._child.stdout.fileno()
        poll = select.poll()
        poll.register(output, select.POLLIN)
        poll.register(self._pidfd, select.POLLIN)
        seen = b""
        while b"\n" not in seen and len(seen) < _READY_LINE_BYTES_MAX:
            left_ms = max(0, int((deadline - time.monotonic()) * 1000))
            ready = {fd for fd, _ in poll.poll(left_ms)}
            if not ready:
                raise BrokerStartError("the broker was not ready in time", None, self.log())
            data = os.read(output, 4096) if output in ready else b""
            if not data:
                break
            seen += data
        found = _READY.match(seen)
        if found is None:
            self.wait(_KILL_WAIT_S)
            status = self._child.poll()
            # Whoever collects children of others (SIGCHLD ignored) leaves no status: it says 0.
            raise BrokerStartError(
                f"the broker did not start (exit status {status})", status, self.log()
            )
        self.bootstrap_servers = found[1].decode()

    def wait(self, timeout: float) -> bool:
        """Waits for the end of the supervisor, without collecting it; whether it has ended."""
        if self._pidfd < 0:
            return True
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(int(timeout * 1000)))

    def log(self) -> str:
        """The end of what was written to standard error."""
        if self._log < 0:
            return self.last_log
        size = os.fstat(self._log).st_size
        data = os.pread(self._log, _LOG_BYTES_MAX, max(0, size - _LOG_BYTES_MAX))
        return data.decode(errors="replace")

    def end(self, timeout: float) -> int:
        """Stops it, by force after the timeout, and gives everything back. The exit status."""
        if not self.is_mine:
            return 0
        try:
            if self._orders is not None:
                # No SIGPIPE, whatever the program does with it, when the supervisor has ended.
                with contextlib.suppress(OSError):
                    self._orders.send(b".", socket.MSG_NOSIGNAL)
            if not self.wait(timeout):
                self.kill()
                self.wait(_KILL_WAIT_S)
            return self._collect(timeout)
        finally:
            self.close()

    def kill(self) -> None:
        """Ends all processes of the broker at once; from any thread."""
        self._killed = True
        # The supervisor leads the group. Until it is collected nobody else can get its number.
        if self._child is not None and self._child.returncode is None and self.is_mine:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)

    def _collect(self, timeout: float) -> int:
        """Reaps the supervisor. When it had not stopped in order, its workers, who end by
        themselves without it, are waited for as well, and killed after the timeout.
        """
        assert self._child is not None
        status = self._child.wait()
        if status != 0 and not _group_ended(self._child.pid, timeout):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)
            _group_ended(self._child.pid, _KILL_WAIT_S)
        return status

    def close(self) -> None:
        """Gives everything back; the processes have ended or were killed."""
        if not self.is_mine:
            return
        if self._child is not None:
            self._child.wait()
            if self._killed:
                _group_ended(self._child.pid, _KILL_WAIT_S)
        self.last_log = self.log()
        self._close_descriptors()
        _running.discard(self)
        self.is_mine = False
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def disown(self) -> None:
        """In a forked child: the broker is the parent's, and the pair must end with the parent."""
        if self.is_mine:
            self.is_mine = False
            self._close_descriptors()
            if self._child is not None and self._child.returncode is None:
                self._child.returncode = 0  # there is nothing to collect here

    def _close_descriptors(self) -> None:
        if self._child is not None and self._child.stdout is not None:
            self._child.stdout.close()
        if self._orders is not None:
            self._orders.close()
        descriptors = (self._pidfd, self._log)
        self._pidfd = self._log = -1
        for descriptor in descriptors:
            if descriptor >= 0:
                os.close(descriptor)


#: The runs of this process, for its forked children.
_running: Final[weakref.WeakSet[_Process]] = weakref.WeakSet()


def _disown_all() -> None:
    for process in list(_running):
        process.disown()


os.register_at_fork(after_in_child=_disown_all)


def config_text(name: str, value: ConfigValue) -> str:
    """A config's value as Kafka writes it. Raises TypeError."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise TypeError(f"{name} is a {type(value).__name__}: str, int, float or bool is expected")


def _environment() -> dict[str, str]:
    """The embedding program's, so that the child finds the same package: it may have been found
    through a path that only that program knows."""
    environment = dict(os.environ)
    # The folder that holds the package, wherever this program found it.
    root = str(Path(__file__).resolve().parents[1])
    found_anyway = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    found_anyway.add(site.getusersitepackages())
    if root not in found_anyway:
        before = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = f"{root}{os.pathsep}{before}" if before else root
    return environment


def _group_lives(group: int) -> bool:
    """Whether a process of the group still runs; those that only wait to be collected do not."""
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            # pid (name) state ppid pgrp: the name may hold anything.
            words = Path(entry.path, "stat").read_text().rpartition(")")[2].split()
            if int(words[2]) == group and words[0] not in "ZX":
                return True
    return False


def _group_ended(group: int, timeout: float) -> bool:
    """Waits until no process of the group runs any more; whether that came in time."""
    deadline = time.monotonic() + timeout
    while _group_lives(group):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def _raise_for(error_code: int, message: str | None) -> None:
    if error_code:
        from tidelog.protocol.error_codes import ErrorCode

        raise KafkaError(error_code, f"{ErrorCode(error_code).name}: {message}")


async def _in_thread(work: Callable[[], object], cancel: Callable[[], None]) -> None:
    """Runs `work` on a thread of its own, which has ended when this returns.

    When the task is cancelled meanwhile, `cancel` hastens the work; it is waited for all the same.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)
        loop.call_soon_threadsafe(done.set_result, None)

    thread = threading.Thread(target=run, name="tidelog-broker")
    thread.start()
    cancelled: asyncio.CancelledError | None = None
    while not done.done():
        try:
            await asyncio.shield(done)
        except asyncio.CancelledError as error:
            cancelled = error
            cancel()
    thread.join()
    if cancelled is not None:
        raise cancelled
    if failures:
        raise failures[0]
