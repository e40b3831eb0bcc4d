"""A price-time matching engine for one linear contract: a background market and the orders of one account.

The background (a recording or the simulator) says how many lots of others rest at each price and
who trades aggressively; the account's orders stand in the same queues. What rests first trades
first; a level of others that shrinks without a trade loses its latest lots, so that a cancel never
moves us up. Money is exact (`Decimal`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from decimal import Decimal

import msgspec
from sortedcontainers import SortedDict

from market.events import ASK, BID, BUY, SELL, BookUpdate, Trade

_QUANTUM = Decimal("1e-8")
_FINAL = frozenset({"Filled", "Cancelled", "Rejected", "PartiallyFilledCanceled"})


class Order(msgspec.Struct, eq=False):
    """An order of the account; prices in ticks, sizes in lots, times in ns."""

    order_id: str
    link_id: str
    side: int
    price: int
    lots: int
    left: int
    tif: str
    kind: str
    created_ns: int
    updated_ns: int
    status: str = "New"
    reason: str = "EC_NoError"
    cancel_type: str = "UNKNOWN"
    reduce_only: bool = False
    value: Decimal = Decimal(0)
    fee: Decimal = Decimal(0)

    @property
    def is_open(self) -> bool:
        return self.status not in _FINAL


class Execution(msgspec.Struct, frozen=True):
    """One fill of the account."""

    exec_id: str
    order_id: str
    link_id: str
    side: int
    price: int
    lots: int
    left: int
    order_lots: int
    order_price: int
    fee: Decimal
    is_maker: bool
    ts_ns: int
    seq: int


class PublicTrade(msgspec.Struct, frozen=True):
    """One trade as the public sees it."""

    price: int
    lots: int
    aggressor: int
    ts_ns: int
    seq: int


class Terms(msgspec.Struct, frozen=True):
    """The contract: step sizes, fees as fractions of turnover, limits of the venue."""

    symbol: str
    tick: Decimal
    lot: Decimal
    maker: Decimal
    taker: Decimal
    max_orders: int = 500
    coin: str = "USDT"
    base: str = "BTC"


class OrderError(Exception):
    """A command refused; `code` is the protocol's."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


type _Entry = Order | list[int]  # a list of one number: lots of others


