"""UpdateFeatures: what the controller is asked, and how each version is answered."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.handlers.worlds import Node
from tidelog.controller.requests import Done, FeatureUpdate, UpdateFeatures
from tidelog.handlers.context import RequestContext
from tidelog.protocol.messages.update_features import FeatureUpdateKey, UpdateFeaturesRequest


def ask(**words: Any) -> UpdateFeaturesRequest:
    key = FeatureUpdateKey(feature="a.version", max_version_level=1, **words)
    return UpdateFeaturesRequest(feature_updates=[key])


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Node:
    node = Node()
    node.done = Done()  # type: ignore[attr-defined]

    async def request(request: Any, timeout_ms: int) -> Any:
        node.requests.append(request)
        return node.done  # type: ignore[attr-defined]

    monkeypatch.setattr(node, "request", request)
    return node


@pytest.mark.parametrize("version", range(3))
async def test_the_controller_is_asked(node: Node, version: int) -> None:
    answer = await node.ask(ask(), version)
    assert (answer.error_code, answer.error_message) == (0, None)
    results = [(r.feature, r.error_code) for r in answer.results]
    assert results == ([("a.version", 0)] if version < 2 else [])
    assert node.requests == [UpdateFeatures((FeatureUpdate("a.version", 1, 1),), False)]


@pytest.mark.parametrize(
    ("version", "words", "kind"),
    [(0, {"allow_downgrade": True}, 1), (1, {"upgrade_type": 3}, 3), (2, {"upgrade_type": 2}, 2)],
)
async def test_kinds_of_change(node: Node, version: int, words: dict[str, Any], kind: int) -> None:
    await node.ask(ask(**words), version)
    assert node.requests == [UpdateFeatures((FeatureUpdate("a.version", 1, kind),), False)]


@pytest.mark.parametrize("version", range(3))
async def test_refused(node: Node, version: int) -> None:
    node.done = Done(95, "no such level")  # type: ignore[attr-defined]
    answer = await node.ask(ask(), version)
    assert answer.error_code == 95
    assert answer.error_message.endswith("no such level")
    assert answer.results == []


async def test_the_real_controller_has_no_such_feature() -> None:
    assert (await Node().ask(ask(), 2)).error_code == 95


async def test_what_is_not_allowed(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RequestContext, "authorize", lambda self, operation, kind, name: False)
    assert (await node.ask(ask(), 2)).error_code == 31
