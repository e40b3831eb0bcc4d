"""The matcher's rules: compiled functions over a `MATCH` record and a table of `PLACE` records, oldest order first.

Price decides, then time; a lot that filled one of our orders fills no other.
"""

from __future__ import annotations

import numpy as np

from market.columns import ASK_LOTS, BEST_ASK, BEST_BID, BID_LOTS
from market.compiled import compiled, inlined
from market.events import ASK, BID, BUY, SELL
from venues.simulation.queues import FOREVER, changed, filled, join, traded
from venues.simulation.recorded_book import is_shown

_CREDIT_NS = 1_000_000_000  # a shrink that has not come by then was offset by new orders

MATCH = np.dtype(
    [
        ("places", np.int64),  # orders in the table
        ("consumed", np.int64),  # levels in the table of what we took
        ("last_ns", np.int64),  # arrival of the last book
        ("event_ns", np.int64),  # latest exchange time of a book
        ("filled_through", np.int64),  # lots that trades beyond our price filled
        ("filled_crossed", np.int64),  # and books that crossed it
        ("unclaimed", np.int64),  # lots that nobody asked for
    ],
    align=True,
)
"""Scalars of a matcher."""

CONSUMED = np.dtype([("side", np.int64), ("price", np.int64), ("lots", np.int64)], align=True)
"""What we took of a standing level of the other side, which the recording goes on showing."""


# ── our orders ────────────────────────────────────────────────────────────────────────────────


@inlined
def place_order(match, places, key, side, price, lots, now_ns):  # type: ignore[no-untyped-def]
    """An order arrives and rests; returns its row. Its queue is unknown until `join` says what is shown."""
    i = match.places
    place = places[i]
    place.key, place.side, place.price, place.left = key, side, price, lots
    place.from_ns, place.until_ns, place.seen_ns = now_ns, FOREVER, match.event_ns
    place.ahead = place.credit = 0.0
    place.shown = place.credit_ns = place.fill = place.shrinks = place.row = 0
    place.beyond_depth = True
    match.places = i + 1
    return i


@inlined
def join_level(place, lots, row):  # type: ignore[no-untyped-def]
    """What is shown at an order's price stands before it."""
    place.beyond_depth = False
    join(place, lots, row)


@inlined
def find_place(match, places, key):  # type: ignore[no-untyped-def]
    """Row of an order, -1 where it does not rest."""
    for i in range(match.places):
        if places[i].key == key:
            return i
    return -1


@inlined
def remove_place(match, places, i):  # type: ignore[no-untyped-def]
    """An order is gone; those after it move up."""
    match.places -= 1
    for k in range(i, match.places):
        places[k] = places[k + 1]


@inlined
def resize_place(match, places, i, left):  # type: ignore[no-untyped-def]
    """An amendment: fewer lots keep their place."""
    places[i].left = left
    if left <= 0:
        remove_place(match, places, i)


@inlined
def claim_place(match, places, i):  # type: ignore[no-untyped-def]
    """Lots that the event at hand gave an order; they count as filled from now on."""
    place = places[i]
    lots = min(place.fill, place.left)
    place.fill = 0
    place.left -= lots
    if lots and place.left <= 0:
        remove_place(match, places, i)
    return lots


@inlined
def next_filled(match, places):  # type: ignore[no-untyped-def]
    """Row of the next order that an event gave lots, as an exchange works them off: bids before asks, the best price
    first, then the oldest; -1 where there is none."""
    best = -1
    for i in range(match.places):
        place = places[i]
        if place.fill == 0:
            continue
        if best < 0 or place.side < places[best].side:
            best = i
        elif place.side == places[best].side:
            sign = 1 if place.side == BID else -1
            if sign * (place.price - places[best].price) > 0:
                best = i
    return best


@inlined
def forget_unclaimed(match, places):  # type: ignore[no-untyped-def]
    """The next event comes: what nobody asked for must not turn up there."""
    for i in range(match.places):
        match.unclaimed += places[i].fill
        places[i].fill = 0


