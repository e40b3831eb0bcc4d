"""The table of our orders at the venue, compiled: rows in the order in which they were sent, and running totals.

A row is found by its key, an integer that is never used again. Tables grow: `with_room` comes before `sent`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np

from market.compiled import allocating, inlined
from market.events import ASK, BID
from market.records import row


class State(IntEnum):
    """Where an order is on its way."""

    SENT = 0
    RESTING = 1
    CHANGING = 2
    CANCELLING = 3


ORDER = np.dtype(
    [
        ("key", np.int64), ("side", np.int64), ("price", np.int64), ("left", np.int64), ("state", np.int64),
        ("beyond_depth", np.bool_), ("since_ns", np.int64), ("filled", np.int64),
    ],
    align=True,
)  # fmt: skip
"""One order: ticks, lots left and filled, its `State`, whether it was placed where the feed shows no queue, and when it
was last sent, amended or cancelled by us."""

TOTALS = np.dtype([(name, np.int64) for name in ("rows", "position", "buys", "sells", "orders", "last_key")])
"""Rows in use, net lots filled, lots that may still be bought and sold, orders, and the key given last."""

_SENT, _RESTING, _CHANGING, _CANCELLING = (int(state) for state in State)
_NONE = -1


@allocating
def with_room(table: Any, totals: Any) -> Any:
    """A table that one more order fits into: this one, or one twice as long with the same rows."""
    totals = row(totals)
    if totals.rows < len(table):
        return table
    longer = np.zeros(2 * len(table), table.dtype)
    for i in range(totals.rows):
        longer[i] = table[i]
    return longer


@inlined
def find(table: Any, totals: Any, key: int) -> int:
    """The row of an order, -1 where it is not working."""
    totals = row(totals)
    for i in range(totals.rows):
        if table[i].key == key:
            return i
    return _NONE


@inlined
def _shift(totals: Any, side: int, lots: int) -> None:
    if side == BID:
        totals.buys += lots
    else:
        totals.sells += lots


@inlined
def _remove(table: Any, totals: Any, at: int) -> None:
    totals.orders -= 1
    totals.rows -= 1
    _shift(totals, table[at].side, -table[at].left)
    for i in range(at, totals.rows):
        table[i] = table[i + 1]


@inlined
def sent(table: Any, totals: Any, side: int, price: int, size: int, beyond_depth: bool, now_ns: int) -> int:
    """An order was sent; return its key. There has to be room for it."""
    totals = row(totals)
    if totals.rows == len(table):
        raise IndexError("the table of orders is full")
    totals.last_key += 1
    order = table[totals.rows]
    order.key = totals.last_key
    order.side = side
    order.price = price
    order.left = size
    order.state = _SENT
    order.beyond_depth = beyond_depth
    order.since_ns = now_ns
    order.filled = 0
    totals.rows += 1
    totals.orders += 1
    _shift(totals, side, size)
    return totals.last_key  # type: ignore[no-any-return]


@inlined
def accepted(table: Any, totals: Any, key: int) -> None:
    """The venue has an order."""
    at = find(table, totals, key)
    if at != _NONE and table[at].state == _SENT:
        table[at].state = _RESTING


@inlined
def asked(table: Any, totals: Any, key: int, state: int, now_ns: int) -> None:
    """An amendment (CHANGING) or a cancel (CANCELLING) of an order was sent."""
    at = find(table, totals, key)
    if at != _NONE:
        table[at].state = state
        table[at].since_ns = now_ns


@inlined
def put_back(table: Any, totals: Any, key: int, state: int) -> None:
    """What was asked of an order was refused: it rests, or is still on its way (SENT)."""
    at = find(table, totals, key)
    if at != _NONE:
        table[at].state = state


@inlined
def resized(table: Any, totals: Any, key: int, left: int) -> None:
    """The venue says how much is left after an amendment (or its refusal)."""
    totals = row(totals)
    at = find(table, totals, key)
    if at == _NONE:
        return
    order = table[at]
    _shift(totals, order.side, left - order.left)
    order.left = left
    if order.state == _CHANGING:
        order.state = _RESTING
    if left <= 0:
        _remove(table, totals, at)


@inlined
def filled(table: Any, totals: Any, key: int, lots: int) -> tuple[int, bool]:
    """Count a fill into the position; return the order's side and whether it was placed beyond the depth shown.

    The side is 0 where no such order works: nothing is counted.
    """
    totals = row(totals)
    at = find(table, totals, key)
    if at == _NONE:
        return 0, False
    order = table[at]
    side, beyond_depth = order.side, order.beyond_depth
    totals.position += lots if side == BID else -lots
    order.left -= lots
    order.filled += lots
    _shift(totals, side, -lots)
    if order.left <= 0:
        _remove(table, totals, at)
    return side, beyond_depth


@inlined
def gone(table: Any, totals: Any, key: int) -> None:
    """Cancelled, rejected, expired or filled: nothing of it can fill any more."""
    totals = row(totals)
    at = find(table, totals, key)
    if at != _NONE:
        _remove(table, totals, at)


@inlined
def unanswered(table: Any, totals: Any, before_ns: int) -> int:
    """How many orders wait for the venue's word since before a time: what became of them is unknown."""
    totals = row(totals)
    waiting = 0
    for i in range(totals.rows):
        waiting += table[i].state != _RESTING and table[i].since_ns < before_ns
    return waiting


@inlined
def _lay_out_side(table: Any, totals: Any, side: int, touchable: Any, keys: Any, n: int) -> int:
    for i in range(totals.rows):
        if table[i].side == side and table[i].state <= _RESTING:
            touchable[n].price = table[i].price
            touchable[n].left = table[i].left
            keys[n] = table[i].key
            n += 1
    return n


@inlined
def lay_out(table: Any, totals: Any, situation: Any, touchable: Any, standing: Any, keys: Any) -> None:
    """Write what a decision has to know of our orders; their counts and the exposure go into the situation.

    Parameters
    ----------
    table, totals : (>= rows,) ORDER, TOTALS record
    situation : SITUATION record
    touchable : (>= rows,) RESTING
        Orders that stand or are about to, and have no change under way: bids, then asks.
    standing : (>= rows,) STANDING
        Everything that may still fill; `waits` where a placement or amendment is unanswered.
    keys : (>= rows,) int64
        Of the touchable orders.

    """
    totals = row(totals)
    situation = row(situation)
    situation.bids = _lay_out_side(table, totals, BID, touchable, keys, 0)
    situation.asks = _lay_out_side(table, totals, ASK, touchable, keys, situation.bids) - situation.bids
    situation.standing = totals.rows
    for i in range(totals.rows):
        standing[i].side = table[i].side
        standing[i].price = table[i].price
        standing[i].waits = table[i].state == _SENT or table[i].state == _CHANGING
    situation.risk.position = totals.position
    situation.risk.buys = totals.buys
    situation.risk.sells = totals.sells
    situation.risk.open_orders = totals.orders
