"""The maker's orders: what it asks of the exchange, and what the exchange answers, kept in one place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import NamedTuple

from nautilus_trader.model import (
    ClientOrderId,
    LimitOrder,
    LiquiditySide,
    OrderAccepted,
    OrderCanceled,
    OrderCancelRejected,
    OrderDenied,
    OrderExpired,
    OrderFilled,
    OrderModifyRejected,
    OrderRejected,
    OrderSide,
    OrderUpdated,
)

from market.array_book import ArrayBook
from market.events import ASK, BID
from market.ledger import Ledger
from market.nautilus import Instrument
from strategies.fill_policy import FillPolicy
from strategies.gateway import OrderGateway
from strategies.guard import MessageBudget
from strategies.observer import Answer, Observer, OwnFill
from strategies.order_table import State
from strategies.trading_state import Reason
from strategies.values import Action, Kind
from strategies.working import Order, WorkingOrders

type Known = Callable[[ClientOrderId], LimitOrder | None]
"""What Nautilus knows of an order."""


class Touchable(NamedTuple):
    """Orders that a decision may change, by side, in the order in which its actions index them."""

    bids: list[Order]
    asks: list[Order]


class OrderManager:
    """Sends actions through a gateway and follows each order to its end.

    Parameters
    ----------
    gateway : OrderGateway
    instrument : Instrument
    book : ArrayBook
        As the feed shows it: an order beyond its depth joins a queue that nobody sees.
    known : callable
        What Nautilus knows of an order, None where it knows nothing.
    fills : FillPolicy
    budget : MessageBudget
    ledger : Ledger
    observer : Observer
    counts : Counter

    """

    def __init__(
        self,
        gateway: OrderGateway,
        instrument: Instrument,
        book: ArrayBook,
        known: Known,
        *,
        fills: FillPolicy,
        budget: MessageBudget,
        ledger: Ledger,
        observer: Observer,
        counts: Counter[str],
    ) -> None:
        self.working = WorkingOrders(ledger.position)
        self.answers = 0
        """Events about our orders, as they came in."""
        self._told: str = Reason.NOT_READY
        self.ledger = ledger
        self._gateway, self._instrument, self._book, self._known = gateway, instrument, book, known
        self._fills, self._budget, self._observer, self._counts = fills, budget, observer, counts

    # ── actions ───────────────────────────────────────────────────────────────────────────────

    def touchable(self) -> Touchable:
        """The orders that stand or are about to, and have no change under way."""
        return Touchable(self.working.touchable(BID), self.working.touchable(ASK))

    def execute(self, ts_ns: int, actions: list[Action], orders: Touchable, now_ns: int) -> None:
        """Carry out a decision's actions; they leave together."""
        self._tell_quoting(ts_ns, "")
        for action in actions:
            side = orders.bids if action.side == BID else orders.asks
            self._execute(action, side[action.order] if action.order >= 0 else None, ts_ns, now_ns)
        if actions:
            self._send(ts_ns, actions)

    def pull(self, reason: Reason, now_ns: int, ts_ns: int | None = None) -> None:
        """Cancel everything that is not yet being cancelled; `ts_ns` is that of the update that gave the reason."""
        self._tell_quoting(now_ns if ts_ns is None else ts_ns, reason)
        if self._cancel([o for o in self.working.all() if o.state <= State.RESTING], now_ns):
            self._counts[f"pulled_{reason}"] += 1

    def _tell_quoting(self, ts_ns: int, reason: str) -> None:
        if reason != self._told:
            self._told = reason
            self._observer.on_quoting(ts_ns, reason)

    def pull_side(self, side: int, now_ns: int) -> None:
        """Cancel one side's orders."""
        self._cancel(self.working.touchable(side), now_ns)

    def _cancel(self, orders: Sequence[Order], now_ns: int) -> bool:
        actions = [Action(Kind.CANCEL, order.side, order.price, 0, 0) for order in orders]
        for action, order in zip(actions, orders, strict=True):
            self._execute(action, order, now_ns, now_ns)
        if actions:
            self._send(now_ns, actions)
        return bool(actions)

    def _execute(self, action: Action, order: Order | None, ts_ns: int, now_ns: int) -> None:
        self._counts[f"action_{action.kind.name.lower()}"] += 1
        if action.kind == Kind.PLACE:
            key = self._gateway.submit(action.side, action.price, action.size)
            self.working.sent(
                key, action.side, action.price, action.size, beyond_depth=self._is_beyond_depth(action), now_ns=now_ns
            )
        elif order is not None and action.kind == Kind.AMEND:
            order, key = self.working.get(order.key) or order, order.key
            self.working.asked(key, State.CHANGING, now_ns)
            self._gateway.amend(key, order.filled + action.size)
        elif order is not None:
            key = order.key
            self.working.asked(key, State.CANCELLING, now_ns)
            self._gateway.cancel(key)
        else:
            return
        self._observer.on_command(ts_ns, now_ns, key, action)

    def _send(self, ts_ns: int, actions: list[Action]) -> None:
        self._observer.on_actions(ts_ns, actions)
        self._budget.spend(len(actions))
        self._gateway.flush()

    def _is_beyond_depth(self, action: Action) -> bool:
        """Whether the feed shows nothing at this price: beyond the levels it can show."""
        depth = self._instrument.depth
        if not depth:
            return False
        worst = self._book.worst_shown(action.side, depth)
        if worst is None:
            return not self._book.count[action.side - 1]
        return action.price < worst if action.side == BID else action.price > worst

    # ── answers ───────────────────────────────────────────────────────────────────────────────

    def accepted(self, event: OrderAccepted) -> None:
        """An order rests."""
        self.answers += 1
        key = event.client_order_id
        self.working.accepted(key)
        self._observer.on_answer(key, "accepted", event.ts_event)
        order = self.working.get(key)
        if order is not None:
            self._gateway.on_accepted(key, order.side, order.price, order.left)

    def refused(self, event: OrderRejected | OrderDenied, kind: str) -> None:
        """An order was refused, by the venue (`rejected`) or before it got there (`denied`)."""
        self._counts[kind] += 1
        self._ended(event, "refused")

    def ended(self, event: OrderCanceled | OrderExpired) -> None:
        """An order is gone: cancelled or expired."""
        self._ended(event, "gone")

    def _ended(self, event: OrderRejected | OrderDenied | OrderCanceled | OrderExpired, what: Answer) -> None:
        self.answers += 1
        self._close(event.client_order_id)
        self._observer.on_answer(event.client_order_id, what, event.ts_event)

    def amended(self, event: OrderUpdated | OrderModifyRejected) -> None:
        """An amendment was carried out or refused; what holds is what Nautilus knows of the order now."""
        self.answers += 1
        if isinstance(event, OrderModifyRejected):
            self._counts["amend_refused"] += 1
        key = event.client_order_id
        self._observer.on_answer(key, "amended" if isinstance(event, OrderUpdated) else "kept", event.ts_event)
        known = self._known(key)
        if known is None:
            return
        left = 0 if known.is_closed else self._instrument.lots(known.leaves_qty)
        self.working.resized(key, left)
        self._gateway.on_amended(key, left)

    def cancel_refused(self, event: OrderCancelRejected) -> None:
        """The order may have filled meanwhile: what holds is its status, not the answer."""
        self.answers += 1
        self._observer.on_answer(event.client_order_id, "kept", event.ts_event)
        order, known = self.working.get(event.client_order_id), self._known(event.client_order_id)
        if order is None or known is None or known.is_closed:
            self._close(event.client_order_id)
        else:  # one that is on its way cannot be cancelled yet, and may still come to rest
            self.working.put_back(order.key, State.RESTING if known.is_open else State.SENT)

    def filled(self, event: OrderFilled) -> OwnFill | None:
        """Count a fill; None where it had been told before.

        Raises
        ------
        RuntimeError
            In a simulation: an order that is not working was filled.

        """
        self.answers += 1
        lots, trade, key = self._instrument.lots(event.last_qty), str(event.trade_id), event.client_order_id
        if self._fills.is_repeated(trade):
            self._counts["repeated_fills"] += 1
            return None
        known = self.working.filled(key, lots)
        if known is not None:
            side, beyond_depth = known
        else:
            self._fills.allow_unknown(str(key), lots)
            self._counts["late_fills"] += 1
            side, beyond_depth = (BID if event.order_side == OrderSide.BUY else ASK), False
            self.working.filled_late(lots if side == BID else -lots)
        commission = event.commission.as_decimal() if event.commission is not None else Decimal(0)
        price = self._instrument.ticks(event.last_px)
        self._counts["fills"] += 1
        self.ledger.on_fill(side, price, lots, float(commission))
        is_maker = event.liquidity_side == LiquiditySide.MAKER
        fill = OwnFill(event.ts_event, side, price, lots, is_maker, beyond_depth, commission, trade, str(key))
        self._observer.on_fill(fill)
        return fill

    def _close(self, key: ClientOrderId) -> None:
        self.working.gone(key)
        self._gateway.on_closed(key)
