"""ListTransactions (key 66), versions 0-2 (KIP-664).

Behaviour: the transactional ids that this node coordinates, so tools ask every node. States that do
not exist are named in the answer; nothing else is in them.

Version notes: 1 only what is open for longer than a duration (KIP-994), 2 a pattern that has to
match the whole transactional id (KIP-1152).
"""

from __future__ import annotations

from typing import Final

from tidelog.coordinator.txn.states import BY_LABEL
from tidelog.handlers.api import Api
from tidelog.handlers.authorization import Operation, Resource
from tidelog.handlers.context import RequestContext
from tidelog.protocol.api import ApiKey
from tidelog.protocol.error_codes import ErrorCode
from tidelog.protocol.messages.list_transactions import (
    ListTransactionsRequest,
    ListTransactionsResponse,
    TransactionState,
)

API: Final = Api(ApiKey.LIST_TRANSACTIONS, 0, 2)


def handle(request: ListTransactionsRequest, context: RequestContext) -> ListTransactionsResponse:
    found = context.services.transactions.list_transactions(
        frozenset(request.state_filters),
        frozenset(request.producer_id_filters),
        request.duration_filter,
        request.transactional_id_pattern,
    )
    return ListTransactionsResponse(
        unknown_state_filters=[name for name in request.state_filters if name not in BY_LABEL],
        transaction_states=[
            TransactionState(
                transactional_id=each.transactional_id,
                producer_id=each.producer_id,
                transaction_state=each.state.label,
            )
            for each in found
            if context.authorize(
                Operation.DESCRIBE, Resource.TRANSACTIONAL_ID, each.transactional_id
            )
        ],
    )


def error_answer(
    request: ListTransactionsRequest, code: ErrorCode, message: str | None, version: int
) -> ListTransactionsResponse:
    return ListTransactionsResponse(error_code=code)
