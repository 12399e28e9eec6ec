"""docs/tutorial.md with Apache's tools, in JVMs of their own as people start them."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.clients.tutorial import Walk
from tests.compat.conftest import running_target
from tests.compat.reference.install import install
from tests.compat.tools import TOOL_CLASSES


@pytest.mark.usefixtures("java")
@pytest.mark.timeout(240)
def test_the_tutorial(tmp_path: Path) -> None:
    scripts = tmp_path / "bin"
    scripts.mkdir()
    for name, main in TOOL_CLASSES.items():
        script = scripts / f"{name}.sh"
        command = shlex.join(install().command(main, heap_mb=128))
        script.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        script.chmod(0o755)
    with running_target(tmp_path) as target:
        walk = Walk("apache", target.bootstrap, tmp_path, {"PATH": f"{scripts}:/usr/bin:/bin"})
        walk.run()
        assert walk.executed >= 14
