"""A price-time matching engine for one linear contract: a background market and the orders of one account.

The background (a recording or the simulator) says how many lots of others rest at each price and who trades
aggressively; the account's orders stand in the same queues.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from market.events import ASK, BID, BUY, SELL, BookUpdate, Trade
from venues.loopback import rules
from venues.loopback.account import Account
from venues.loopback.orders import Execution, Order, PublicTrade, Terms
from venues.loopback.queue_book import OthersLots, QueueBook, crosses, opposite


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
        self.terms, self._now = terms, now
        self.account = Account(cash)
        self._book = QueueBook()
        self.orders: dict[str, Order] = {}
        """Every order ever taken, by id."""
        self.by_link: dict[str, Order] = {}
        self.open: dict[str, Order] = {}
        self.last: int | None = None
        """Price of the last trade, ticks."""
        self.seq = 0
        self.on_order: Callable[[Order], None] = lambda _: None
        self.on_execution: Callable[[Execution], None] = lambda _: None
        self.on_trade: Callable[[PublicTrade], None] = lambda _: None

    # ── what is shown ─────────────────────────────────────────────────────────────────────────

    @property
    def position(self) -> int:
        """The account's position, lots."""
        return self.account.position

    def best(self, side: int) -> int | None:
        """Best price of a side, ticks."""
        return self._book.best(side)

    def top(self, side: int, depth: int) -> dict[int, int]:
        """Best levels of a side: lots by price, ours among them."""
        return self._book.top(side, depth)

    @property
    def mark(self) -> Decimal:
        """The mid price, else the last trade's, else zero."""
        bid, ask = self.best(BID), self.best(ASK)
        ticks = Decimal(bid + ask) / 2 if bid is not None and ask is not None else Decimal(self.last or 0)
        return ticks * self.terms.tick

    @property
    def unrealised(self) -> Decimal:
        """PnL of the account's position at the mark price."""
        return self.account.unrealised(self.mark, self.terms.lot)

    def resting(self, side: int) -> int:
        """Lots of the account that rest on a side."""
        return sum(order.left for order in self.open.values() if order.side == side)

    # ── the background ────────────────────────────────────────────────────────────────────────

    def update(self, event: BookUpdate) -> None:
        """Levels of others change."""
        self.seq += 1
        if event.snapshot:
            shown = {(side, price) for side, price, _ in event.levels}
            for side in (BID, ASK):
                for price in self._book.prices(side):
                    if (side, price) not in shown:
                        self._book.resize(side, price, 0)
        for side, price, lots in event.levels:
            self._book.resize(side, price, lots - self._sweep(side, price, lots) if lots else 0)

    def trade(self, event: Trade) -> None:
        """Somebody trades aggressively, up to the recorded price; the rest was not for our book."""
        self.seq += 1
        side = BID if event.aggressor == SELL else ASK if event.aggressor == BUY else self._nearer(event.price)
        self._match(side, event.price, event.size)

    def _sweep(self, side: int, price: int, lots: int) -> int:
        """Others come to rest at a price that crosses ours: they trade with us first; return how many lots."""
        other, left = opposite(side), lots
        for order in [o for o in self.open.values() if o.side == other and crosses(side, price, o.price)]:
            took = min(order.left, left)
            if took:
                self._match(other, price, took, ours_only=True)
                left -= took
        return lots - left

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
        rules.check_size(lots)
        rules.check_link(link_id, self.by_link)
        rules.check_price(price)
        rules.check_open_orders(len(self.open), self.terms.max_orders)
        if reduce_only:
            lots = rules.reducing_lots(side, lots, self.position)
        order = self._register(link_id, side, price, lots, tif, reduce_only=reduce_only)
        other = opposite(side)
        best = self.best(other)
        meets = best is not None if price is None else crosses(side, price, best)
        if meets and tif == "PostOnly":
            order.status, order.reason = "Cancelled", "EC_PostOnlyWillTakeLiquidity"
            order.cancel_type = "CancelByUser"
            self.on_order(order)
            return order
        self.open[order.order_id] = order
        if meets:
            self._match(other, price, lots, order)
        if order.is_open and (price is None or tif in ("IOC", "FOK")):
            self._close(order, "CancelByUser", reason="EC_NoImmediateQtyToFill")
        elif order.is_open:
            self.on_order(order)
            self._book.join(order)
        return order

    def _register(self, link_id: str, side: int, price: int | None, lots: int, tif: str, *, reduce_only: bool) -> Order:
        now = self._now()
        self.seq += 1
        order = Order(
            f"{len(self.orders) + 1:08d}-{self.seq:08x}", link_id, side, price or 0, lots, lots, tif,
            "Limit" if price is not None else "Market", now, now, reduce_only=reduce_only,
        )  # fmt: skip
        self.orders[order.order_id] = order
        if link_id:
            self.by_link[link_id] = order
        return order

    def find(self, order_id: str | None, link_id: str | None) -> Order | None:
        """An order by either id, open or not."""
        return self.orders.get(order_id) if order_id else self.by_link.get(link_id or "")

    def amend(self, order: Order | None, price: int | None, lots: int | None) -> Order:
        """Change an open order; fewer lots at the same price keep their place.

        Raises
        ------
        OrderError

        """
        order = rules.check_amend(order, price, lots)
        wanted = order.lots if lots is None else lots
        at = order.price if price is None else price
        self.seq += 1
        moves = at != order.price or wanted > order.lots
        order.lots, order.left, order.updated_ns = wanted, wanted - order.done, self._now()
        if moves and not self._move(order, at):
            return order
        if order.is_open:
            self.on_order(order)
        return order

    def _move(self, order: Order, price: int) -> bool:
        """Queue an order anew at a price; False where it would have taken and must not."""
        self._book.leave(order)
        order.price = price
        other = opposite(order.side)
        if crosses(order.side, price, self.best(other)):
            if order.tif == "PostOnly":
                self._close(order, "CancelByUser", reason="EC_PostOnlyWillTakeLiquidity")
                return False
            self._match(other, price, order.left, order)
        if order.is_open:
            self._book.join(order)
        return True

    def cancel(self, order: Order | None, why: str = "CancelByUser") -> Order:
        """Take an order out.

        Raises
        ------
        OrderError

        """
        order = rules.check_cancel(order)
        self.seq += 1
        self._close(order, why)
        return order

    def cancel_all(self, why: str = "CancelByUser") -> list[Order]:
        """Take all orders out."""
        return [self.cancel(order, why) for order in list(self.open.values())]

    def forget_orders(self) -> None:
        """Lose all open orders without a word, as an exchange that restarts badly."""
        for order in list(self.open.values()):
            self._book.leave(order)
            del self.open[order.order_id]
            order.status = "Cancelled"

    # ── matching ──────────────────────────────────────────────────────────────────────────────

    def _match(
        self, side: int, limit: int | None, lots: int, taker: Order | None = None, *, ours_only: bool = False
    ) -> None:
        """An aggressor takes up to `lots` from a side, as far as `limit`; `taker` is an order of ours."""
        book = self._book
        while lots > 0 and (price := book.best(side)) is not None:
            if limit is not None and not crosses(opposite(side), limit, price):
                return
            entry = book.first_order(side, price) if ours_only else book.first(side, price)
            if entry is None:  # others at that price are stale: the crossing level replaces them
                book.drop_level(side, price)
                continue
            if taker is not None and isinstance(entry, Order):  # self-match prevention: the resting one goes
                self._close(entry, "CancelBySmp")
                continue
            took = min(entry.left, lots)
            if isinstance(entry, OthersLots):
                book.take(side, price, entry, took)
            else:
                self._fill(entry, price, took, is_maker=True)
            if taker is not None:
                self._fill(taker, price, took, is_maker=False)
            book.prune(side, price)
            lots -= took
            self.last = price
            aggressor = SELL if side == BID else BUY
            self.on_trade(PublicTrade(price, took, aggressor, self._now(), self.seq))

    def _fill(self, order: Order, price: int, lots: int, *, is_maker: bool) -> None:
        terms, account, now = self.terms, self.account, self._now()
        signed = lots if order.side == BID else -lots
        fee = account.fill(signed, terms.value(price, 1), terms.maker if is_maker else terms.taker)
        order.left -= lots
        order.value += terms.value(price, lots)
        order.fee += fee
        order.updated_ns = now
        order.status = "PartiallyFilled" if order.left else "Filled"
        if not order.left:
            self._book.leave(order)
            self.open.pop(order.order_id, None)
        execution = Execution(
            f"{len(account.executions) + 1:08d}-{self.seq:08x}-{order.order_id}",
            order.order_id, order.link_id, order.side, price, lots, order.left, order.lots, order.price,
            fee, is_maker, now, self.seq,
        )  # fmt: skip
        account.executions.append(execution)
        self.on_execution(execution)
        self.on_order(order)

    def _close(self, order: Order, why: str, reason: str = "EC_PerCancelRequest") -> None:
        self._book.leave(order)
        self.open.pop(order.order_id, None)
        order.status = "Cancelled" if order.left == order.lots else "PartiallyFilledCanceled"
        if order.kind == "Limit" and order.status == "PartiallyFilledCanceled":
            order.status = "Cancelled"  # derivatives know no other word for it
        order.reason, order.cancel_type, order.updated_ns = reason, why, self._now()
        self.on_order(order)
