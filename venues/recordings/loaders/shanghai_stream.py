"""From a Shanghai stock's sequence of orders and trades to the changes of its book.

An order that trades at once is told of by its trades first, then, if something is left of it, by an order
of what was LEFT. Trades therefore take from the resting order alone (the one with the smaller number), and
the book is never crossed by the other. All that one order trades is one change of the book.

Auctions match nothing until they end, so that their orders cross: the book is not shown meanwhile. It begins, whole
and in order of time, with what the opening auction left, and ends where the closing auction starts. Trades of
auctions have no aggressor; they are counted and left out.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator

import msgspec
from sortedcontainers import SortedDict

from market.contracts import Contract
from market.events import ASK, BID, BUY, SELL, Event, OrderUpdate, Trade
from market.sessions import SessionClock
from venues.recordings.loaders.findings import Findings
from venues.recordings.loaders.order import Stamped
from venues.recordings.loaders.units import Grid

ADD, DELETE, TRADE = 1, 2, 3
_DAY_NS = 86_400 * 10**9


class Row(Stamped, frozen=True, gc=False):
    """One row of either file.

    Parameters
    ----------
    sequence : int
        Its place in the sequence of both files.
    kind : int
        ADD, DELETE or TRADE.
    side : int
        BID or ASK of an order; of a trade the aggressor's, 0 in an auction.
    price : float
        As written, CNY.
    size : int
        Shares: of the order, taken away, or traded.
    order, seller : int
        The order, or a trade's buying and selling orders.

    """

    sequence: int
    kind: int
    side: int
    price: float
    size: int
    order: int
    seller: int


class Stream:
    """One stock's day; `traded` is its volume so far, auctions too."""

    def __init__(self, contract: Contract, findings: Findings) -> None:
        self.traded = 0
        self._id, self._clock = contract.id, SessionClock(contract.sessions)
        self._counts = findings.of(contract.id)
        self._grid = Grid(contract, self._counts)
        self._orders: dict[int, tuple[int, int, int]] = {}  # side, price, lots; first come first
        self._queues: dict[int, SortedDict[int, dict[int, None]]] = {BID: SortedDict(), ASK: SortedDict()}
        self._changed: list[tuple[int, int, int, int]] = []  # order, side, price, lots: of the change at hand
        self._taker = 0  # whose trades the change at hand is made of
        self._last: Row | None = None

    def events(self, orders: Iterable[Row], trades: Iterable[Row], midnight: int) -> Iterator[Event]:
        """Merge the files by sequence; `midnight` begins the day (ns)."""
        sessions = self._clock.closes(midnight, midnight + _DAY_NS)
        opens, closes = (sessions[0][0], sessions[-1][1]) if sessions else (midnight, midnight + _DAY_NS)
        is_open = False
        for row in self._in_sequence(orders, trades):
            if row.ts_event < opens and not is_open:
                self._in_opening(row)
                self._last = row
                continue
            if not is_open:
                is_open = True
                yield from self._begin()
            if row.kind == TRADE and row.side:
                yield from self._trade(row)
            elif row.ts_event >= closes:
                self._in_closing(row)
                continue
            else:
                yield from self._order(row)
            self._last = row
        yield from self._flush() if is_open else self._begin()

    def _in_sequence(self, orders: Iterable[Row], trades: Iterable[Row]) -> Iterator[Row]:
        """Rows of both files; one that arrived before what precedes it in the sequence waits for that."""
        last = 0
        for row in heapq.merge(orders, trades, key=lambda row: row.sequence):
            if row.ts_recv < last:
                self._counts["waited_for_sequence"] += 1
                yield msgspec.structs.replace(row, ts_recv=last)
            else:
                last = row.ts_recv
                yield row

    # ── auctions ──────────────────────────────────────────────────────────────────────────────

    def _in_opening(self, row: Row) -> None:
        if row.kind == ADD:
            self._add(row)
        elif row.kind == DELETE:
            self._take(row.order, row.size)
        else:
            self._match(row)
        self._changed.clear()

    def _in_closing(self, row: Row) -> None:
        if row.kind == TRADE:
            self._counts["auction_trade"] += 1
        else:
            self._counts["closing_auction"] += 1

    def _match(self, row: Row) -> None:
        """A trade of an auction: both orders rested."""
        self._counts["auction_trade"] += 1
        self.traded += row.size
        self._take(row.order, row.size)
        self._take(row.seller, row.size)

    def _begin(self) -> Iterator[Event]:
        """The book that the opening auction left, at its end."""
        self._changed = [(oid, *order) for oid, order in self._orders.items()]
        yield from self._flush(reset=True)

    # ── continuous trading ────────────────────────────────────────────────────────────────────

    def _order(self, row: Row) -> Iterator[Event]:
        """An order, a delete, or a trade of an auction that ends a halt."""
        is_rest = row.kind == ADD and row.order == self._taker and self._is_now(row)
        if not is_rest:
            yield from self._flush()
        if row.kind == ADD:
            self._add(row)
        elif row.kind == DELETE:
            self._take(row.order, row.size)
        else:
            self._match(row)
        self._last = row
        yield from self._flush()

    def _trade(self, row: Row) -> Iterator[Event]:
        maker, taker = sorted((row.order, row.seller))
        if taker != self._taker:
            yield from self._flush()
        self._taker = taker
        self.traded += row.size
        price = self._grid.ticks(row.price)
        if price is not None and row.size:
            aggressor = BUY if taker == row.order else SELL
            yield Trade(self._id, row.ts_event, row.ts_recv, price, row.size, aggressor)
        self._check(maker)
        self._take(maker, row.size)
        if taker in self._orders:
            self._take(taker, row.size)

    def _check(self, maker: int) -> None:
        """A trade takes the first order of the best level; where another stands there, a row is missing."""
        known = self._orders.get(maker)
        if known is not None:
            best = self._queues[known[0]].peekitem(-1 if known[0] == BID else 0)[1]
            self._counts["out_of_priority"] += next(iter(best)) != maker

    def _is_now(self, row: Row) -> bool:
        """Whether a row was known with the one before it."""
        return self._last is not None and row.ts_recv == self._last.ts_recv

    def _add(self, row: Row) -> None:
        if row.order in self._orders:
            self._counts["duplicate_order"] += 1
        elif not row.price:
            self._counts["market_order"] += 1  # it does not rest
        elif row.size and (price := self._grid.ticks(row.price)) is not None:
            self._orders[row.order] = (row.side, price, row.size)
            self._queues[row.side].setdefault(price, {})[row.order] = None
            self._changed.append((row.order, row.side, price, row.size))

    def _take(self, order: int, lots: int) -> None:
        """Take lots from a resting order: traded or deleted."""
        known = self._orders.get(order)
        if known is None:
            self._counts["unknown_order"] += 1
            return
        side, price, had = known
        left = had - lots
        if left > 0:
            self._orders[order] = (side, price, left)
        else:
            del self._orders[order]
            queue = self._queues[side][price]
            del queue[order]
            if not queue:
                del self._queues[side][price]
            if left:
                self._counts["more_than_rested"] += 1
        self._changed.append((order, side, price, max(left, 0)))

    def _flush(self, reset: bool = False) -> Iterator[Event]:
        """End the change at hand: at the arrival of the last row that belongs to it."""
        changed, self._changed, self._taker = self._changed, [], 0
        row, end = self._last, len(changed) - 1
        if row is None:
            return
        for i, (order, side, price, lots) in enumerate(changed):
            yield OrderUpdate(self._id, row.ts_event, row.ts_recv, order, side, price, lots, i == end, reset and i == 0)
