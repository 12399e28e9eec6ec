"""The program that starts a broker again and again, with a few partitions."""

import json
from pathlib import Path

from bench.load import restart


def test_every_figure_is_there(tmp_path: Path) -> None:
    restart.main(["--partitions", "3", "--rounds", "1", "--json", str(tmp_path / "out.json")])
    (found,) = json.loads((tmp_path / "out.json").read_text())
    for way in ("clean", "killed"):
        assert found[f"{way}: start"] > 0
        assert found[f"{way}: first fetch"] > 0
    assert found["start to ready"] < found["start to first acknowledgement"]
    assert found["MB resident, largest process"] > 5
