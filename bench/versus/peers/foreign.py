"""A broker that runs already, of whatever make."""

from bench.versus.peers.base import Peer
from tidelog.benchmarks.targets import ForeignTarget


class ForeignPeer(Peer, ForeignTarget):
    """Its topics get no configs, so it stands among those of page-cache durability, whatever it
    does."""

    cannot = {"nodes": "who runs it decides of how many nodes it is"}  # noqa: RUF012

    def restart(self) -> None:
        """Not ours to restart."""

    def cpu_s(self) -> float:
        return super().cpu_s() if self.pid else float("nan")
