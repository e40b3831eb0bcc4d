"""The exchange's side of the fast lane: commands that arrive, the market's events, and the fills that come of them."""

from __future__ import annotations

import math

from engine.backtest.lane.state import AMEND, CANCEL, PLACE, apply_book, lots_at
from market.columns import TRADE
from market.compiled import compiled, inlined
from market.ledger import on_fill
from strategies import order_table
from strategies.guard_rules import budget_spend, fill_pauses
from strategies.order_table import State
from venues.simulation.fees import charge
from venues.simulation.latency import arrival_ns, see_book
from venues.simulation.matching import (
    begin_book,
    claim_place,
    comes_into_view,
    cross_book,
    find_place,
    join_level,
    match_trade,
    move_queues,
    next_filled,
    place_order,
    remove_place,
    resize_place,
)
from venues.simulation.recorded_book import is_shown, would_take

_RESTING, _CANCELLING = int(State.RESTING), int(State.CANCELLING)


@inlined
def send(lane, exchange, at_ns, kind, key, side, price, lots):  # type: ignore[no-untyped-def]
    """A command sets out."""
    command = exchange.commands[lane.tail & (len(exchange.commands) - 1)]
    command.at_ns, command.kind, command.key = at_ns, kind, key
    command.side, command.price, command.lots = side, price, lots
    lane.tail += 1


@inlined
def next_arrival(lane, exchange):  # type: ignore[no-untyped-def]
    """When the oldest command on its way arrives; later than anything where there is none."""
    if lane.head == lane.tail:
        return 1 << 62
    return exchange.commands[lane.head & (len(exchange.commands) - 1)].at_ns


@compiled
def arrive(lane, exchange, maker, record, shown, rows):  # type: ignore[no-untyped-def]
    """The oldest command arrives at the book `shown`, after `rows` rows of the recording; the maker hears of it."""
    command = exchange.commands[lane.head & (len(exchange.commands) - 1)]
    lane.head += 1
    key, now = command.key, command.at_ns
    row = order_table.find(maker.orders, maker.totals, key)
    if command.kind == PLACE:
        if would_take(shown, command.side, command.price):
            record.counts.rejected += 1
            order_table.gone(maker.orders, maker.totals, key)
            return
        order_table.accepted(maker.orders, maker.totals, key)
        i = place_order(exchange.match, exchange.places, key, command.side, command.price, maker.orders[row].left, now)
        if is_shown(shown, command.side, command.price):
            join_level(exchange.places[i], lots_at(lane, exchange, command.side, command.price), rows)
    elif row < 0:
        record.counts.too_late += 1
    elif command.kind == AMEND and maker.orders[row].filled < command.lots:
        amend(exchange, maker, record, shown, row, command.lots)
    else:
        cancel(lane, exchange, maker, key, now)


@inlined
def amend(exchange, maker, record, shown, row, lots):  # type: ignore[no-untyped-def]
    """An amendment to `lots` altogether; Nautilus refuses it while the other side of the book stands at its price."""
    order, left = maker.orders[row], lots - maker.orders[row].filled
    key, refused = order.key, would_take(shown, order.side, order.price)
    order_table.resized(maker.orders, maker.totals, key, order.left if refused else left)
    if refused:
        record.counts.amend_refused += 1
    else:
        resize_place(exchange.match, exchange.places, find_place(exchange.match, exchange.places, key), left)


@inlined
def cancel(lane, exchange, maker, key, now):  # type: ignore[no-untyped-def]
    """A cancel takes effect, on a feed of snapshots with the end of its interval."""
    i = find_place(exchange.match, exchange.places, key)
    if lane.holds_cancels:
        if i >= 0:
            exchange.places[i].until_ns = now
        exchange.held[lane.held] = key
        lane.held += 1
        return
    remove_place(exchange.match, exchange.places, i)
    order_table.gone(maker.orders, maker.totals, key)


@inlined
def end_interval(lane, exchange, maker):  # type: ignore[no-untyped-def]
    """The cancels of the interval that the last book ended take effect."""
    for h in range(lane.due):
        key = exchange.held[h]
        i = find_place(exchange.match, exchange.places, key)
        if i >= 0:
            remove_place(exchange.match, exchange.places, i)
            order_table.gone(maker.orders, maker.totals, key)
    lane.held -= lane.due
    for h in range(lane.held):
        exchange.held[h] = exchange.held[h + lane.due]
    lane.due = 0