class MatchingEngine:
    """The book, the account and what they tell.

    Parameters
    ----------
    terms : Terms
    cash : Decimal
        Of the account at the start.
    now : callable
        The exchange's clock, ns.

    """

    def __init__(self, terms: Terms, cash: Decimal, now: Callable[[], int]) -> None:
        self.terms, self.start_cash, self._now = terms, cash, now
        self._sides: dict[int, SortedDict] = {BID: SortedDict(), ASK: SortedDict()}
        self.orders: dict[str, Order] = {}  # every order ever taken, by id
        self.by_link: dict[str, Order] = {}
        self.open: dict[str, Order] = {}
        self.executions: list[Execution] = []
        self.position = 0
        self.entry_value = Decimal(0)  # signed
        self.flow = Decimal(0)  # money in and out by fills, fees included
        self.fees = Decimal(0)
        self.last: int | None = None
        self.seq = 0
        self.on_order: Callable[[Order], None] = lambda _: None
        self.on_execution: Callable[[Execution], None] = lambda _: None
        self.on_trade: Callable[[PublicTrade], None] = lambda _: None

    # ── what is shown ─────────────────────────────────────────────────────────────────────────

    @property
    def wallet(self) -> Decimal:
        """Balance after realised PnL and fees."""
        return self.start_cash + self.flow + self.entry_value

    def best(self, side: int) -> int | None:
        levels = self._sides[side]
        if not levels:
            return None
        price: int = levels.peekitem(-1 if side == BID else 0)[0]
        return price

    def top(self, side: int, depth: int) -> dict[int, int]:
        """Best levels of a side: lots by price, ours among them."""
        levels = self._sides[side]
        prices = reversed(levels) if side == BID else iter(levels)
        return {price: self._lots(levels[price]) for price, _ in zip(prices, range(depth), strict=False)}

    @property
    def mark(self) -> Decimal:
        """The mid price, else the last trade's, else zero."""
        bid, ask = self.best(BID), self.best(ASK)
        ticks = Decimal(bid + ask) / 2 if bid is not None and ask is not None else Decimal(self.last or 0)
        return ticks * self.terms.tick

    def resting(self, side: int) -> int:
        """Lots of the account that rest on a side."""
        return sum(order.left for order in self.open.values() if order.side == side)

    # ── the background ────────────────────────────────────────────────────────────────────────

    def update(self, event: BookUpdate) -> None:
        """Levels of others change."""
        self.seq += 1
        if event.snapshot:
            shown = {(side, price) for side, price, _ in event.levels}
            for side, levels in self._sides.items():
                for price in [p for p in levels if (side, p) not in shown]:
                    self._resize(side, price, 0)
        for side, price, lots in event.levels:
            self._resize(side, price, lots - self._sweep(side, price, lots) if lots else 0)

    def trade(self, event: Trade) -> None:
        """Somebody trades aggressively, up to the recorded price; the rest was not for our book."""
        self.seq += 1
        side = BID if event.aggressor == SELL else ASK if event.aggressor == BUY else self._nearer(event.price)
        self._match(side, event.price, event.size, None)

    def _sweep(self, side: int, price: int, lots: int) -> int:
        """Others come to rest at a price that crosses ours: they trade with us first; return how many lots."""
        other, left = (ASK if side == BID else BID), lots
        crossing = (o for o in self.open.values() if o.side == other)
        for order in [o for o in crossing if (o.price <= price if side == BID else o.price >= price)]:
            took = min(order.left, left)
            if took:
                self._match(other, price, took, None, ours_only=True)
                left -= took
        return lots - left

    def _resize(self, side: int, price: int, lots: int) -> None:
        levels = self._sides[side]
        queue: deque[_Entry] | None = levels.get(price)
        if queue is None:
            if lots:
                levels[price] = deque([[lots]])
            return
        change = lots - sum(entry[0] for entry in queue if isinstance(entry, list))
        if change > 0:
            queue.append([change])
        for entry in reversed(list(queue)):
            if change >= 0:
                break
            if isinstance(entry, list):
                gone = min(entry[0], -change)
                entry[0] -= gone
                change += gone
                if not entry[0]:
                    _drop(queue, entry)
        if not queue:
            del levels[price]

    def _nearer(self, price: int) -> int:
        bid = self.best(BID)
        return BID if bid is not None and price <= bid else ASK

    # ── the account's commands ────────────────────────────────────────────────────────────────

    def create(self, link_id: str, side: int, price: int | None, lots: int, tif: str, reduce_only: bool) -> Order:
        """Take a new order; a price of None is a market order.

        Raises
        ------
        OrderError

        """
        now = self._now()
        if lots <= 0:
            raise OrderError(10001, "Qty invalid")
        if link_id and link_id in self.by_link:
            raise OrderError(110072, "OrderLinkedID is duplicate")
        if price is not None and price <= 0:
            raise OrderError(10001, "Price invalid")
        if len(self.open) >= self.terms.max_orders:
            raise OrderError(110009, "The number of active orders exceeds the limit")
        if reduce_only:
            room = -self.position if side == BID else self.position
            if room <= 0:
                raise OrderError(110017, "Reduce-only order has same side with current position")
            lots = min(lots, room)
        self.seq += 1
        order_id = f"{len(self.orders) + 1:08d}-{self.seq:08x}"
        kind = "Limit" if price is not None else "Market"
        order = Order(
            order_id, link_id, side, price or 0, lots, lots, tif, kind, now, now, "New", reduce_only=reduce_only
        )
        self.orders[order_id] = order
        if link_id:
            self.by_link[link_id] = order
        other = ASK if side == BID else BID
        best = self.best(other)
        crosses = best is not None and (price is None or (price >= best if side == BID else price <= best))
        if crosses and tif == "PostOnly":
            order.status, order.reason = "Cancelled", "EC_PostOnlyWillTakeLiquidity"
            order.cancel_type = "CancelByUser"
            self.on_order(order)
            return order
        self.open[order_id] = order
        if crosses:
            self._match(other, price, lots, order)
        if order.is_open and (price is None or tif in ("IOC", "FOK")):
            self._close(order, "CancelByUser", reason="EC_NoImmediateQtyToFill")
        elif order.is_open:
            self.on_order(order)
            self._sides[side].setdefault(price, deque()).append(order)
        return order

    def find(self, order_id: str | None, link_id: str | None) -> Order | None:
        """An order by either id, open or not."""
        return self.orders.get(order_id) if order_id else self.by_link.get(link_id or "")

    def amend(self, order: Order | None, price: int | None, lots: int | None) -> Order:
        """Change an open order; fewer lots at the same price keep their place."""
        if order is None or not order.is_open:
            raise OrderError(110001, "order not exists or too late to replace")
        done = order.lots - order.left
        wanted = order.lots if lots is None else lots
        at = order.price if price is None else price
        if wanted == order.lots and at == order.price:
            raise OrderError(10001, "The order remains unchanged as the parameters entered match the existing ones.")
        if wanted <= done:
            raise OrderError(110001, "order not exists or too late to replace")
        self.seq += 1
        grows = wanted > order.lots
        order.lots, order.left, order.updated_ns = wanted, wanted - done, self._now()
        if at != order.price or grows:
            self._leave(order)
            order.price = at
            other = ASK if order.side == BID else BID
            best = self.best(other)
            if best is not None and (at >= best if order.side == BID else at <= best):
                if order.tif == "PostOnly":
                    self._close(order, "CancelByUser", reason="EC_PostOnlyWillTakeLiquidity")
                    return order
                self._match(other, at, order.left, order)
            if order.is_open:
                self._sides[order.side].setdefault(at, deque()).append(order)
        if order.is_open:
            self.on_order(order)
        return order

    def cancel(self, order: Order | None, why: str = "CancelByUser") -> Order:
        """Take an order out."""
        if order is None or not order.is_open:
            raise OrderError(110001, "order not exists or too late to cancel")
        self.seq += 1
        self._close(order, why)
        return order

    def cancel_all(self, why: str = "CancelByUser") -> list[Order]:
        """Take all orders out."""
        return [self.cancel(order, why) for order in list(self.open.values())]

    def forget_orders(self) -> None:
        """Lose all open orders without a word, as an exchange that restarts badly."""
        for order in list(self.open.values()):
            self._leave(order)
            del self.open[order.order_id]
            order.status = "Cancelled"

    # ── matching ──────────────────────────────────────────────────────────────────────────────

    def _match(self, side: int, limit: int | None, lots: int, taker: Order | None, ours_only: bool = False) -> None:
        """An aggressor takes up to `lots` from a side, as far as `limit`; `taker` is an order of ours."""
        levels = self._sides[side]
        while lots > 0 and levels:
            price = levels.peekitem(-1 if side == BID else 0)[0]
            if limit is not None and ((price < limit) if side == BID else (price > limit)):
                return
            queue: deque[_Entry] = levels[price]
            if ours_only:
                mine = next((e for e in queue if isinstance(e, Order)), None)
                if mine is None:  # others at that price are stale: the crossing level replaces them
                    del levels[price]
                    continue
                entry: _Entry = mine
            else:
                entry = queue[0]
            if taker is not None and isinstance(entry, Order):  # self-match prevention: the resting one goes
                self._close(entry, "CancelBySmp")
                continue
            if isinstance(entry, Order):
                took = min(entry.left, lots)
            else:
                took = min(entry[0], lots)
                entry[0] -= took
                if not entry[0]:
                    _drop(queue, entry)
            if isinstance(entry, Order):
                self._fill(entry, price, took, True)
            if taker is not None:
                self._fill(taker, price, took, False)
            if not queue:
                levels.pop(price, None)
            lots -= took
            self.last = price
            aggressor = SELL if side == BID else BUY
            self.on_trade(PublicTrade(price, took, aggressor, self._now(), self.seq))

    def _fill(self, order: Order, price: int, lots: int, maker: bool) -> None:
        t, now = self.terms, self._now()
        value = price * t.tick * lots * t.lot
        fee = (value * (t.maker if maker else t.taker)).quantize(_QUANTUM)
        signed = lots if order.side == BID else -lots
        self.flow -= (value if signed > 0 else -value) + fee
        self.fees += fee
        if self.position * signed >= 0:
            self.entry_value += value if signed > 0 else -value
        else:
            closed = min(abs(signed), abs(self.position))
            kept = Decimal(abs(self.position) - closed) / abs(self.position)
            self.entry_value = (self.entry_value * kept).quantize(_QUANTUM)
            opened = (abs(signed) - closed) * price * t.tick * t.lot
            self.entry_value += opened if signed > 0 else -opened
        self.position += signed
        order.left -= lots
        order.value += value
        order.fee += fee
        order.updated_ns = now
        order.status = "PartiallyFilled" if order.left else "Filled"
        if not order.left:
            self._leave(order)
            self.open.pop(order.order_id, None)
        execution = Execution(
            f"{len(self.executions) + 1:08d}-{self.seq:08x}-{order.order_id}",
            order.order_id, order.link_id, order.side, price, lots, order.left, order.lots, order.price,
            fee, maker, now, self.seq,
        )  # fmt: skip
        self.executions.append(execution)
        self.on_execution(execution)
        self.on_order(order)

    def _close(self, order: Order, why: str, reason: str = "EC_PerCancelRequest") -> None:
        self._leave(order)
        self.open.pop(order.order_id, None)
        order.status = "Cancelled" if order.left == order.lots else "PartiallyFilledCanceled"
        if order.kind == "Limit" and order.status == "PartiallyFilledCanceled":
            order.status = "Cancelled"  # derivatives know no other word for it
        order.reason, order.cancel_type, order.updated_ns = reason, why, self._now()
        self.on_order(order)

    def _leave(self, order: Order) -> None:
        queue: deque[_Entry] | None = self._sides[order.side].get(order.price)
        if queue is not None and any(entry is order for entry in queue):
            _drop(queue, order)
            if not queue:
                self._sides[order.side].pop(order.price, None)

    @staticmethod
    def _lots(queue: deque[_Entry]) -> int:
        return sum(entry.left if isinstance(entry, Order) else entry[0] for entry in queue)


def _drop(queue: deque[_Entry], entry: _Entry) -> None:
    """Take out this very entry (others may be equal)."""
    for index, candidate in enumerate(queue):
        if candidate is entry:
            del queue[index]
            return
