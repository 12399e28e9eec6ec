"""The zygote: a small process that forks workers, forked itself before its parent had a loop, a
thread or a database.

It loads the worker's modules once and then only waits: for orders on its socket, and for children
that end. A worker forked from it starts in milliseconds and shares its memory. It never runs an
event loop, never starts a thread, never opens a file of the broker. When its socket ends (the
supervisor is gone), it exits; its workers notice the same by their own control sockets.

Messages are MessagePack in SEQPACKET datagrams, so that each comes whole and with its descriptors:

| direction | message | descriptors |
|---|---|---|
| to the zygote | Spawn(token, title) | the worker's control socket, then its listening sockets |
| from it | Spawned(token, pid) | a pidfd of the worker, opened before anybody could reap it |
| from it | SpawnFailed(token, reason) | |
| from it | Exited(pid, status) | status as `os.waitstatus_to_exitcode`: negative for a signal |
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from typing import Final, NoReturn

import msgspec
from setproctitle import setproctitle

from tidelog.limits import ZYGOTE_FDS_MAX, ZYGOTE_MESSAGE_BYTES_MAX

#: Exit status of a worker that ends by an exception that it should not have let through.
EXIT_INTERNAL_ERROR: Final = 70

#: Only the supervisor decides: a signal to the whole group must not take the workers' parent away.
_IGNORED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

#: Runs a worker in a fresh process: control socket, listening sockets; returns the exit status.
WorkerMain = Callable[[socket.socket, list[socket.socket]], int]


class Spawn(msgspec.Struct, frozen=True, tag="spawn"):
    """Fork a worker with the descriptors that came along."""

    token: int
    title: str


class Spawned(msgspec.Struct, frozen=True, tag="spawned"):
    """The worker runs; its pidfd came along."""

    token: int
    pid: int


class SpawnFailed(msgspec.Struct, frozen=True, tag="spawn_failed"):
    """The system gave no process."""

    token: int
    reason: str


class Exited(msgspec.Struct, frozen=True, tag="exited"):
    """The worker has ended and was reaped."""

    pid: int
    status: int


FromZygote = Spawned | SpawnFailed | Exited

encode: Final = msgspec.msgpack.Encoder().encode
decode_order: Final = msgspec.msgpack.Decoder(Spawn).decode
decode_report: Final = msgspec.msgpack.Decoder(FromZygote).decode


class ZygoteHandle:
    """What the process that forked the zygote holds: its pid and the socket to it."""

    def __init__(self, pid: int, sock: socket.socket) -> None:
        self.pid = pid
        self.socket = sock

    def end(self) -> int:
        """Closes the socket, which ends the zygote, and reaps it. Returns its exit status, 0 if it
        is reaped already.
        """
        self.socket.close()
        try:
            _, status = os.waitpid(self.pid, 0)
        except ChildProcessError:
            return 0
        return os.waitstatus_to_exitcode(status)


def fork_zygote(load: Callable[[], WorkerMain]) -> ZygoteHandle:
    """Forks the zygote; `load` imports the worker's modules in it and gives the function that runs
    a worker.

    To be called before anything that a fork must not inherit: loops, threads, SQLite, sockets,
    locks.
    """
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sys.stdout.flush()
    sys.stderr.flush()
    # Held back over the fork: a Ctrl-C right now must find the zygote ignoring it.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _IGNORED)
    try:
        pid = os.fork()
        if pid == 0:
            for number in _IGNORED:
                signal.signal(number, signal.SIG_IGN)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if pid:
        its.close()
        return ZygoteHandle(pid, ours)
    status = EXIT_INTERNAL_ERROR
    try:
        ours.close()
        status = _Zygote(its).run(load)
    except BaseException:
        traceback.print_exc()
    finally:
        _exit(status)


class _Zygote:
    """The process itself."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._children: set[int] = set()

    def run(self, load: Callable[[], WorkerMain]) -> int:
        setproctitle("tidelog zygote")
        _silence_standard_streams()
        # SIGCHLD only wakes the poll below.
        wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        gc.disable()
        worker_main = load()
        # What is loaded stays for ever: the collector need not walk it, and the pages stay shared.
        gc.collect()
        gc.freeze()
        gc.enable()
        orders = self._socket.fileno()
        poll = select.poll()
        poll.register(orders, select.POLLIN)
        poll.register(wake_read, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poll.poll()}
            if wake_read in ready:
                os.read(wake_read, 4096)
                self._reap()
            if orders in ready and not self._take_order(worker_main, wake_read, wake_write):
                return 0

    def _take_order(self, worker_main: WorkerMain, *inherited: int) -> bool:
        """Carries one order out; False when the supervisor is gone."""
        data, fds, flags, _ = socket.recv_fds(
            self._socket, ZYGOTE_MESSAGE_BYTES_MAX, ZYGOTE_FDS_MAX
        )
        if not data:
            return False
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise RuntimeError("an order did not fit")
        order = decode_order(data)
        try:
            pid = os.fork()
        except OSError as error:
            _close_all(fds)
            self._report(SpawnFailed(order.token, error.strerror or str(error)))
            return True
        if pid == 0:
            self._become_worker(worker_main, order, fds, inherited)
        _close_all(fds)
        self._children.add(pid)
        pidfd = os.pidfd_open(pid)
        self._report(Spawned(order.token, pid), pidfd)
        os.close(pidfd)
        return True

    def _become_worker(
        self, worker_main: WorkerMain, order: Spawn, fds: list[int], inherited: tuple[int, ...]
    ) -> NoReturn:
        status = EXIT_INTERNAL_ERROR
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self._socket.close()
            _close_all(inherited)
            setproctitle(order.title)
            control, *listening = (socket.socket(fileno=fd) for fd in fds)
            status = worker_main(control, listening)
        except BaseException:
            traceback.print_exc()
        finally:
            _exit(status)

    def _reap(self) -> None:
        for pid in list(self._children):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                self._children.discard(pid)
                self._report(Exited(pid, os.waitstatus_to_exitcode(status)))

    def _report(self, report: FromZygote, *fds: int) -> None:
        try:
            socket.send_fds(self._socket, [encode(report)], fds)
        except OSError:
            # The supervisor is gone: the next look at the socket says so, too.
            return


def _silence_standard_streams() -> None:
    """Standard input and output belong to the supervisor: whoever reads its output must see it end
    with it.
    """
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)


def _close_all(fds: list[int] | tuple[int, ...]) -> None:
    for fd in fds:
        os.close(fd)


def _exit(status: int) -> NoReturn:
    """Ends a forked process without running what its parent had registered for its own exit."""
    try:
        sys.stderr.flush()
    finally:
        os._exit(status)