@inlined
def match_event(lane, exchange, events, e):  # type: ignore[no-untyped-def]
    """The market moves by event `e`; returns whether it reached an order of ours."""
    match, places = exchange.match, exchange.places
    first, last, shown = events.first[e], events.first[e + 1], events.shown[e]
    ts_ns, ts_event = events.ts[e], events.ts_event[e]
    if events.kind[e] == TRADE:
        if match.places == 0:
            return False
        price, lots, aggressor = events.price[first], events.size[first], events.side[first]
        return match_trade(exchange.rules, match, places, shown, ts_ns, ts_event, price, lots, aggressor)
    if exchange.path.recorded:
        see_book(exchange.path, ts_ns, ts_event)
    apply_book(lane, exchange, events, first, last, events.clear[e])
    if not begin_book(match, ts_ns, ts_event):
        return False
    move_queues(exchange.rules, match, places, exchange.consumed, events, first, last, events.clear[e], shown, ts_event)
    for i in range(match.places):
        if comes_into_view(places[i], shown):
            join_level(places[i], lots_at(lane, exchange, places[i].side, places[i].price), last)
    return cross_book(exchange.rules, match, places, exchange.consumed, shown, ts_ns)


@inlined
def hand_out(lane, exchange, maker, record, ts_ns):  # type: ignore[no-untyped-def]
    """All that an event gave our orders becomes fills, in the order in which an exchange works them off."""
    while True:
        i = next_filled(exchange.match, exchange.places)
        if i < 0:
            return
        key, price = exchange.places[i].key, exchange.places[i].price
        lots = claim_place(exchange.match, exchange.places, i)
        if lots:
            _fill(lane, exchange, maker, record, ts_ns, key, price, lots)


@inlined
def _fill(lane, exchange, maker, record, ts_ns, key, price, lots):  # type: ignore[no-untyped-def]
    side, beyond_depth = order_table.filled(maker.orders, maker.totals, key, lots)
    commission = round_to_cent(charge(exchange.fees, side, float(price), lots, True), lane.cent)
    on_fill(maker.ledger, side, price, lots, commission)
    record.counts.fills += 1
    fill = record.fills[lane.fills]
    fill.ts_ns, fill.side, fill.price, fill.lots = ts_ns, side, price, lots
    fill.beyond_depth, fill.commission = beyond_depth, commission
    lane.fills += 1
    if fill_pauses(maker.fill_guard, maker.sides, maker.recent, side, ts_ns):
        record.counts.paused_side += 1
        cancel_side(lane, exchange, maker, record, side, ts_ns)


@inlined
def round_to_cent(amount, cent):  # type: ignore[no-untyped-def]
    """An amount of money as an account keeps it: to the currency's smallest unit, halves away from zero."""
    whole = math.floor(abs(amount * cent))
    rest = abs(amount * cent) - whole
    return math.copysign((whole + 1.0 if rest >= 0.5 else whole) / cent, amount)


@compiled
def cancel_side(lane, exchange, maker, record, side, now_ns):  # type: ignore[no-untyped-def]
    """Cancel a side's orders (0: all) that are not being changed or cancelled; returns how many."""
    arrives, sent = 0, 0
    for row in range(maker.totals.rows):
        order = maker.orders[row]
        if order.state > _RESTING or (side and order.side != side):
            continue
        if sent == 0:
            arrives = arrival_ns(exchange.path, exchange.delays, now_ns)
        order.state, order.since_ns = _CANCELLING, now_ns
        take_action(lane, record, now_ns, CANCEL, order.side, order.price, 0)
        send(lane, exchange, arrives, CANCEL, order.key, order.side, order.price, 0)
        sent += 1
    if sent:
        budget_spend(maker.budget, sent)
    return sent


@inlined
def take_action(lane, record, ts_ns, kind, side, price, size):  # type: ignore[no-untyped-def]
    """Count an action and, where that is asked for, write it down."""
    record.counts.actions[kind] += 1
    if kind == PLACE:
        record.counts.placed_lots += size
    if lane.logs_actions:
        taken = record.actions[lane.actions]
        taken.ts_ns, taken.kind, taken.side, taken.price, taken.size = ts_ns, kind, side, price, size
    lane.actions += 1
