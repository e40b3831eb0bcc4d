"""Order commands: from the protocol's fields to the engine, one by one or in batches; the rate limit."""

from __future__ import annotations

from collections import deque

import msgspec

from venues.loopback import rules, views
from venues.loopback.errors import OrderError, Refusal
from venues.loopback.exchange import Exchange
from venues.loopback.orders import Order
from venues.loopback.requests import (
    Action,
    AmendRequest,
    BatchRequest,
    CreateRequest,
    OrderRequest,
    Steps,
)

_SECOND_NS = 1_000_000_000


class OrderIds(msgspec.Struct, rename="camel"):
    """The answer to a command."""

    order_id: str
    order_link_id: str


class BatchRow(msgspec.Struct, rename="camel", kw_only=True):
    """One command of a batch, carried out or not."""

    category: str
    symbol: str
    order_id: str
    order_link_id: str
    create_at: str


class Outcome(msgspec.Struct):
    """Whether one command of a batch was carried out."""

    code: int = 0
    msg: str = "OK"


class Listed[T](msgspec.Struct):
    """A list as the protocol wraps it."""

    rows: list[T] = msgspec.field(name="list")


class Commands:
    """Carries out order commands."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._recent: deque[int] = deque()

    def run(self, request: OrderRequest) -> OrderIds:
        """Carry out one command.

        Raises
        ------
        OrderError

        """
        exchange, action = self._exchange, _action(request)
        exchange.on_command(action, exchange.wall())
        self._check_rate(action)
        if exchange.faults.use(f"reject_{action}s"):
            raise OrderError(exchange.faults.reject_code, Refusal.SERVER.text)
        if not exchange.is_ours(request):
            raise Refusal.SYMBOL.error()
        if isinstance(request, CreateRequest):
            order = self._create(request)
        else:
            known = exchange.engine.find(request.order_id, request.order_link_id)
            if isinstance(request, AmendRequest):
                price = self._ticks(request.price) if request.price else None
                order = exchange.engine.amend(known, price, self._lots(request.qty) if request.qty else None)
            else:
                order = exchange.engine.cancel(known)
        return OrderIds(order.order_id, order.link_id)

    def run_batch[T: OrderRequest](self, batch: BatchRequest[T]) -> tuple[Listed[BatchRow], Listed[Outcome]]:
        """Carry out commands in their order; each succeeds or fails alone."""
        rules.check_batch(len(batch.request))
        rows, outcomes = [], []
        for request in batch.request:
            row = BatchRow(
                category=batch.category, symbol=request.symbol or "", order_id=request.order_id or "",
                order_link_id=request.order_link_id or "", create_at=str(self._exchange.now_ms()),
            )  # fmt: skip
            try:
                ids = self.run(msgspec.structs.replace(request, category=batch.category))
                row.order_id, row.order_link_id = ids.order_id, ids.order_link_id
                outcomes.append(Outcome())
            except OrderError as error:
                outcomes.append(Outcome(error.code, str(error)))
            rows.append(row)
        return Listed(rows), Listed(outcomes)

    def _create(self, request: CreateRequest) -> Order:
        price = request.price if request.order_type != "Market" else None
        return self._exchange.engine.create(
            request.order_link_id or "", views.SIDES[request.side],
            self._ticks(price) if price is not None else None, self._lots(request.qty),
            request.time_in_force or ("GTC" if price else "IOC"), bool(request.reduce_only),
        )  # fmt: skip

    def _check_rate(self, action: Action) -> None:
        """Cancels overdraw the limit, nothing else does."""
        now = self._exchange.wall()
        while self._recent and self._recent[0] < now - _SECOND_NS:
            self._recent.popleft()
        is_full = len(self._recent) >= self._exchange.orders_per_s and action != "cancel"
        if self._exchange.faults.banned or is_full:
            raise Refusal.RATE_LIMIT.error()
        self._recent.append(now)

    def _ticks(self, price: Steps) -> int:
        return rules.whole_steps(price, self._exchange.terms.tick, "price")

    def _lots(self, size: Steps) -> int:
        return rules.whole_steps(size, self._exchange.terms.lot, "qty")


def _action(request: OrderRequest) -> Action:
    if isinstance(request, CreateRequest):
        return "create"
    return "amend" if isinstance(request, AmendRequest) else "cancel"
