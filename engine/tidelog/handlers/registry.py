"""Every API that is implemented, as data: ApiVersions, dispatch and docs/protocol-coverage.md are
made from this list.

Belongs to no task. To add an API: write its module, and its name here.
"""

from __future__ import annotations

from types import ModuleType
from typing import Final

from tidelog.handlers import (
    add_offsets_to_txn,
    add_partitions_to_txn,
    alter_client_quotas,
    alter_configs,
    alter_partition_reassignments,
    alter_replica_log_dirs,
    api_versions,
    consumer_group_describe,
    consumer_group_heartbeat,
    create_partitions,
    create_topics,
    delete_groups,
    delete_records,
    delete_topics,
    describe_client_quotas,
    describe_cluster,
    describe_configs,
    describe_groups,
    describe_log_dirs,
    describe_producers,
    describe_topic_partitions,
    describe_transactions,
    describe_user_scram_credentials,
    elect_leaders,
    end_txn,
    fetch,
    find_coordinator,
    heartbeat,
    incremental_alter_configs,
    init_producer_id,
    join_group,
    leave_group,
    list_config_resources,
    list_groups,
    list_offsets,
    list_partition_reassignments,
    list_transactions,
    metadata,
    offset_commit,
    offset_delete,
    offset_fetch,
    offset_for_leader_epoch,
    produce,
    sync_group,
    txn_offset_commit,
    unregister_broker,
    update_features,
    write_txn_markers,
)
from tidelog.handlers.api import Api, Handler

_MODULES: Final[tuple[ModuleType, ...]] = (
    produce,
    fetch,
    list_offsets,
    metadata,
    offset_commit,
    offset_delete,
    offset_fetch,
    find_coordinator,
    join_group,
    heartbeat,
    leave_group,
    list_groups,
    sync_group,
    api_versions,
    create_topics,
    delete_groups,
    delete_topics,
    delete_records,
    init_producer_id,
    offset_for_leader_epoch,
    describe_configs,
    describe_groups,
    alter_configs,
    alter_replica_log_dirs,
    describe_log_dirs,
    create_partitions,
    elect_leaders,
    incremental_alter_configs,
    alter_partition_reassignments,
    list_partition_reassignments,
    unregister_broker,
    describe_client_quotas,
    alter_client_quotas,
    describe_user_scram_credentials,
    describe_cluster,
    describe_producers,
    describe_topic_partitions,
    consumer_group_heartbeat,
    consumer_group_describe,
    add_partitions_to_txn,
    add_offsets_to_txn,
    end_txn,
    write_txn_markers,
    txn_offset_commit,
    describe_transactions,
    list_transactions,
    update_features,
    list_config_resources,
)


def _handler(module: ModuleType) -> Handler:
    api: Api = module.API
    if api.native:
        return Handler(api)
    return Handler(api, module.handle, module.error_answer)


HANDLERS: Final[tuple[Handler, ...]] = tuple(_handler(module) for module in _MODULES)

#: The same without the functions, by key: what ApiVersions lists.
APIS: Final[tuple[Api, ...]] = tuple(sorted(handler.api for handler in HANDLERS))
