"""What the deciding modules are shown of a log."""

from __future__ import annotations

from pathlib import Path

from tests.unit.storage.cleaner_fixtures import compacted
from tidelog.storage.retention import NOTHING
from tidelog.storage.segment_views import cleaning_views, plan_retention


async def test_views_follow_each_other_up_to_the_logs_end(tmp_path: Path) -> None:
    async with compacted(tmp_path) as node:
        assert cleaning_views(node.log.core) == []
        await node.fill(40)
        await node.fill(2, seal=False)
        views, segments = cleaning_views(node.log.core), node.log.core.segment_list
        assert [view.base_offset for view in views] == [s.base_offset for s in segments]
        assert [view.next_offset for view in views[:-1]] == [v.base_offset for v in views[1:]]
        assert views[-1].next_offset == node.log.core.log_end_offset
        assert [view.size_bytes for view in views] == [s.size for s in segments]
        assert views[0].first_timestamp == segments[0].rolling_based_timestamp
        assert views[0].largest_timestamp == segments[0].max_timestamp
        assert views[0].offset_index_bytes == segments[0].offset_index.entries * 8


async def test_retention_sees_the_same_segments(tmp_path: Path) -> None:
    async with compacted(tmp_path, cleanup_policy="compact,delete") as node:
        now_ms, end = node.clock.wall_ms() + 10**12, node.log.core.log_end_offset
        assert plan_retention(node.log.core, node.log.config, now_ms, end) == NOTHING
        await node.fill(40)
        end = node.log.core.log_end_offset
        plan = plan_retention(node.log.core, node.log.config, now_ms, end)
        assert plan.count == len(node.log.core.segment_list) - 1
