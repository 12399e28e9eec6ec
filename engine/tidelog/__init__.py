"""Tidelog: a commit-log engine that speaks Kafka's wire protocol and writes Kafka's files.

    tidelog.Broker              a broker as a variable (`tidelog.embed`)
    tidelog.log.PartitionLog    a log without a network

Every process of a broker imports this package: nothing is loaded here before it is asked for.
"""

# As in `typing`, whose import the name saves; type checkers know it.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import tidelog.log as log
    from tidelog.embed import Broker, BrokerError, BrokerStartError

__all__ = ["Broker", "BrokerError", "BrokerStartError", "log"]


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name == "log":
        return import_module("tidelog.log")
    if name in __all__:
        return getattr(import_module("tidelog.embed"), name)
    raise AttributeError(f"module 'tidelog' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
