"""The same questions to Tidelog and to the reference: scenarios, and what the reference answered.

`recorded.json` holds the reference's answers, so that `make test` can compare without Java;
`python -m tests.compat.parity.record` writes it anew.
"""

from importlib import import_module

_MODULES = (
    "wire",
    "topics",
    "produce",
    "fetch",
    "offsets",
    "groups",
    "group_admin",
    "consumer_groups",
    "admin",
    "transactions",
    "operators",
    "quotas",
    "throttling",
    "dynamic_configs",
)


def load_scenarios() -> None:
    """Imports every module that registers scenarios."""
    for name in _MODULES:
        import_module(f"tests.compat.parity.scenarios_{name}")