# ── the market ────────────────────────────────────────────────────────────────────────────────


@compiled
def match_trade(rules, match, places, shown, ts_ns, ts_event, price, lots, aggressor):  # type: ignore[no-untyped-def]
    """Take a trade; returns whether it reached an order of ours."""
    side = BID if aggressor == SELL else ASK if aggressor == BUY else _hit_side(shown, price)
    rest, reached = lots, False
    if rules.fills_through:
        rest = _trade_through(rules, match, places, side, ts_ns, ts_event, price, lots)
        reached = rest < lots or not rules.shared
    for i in range(match.places):
        place = places[i]
        if place.side != side or place.price != price or place.beyond_depth:
            continue
        traded(rules, place, lots, lots - rest, ts_event)
        took = min(filled(place), _share(rules, match, place, ts_ns, lots))
        if took > 0:
            place.fill += took
            reached = True
            if rules.shared:
                rest -= took
    return reached


@inlined
def _trade_through(rules, match, places, side, ts_ns, ts_event, price, lots):  # type: ignore[no-untyped-def]
    """A trade beyond our prices fills the best of them first; returns what is left of it."""
    sign = 1 if side == BID else -1
    rest, last = lots, FOREVER
    while True:
        best = sign * price  # of prices not yet looked at, the best beyond the trade's
        for i in range(match.places):
            own = sign * places[i].price
            if places[i].side == side and best < own < last:
                best = own
        if best == sign * price:
            return rest
        last = best
        for i in range(match.places):
            place = places[i]
            if place.side != side or sign * place.price != best:
                continue
            if rules.books_first and ts_event <= place.seen_ns:
                continue  # printed late: it traded before our order came
            place.ahead = 0.0
            took = min(place.left - place.fill, rest, _share(rules, match, place, ts_ns, lots))
            if took > 0:
                match.filled_through += took
                place.fill += took
                if rules.shared:
                    rest -= took


@inlined
def begin_book(match, ts_ns, ts_event):  # type: ignore[no-untyped-def]
    """A book update comes; returns whether any order of ours rests."""
    match.last_ns = ts_ns
    match.event_ns = max(match.event_ns, ts_event)
    if match.places == 0:
        match.consumed = 0
        return False
    return True


@inlined
def move_queues(rules, match, places, consumed, rows, first, last, clear, shown, ts_event):  # type: ignore[no-untyped-def]
    """Rows `first` to `last` of an update change the queues before us; the book is `shown` AFTER it."""
    if clear:
        _vanish(rules, match, places, rows, first, last, shown, ts_event)
    for r in range(first, last):
        move_level(rules, match, places, consumed, rows, r, ts_event)
    for i in range(match.places):  # trades whose shrink does not come: new orders took the place of what they took
        place = places[i]
        if place.credit != 0.0 and (rules.snapshots or ts_event > place.credit_ns + _CREDIT_NS):
            place.credit = 0.0


@inlined
def move_level(rules, match, places, consumed, rows, r, ts_event):  # type: ignore[no-untyped-def]
    """One row of an update."""
    side, price, size = rows.side[r], rows.price[r], rows.size[r]
    if match.consumed:
        _spend(match, consumed, side, price, size)
    named = len(rows.stood) > 0
    for i in range(match.places):
        place = places[i]
        if place.price == price and place.side == side and not place.beyond_depth:
            changed(rules, place, size, ts_event, rows.stood[r] if named else 0, rows.joined[r] if named else -1)


@inlined
def _vanish(rules, match, places, rows, first, last, shown, ts_event):  # type: ignore[no-untyped-def]
    """The book was emptied: what does not come back and would be shown is gone."""
    for i in range(match.places):
        place = places[i]
        if place.beyond_depth or not is_shown(shown, place.side, place.price):
            continue
        comes_back = False
        for r in range(first, last):
            if rows.side[r] == place.side and rows.price[r] == place.price:
                comes_back = True
                break
        if not comes_back:
            changed(rules, place, 0, ts_event, 0, -1)


