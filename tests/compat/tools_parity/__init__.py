"""What Apache's tools print on Tidelog and on the reference: scenarios as data, and a comparison.

A scenario is a list of steps (`steps.py`): mostly invocations of tools, and what has to be there
for them, such as records with chosen times and live members of groups. `play.py` runs one against a
broker, `masks.py` takes out what is a matter of chance, `compare.py` tells where two runs differ.
A module named `scenarios_*.py` adds its own by `scenario(name, *steps)`.
"""

from __future__ import annotations

import importlib
import pkgutil


def load_scenarios() -> None:
    """Imports every module of scenarios, which registers them."""
    for module in pkgutil.iter_modules(__path__):
        if module.name.startswith("scenarios_"):
            importlib.import_module(f"{__name__}.{module.name}")
