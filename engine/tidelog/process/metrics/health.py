"""Whether this host is ready, as JSON says it. Pure."""

from __future__ import annotations

from typing import Any

from tidelog.process.metrics.exposition import HostView, NodeView


def readiness(view: HostView) -> tuple[bool, dict[str, Any]]:
    """Ready: every node answers and serves, has all its logs open, and has applied the metadata."""
    nodes = [_node(node, view.image.version) for node in view.nodes]
    ready = bool(nodes) and all(node["ready"] for node in nodes)
    return ready, {
        "status": "ready" if ready else "not ready",
        "metadata_version": view.image.version,
        "nodes": nodes,
    }


def _node(node: NodeView, version: int) -> dict[str, Any]:
    state = node.state
    if state is None:
        return {"node": node.node_id, "ready": False, "reason": "does not answer"}
    reasons = []
    if not state.serving:
        reasons.append("does not serve yet")
    elif state.version < version:
        reasons.append(f"has applied metadata version {state.version}")
    if state.logs_opening:
        reasons.append(f"{state.logs_opening} logs are being opened")
    if state.logs_offline:
        reasons.append(f"{state.logs_offline} logs are offline")
    told: dict[str, Any] = {
        "node": node.node_id,
        "ready": not reasons,
        "serving": state.serving,
        "metadata_version": state.version,
        "logs_opening": state.logs_opening,
        "logs_offline": state.logs_offline,
    }
    if reasons:
        told["reason"] = "; ".join(reasons)
    return told
