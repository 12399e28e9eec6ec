"""Requests and answers travel as MessagePack and come back as what they were."""

from __future__ import annotations

import typing

import msgspec
import pytest

from tidelog.controller import requests as r
from tidelog.metadata.records import Endpoint

REQUESTS: list[r.ControllerRequest] = [
    r.CreateTopics((r.NewTopic("t", 1, 1, (r.ReplicaAssignment(0, (1,)),), (("k", None),)),), True),
    r.DeleteTopics((r.TopicReference("a"), r.TopicReference(topic_id=bytes(16)))),
    r.CreatePartitions((r.MorePartitions("t", 2, ((1,),)), r.MorePartitions("t", 2))),
    r.AlterConfigs((r.ResourceChange(2, "t", (r.ConfigChange("k", "v", 77),)),), False, False),
    r.UpdateFeatures((r.FeatureUpdate("f", 1, 77),), True),
    r.AlterQuotas(
        (r.QuotaChange((("client-id", None), ("user", "u")), (("k", 1.5), ("l", None))),), True
    ),
    r.AllocateProducerIds(1, 2),
    r.RegisterNode(1, None, (Endpoint("L", "", 1),), "h", 1, "d", True),
    r.UnfenceNode(1, 2),
    r.FenceNode(1, 2),
    r.NodeDown(((1, 2), (3, 4)), True),
    r.ShutDownNode(1, 2),
    r.UnregisterNode(1),
    r.ReportOffline(1, 2, ((bytes(16), 0), (bytes(16), 7))),
    r.AlterIsr(1, 2, (r.IsrChange(bytes(16), 0, 1, 2, ((1, 2), (3, 4))),)),
    r.ElectLeaders(1, (("t", 0),)),
    r.ElectLeaders(0, None),
    r.RebalanceLeaders(),
    r.ElectUnclean(),
    r.AlterReassignments(
        (r.PartitionReassignment("t", 0, (1, 2)), r.PartitionReassignment("t", 1, None)), False
    ),
    r.PlanMoves((2, 3), (1,)),
    r.FinishMoves(),
    r.RemoveNode(1),
    r.StartCluster("c", (("f", 1),)),
]
ANSWERS: list[r.ControllerAnswer] = [
    r.RequestFailed(-1, "why"),
    r.CreateTopicsAnswer((r.CreatedTopic("t", 0, None, bytes(range(16)), 1, 1, (("k", "v"),)),)),
    r.DeleteTopicsAnswer((r.DeletedTopic(None, bytes(16), 3, "why"),)),
    r.CreatePartitionsAnswer((r.NamedResult("t", 3, "why"),)),
    r.AlterConfigsAnswer((r.AlteredResource(2, "t", 0),)),
    r.AlterQuotasAnswer((r.AlteredQuota((("ip", None),), 42, "why"),)),
    r.AllocateProducerIdsAnswer(0, 5, 1000),
    r.RegisterNodeAnswer(3),
    r.ShutDownNodeAnswer(0, 5),
    r.AlterIsrAnswer(0, (r.AlteredIsr(bytes(16), 0, 0, 1, 2, (1, 2), 3),)),
    r.ElectLeadersAnswer((r.PartitionResult("t", 0, 84, "why"),)),
    r.RebalanceLeadersAnswer(5, True),
    r.AlterReassignmentsAnswer((r.PartitionResult("t", 0, 0),)),
    r.Done(),
]


@pytest.mark.parametrize("request_", REQUESTS)
def test_requests(request_: r.ControllerRequest) -> None:
    data = msgspec.msgpack.encode(request_)
    assert msgspec.msgpack.decode(data, type=r.AnyRequest) == request_


@pytest.mark.parametrize("answer", ANSWERS)
def test_answers(answer: r.ControllerAnswer) -> None:
    data = msgspec.msgpack.encode(answer)
    assert msgspec.msgpack.decode(data, type=r.AnyAnswer) == answer


def test_every_kind_is_in_its_union_and_tested() -> None:
    assert set(typing.get_args(r.AnyRequest)) == set(r.ControllerRequest.__subclasses__())
    assert set(typing.get_args(r.AnyAnswer)) == set(r.ControllerAnswer.__subclasses__())
    assert {type(x) for x in REQUESTS} == set(typing.get_args(r.AnyRequest))
    assert {type(x) for x in ANSWERS} == set(typing.get_args(r.AnyAnswer))


ONLY_THE_SUPERVISOR = (
    r.RegisterNode,
    r.UnfenceNode,
    r.FenceNode,
    r.NodeDown,
    r.RemoveNode,
    r.RebalanceLeaders,
    r.ElectUnclean,
    r.PlanMoves,
    r.FinishMoves,
    r.StartCluster,
)


@pytest.mark.parametrize("request_", REQUESTS)
def test_a_worker_cannot_ask_for_what_only_the_supervisor_knows(
    request_: r.ControllerRequest,
) -> None:
    data = msgspec.msgpack.encode(request_)
    if isinstance(request_, ONLY_THE_SUPERVISOR):
        with pytest.raises(msgspec.ValidationError):
            msgspec.msgpack.decode(data, type=r.WorkerRequest)
    else:
        assert msgspec.msgpack.decode(data, type=r.WorkerRequest) == request_
