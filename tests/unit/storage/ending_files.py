"""Files for a world that ends: to show that what was begun is made good by whoever comes next."""

from __future__ import annotations

from tidelog.storage.files import Files


class Stopped(BaseException):
    """The end of the world."""


class EndingFiles(Files):
    """Stops before the n-th rename or sync."""

    def __init__(self, after: int) -> None:
        self.left = after

    def _step(self) -> None:
        if not self.left:
            raise Stopped
        self.left -= 1

    def rename(self, old: str, new: str) -> None:
        self._step()
        super().rename(old, new)

    def sync_directory(self, path: str) -> None:
        self._step()
        super().sync_directory(path)

    def sync_file(self, path: str) -> None:
        self._step()
        super().sync_file(path)
