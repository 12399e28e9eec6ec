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
    """Imports every module that registers scenarios. They run in the order of the modules, whoever
    imported one of them before: on one broker an early one must not see the topics of later ones.
    """
    modules = [import_module(f"tests.compat.parity.scenarios_{name}") for name in _MODULES]
    order = {module.__name__: number for number, module in enumerate(modules)}
    session = import_module("tests.compat.parity.session")
    ordered = sorted(session.SCENARIOS.items(), key=lambda item: order[item[1].__module__])
    session.SCENARIOS.clear()
    session.SCENARIOS.update(ordered)