@inlined
def comes_into_view(place, shown):  # type: ignore[no-untyped-def]
    """Whether the book now shows the price of an order that stood beyond it: `join_level` then puts all before it."""
    return place.beyond_depth and is_shown(shown, place.side, place.price)


@inlined
def cross_book(rules, match, places, consumed, shown, ts_ns):  # type: ignore[no-untyped-def]
    """A book that stands through our price has used us up; one that stands at it hits us for what it shows.

    Returns whether it reached an order of ours.
    """
    highest_bid, lowest_ask = -FOREVER, FOREVER
    for i in range(match.places):
        if places[i].side == BID:
            highest_bid = max(highest_bid, places[i].price)
        else:
            lowest_ask = min(lowest_ask, places[i].price)
    reached = False
    if 0 < shown[BEST_ASK] <= highest_bid:
        reached |= _crossed(rules, match, places, consumed, BID, shown[BEST_ASK], shown[ASK_LOTS], ts_ns)
    if shown[BEST_BID] >= lowest_ask:
        reached |= _crossed(rules, match, places, consumed, ASK, shown[BEST_BID], shown[BID_LOTS], ts_ns)
    return reached


@inlined
def _crossed(rules, match, places, consumed, side, best, best_lots, ts_ns):  # type: ignore[no-untyped-def]
    """Fill what stands at or beyond the other side's best price, best first."""
    sign = 1 if side == BID else -1
    other = ASK if side == BID else BID
    last, reached = FOREVER, False
    while True:
        price = sign * best - 1
        for i in range(match.places):
            own = sign * places[i].price
            if places[i].side == side and price < own < last:
                price = own
        if price < sign * best:
            return reached
        last = price
        at_best = price == sign * best
        free = best_lots - _taken(match, consumed, other, best) if at_best else FOREVER
        for i in range(match.places):
            place = places[i]
            if place.side != side or sign * place.price != price:
                continue
            took = min(place.left - place.fill, free)
            if took > 0 and place.until_ns >= ts_ns:
                match.filled_crossed += took
                place.fill += took
                reached = True
                if at_best and rules.shared:
                    free -= took
                    _take(match, consumed, other, best, took)


@inlined
def _taken(match, consumed, side, price):  # type: ignore[no-untyped-def]
    """What we took of a level that still stands."""
    for k in range(match.consumed):
        if consumed[k].side == side and consumed[k].price == price:
            return consumed[k].lots
    return 0


@inlined
def _take(match, consumed, side, price, lots):  # type: ignore[no-untyped-def]
    for k in range(match.consumed):
        if consumed[k].side == side and consumed[k].price == price:
            consumed[k].lots += lots
            return
    level = consumed[match.consumed]
    level.side, level.price, level.lots = side, price, lots
    match.consumed += 1


@inlined
def _spend(match, consumed, side, price, size):  # type: ignore[no-untyped-def]
    """What we took of a standing level is no more than stands."""
    for k in range(match.consumed):
        if consumed[k].side == side and consumed[k].price == price:
            consumed[k].lots = min(consumed[k].lots, size)
            if consumed[k].lots == 0:
                match.consumed -= 1
                consumed[k] = consumed[match.consumed]
            return


@inlined
def _share(rules, match, place, ts_ns, lots):  # type: ignore[no-untyped-def]
    """Lots of a trade that fell into an order's life, at an even pace since the last book."""
    if not rules.snapshots or (place.from_ns <= match.last_ns and place.until_ns >= ts_ns):
        return lots
    alive = min(place.until_ns, ts_ns) - max(place.from_ns, match.last_ns)
    return int(np.rint(lots * max(alive, 0) / max(ts_ns - match.last_ns, 1)))


@inlined
def _hit_side(shown, price):  # type: ignore[no-untyped-def]
    """The side that a trade of unknown aggressor hit: the nearer one."""
    bid, ask = shown[BEST_BID], shown[BEST_ASK]
    if bid == 0 or ask == 0:
        return BID if ask == 0 else ASK
    return BID if 2 * price <= bid + ask else ASK
