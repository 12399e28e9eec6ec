"""`tidelog groups`: what does not go together, and words for states. With a cluster:
tests/clients/test_group_commands.py.
"""

from __future__ import annotations

import pytest
from confluent_kafka import ConsumerGroupState, ConsumerGroupType

from tidelog.cli.app import run
from tidelog.cli.group_offsets import word


@pytest.mark.parametrize(
    "options",
    [
        "list --state sleeping",
        "list --type streams",
        "reset g --topic t",
        "reset g --to-latest",
        "reset g --to-latest --topic t --all-topics",
        "reset g --to-latest --to-earliest --topic t",
        "reset g --to-offset -1 --topic t",
        "reset g --by-duration soon --topic t",
        "reset g --to-datetime soon --topic t",
        "reset  --to-latest --topic t",
        "delete",
        "reset",
    ],
)
def test_a_wrong_command_line(options: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["groups", *options.split(" ")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_words() -> None:
    assert word(ConsumerGroupState.PREPARING_REBALANCING) == "PreparingRebalance"
    assert word(ConsumerGroupType.CONSUMER) == "Consumer"
