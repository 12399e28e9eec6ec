"""Each peer of bench.versus that is a program of others starts, takes a load and then is gone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.versus.peers import NAMES, Options, install, make_peer
from bench.versus.runs import Settings, run_shape
from bench.versus.shapes import SHAPES
from tests.compat.programs import ProgramMissing

#: Those that no other test starts.
PEERS = [name for name in NAMES if name not in ("floor", "kafka", "tidelog")]
SETTINGS = Settings(0.2, 0.1, 1, max_run_bytes=5_000_000, warm_bytes=0)


@pytest.mark.timeout(300)  # the first time, Go compiles
@pytest.mark.parametrize("name", PEERS)
def test_a_peer(tmp_path: Path, name: str) -> None:
    try:
        install(name)
    except ProgramMissing as missing:
        pytest.skip(str(missing))
    peer = make_peer(name, tmp_path / name, Options())
    with peer:
        found, _ = run_shape(SHAPES["produce-16k"], [peer], SETTINGS, lambda *_: None)
        for contender in found.values():
            assert not contender.refusal
            assert contender.metrics["requests_per_s"].median > 0
        pids = peer.pids
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
