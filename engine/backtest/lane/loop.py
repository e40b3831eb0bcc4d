"""The fast lane's loop: events, commands and looks by time in order, as Nautilus' engine would run them."""

from __future__ import annotations

from engine.backtest.lane.at_exchange import arrive, end_interval, hand_out, match_event, next_arrival
from engine.backtest.lane.at_maker import finish_decision, look_by_time, on_book
from engine.backtest.lane.state import DONE, NEEDS_ROOM, NO_PRICES, has_room
from market.columns import TRADE
from market.compiled import compiled, inlined


@compiled
def run(lane, exchange, maker, record, events, path, until):  # type: ignore[no-untyped-def]
    """Go on with a day up to event `until`; returns DONE, or what has to be done before it can go on.

    Parameters
    ----------
    lane : LANE record
    exchange, maker, record : Exchange, Maker, Record
    events : Columns
    path : MarketPath
    until : int

    """
    if lane.asking:
        lane.asking = False
        finish_decision(lane, exchange, maker, record, events, lane.event - 1, lane.book - 1)
    while lane.event < until:
        if not has_room(lane, exchange, maker, record):
            return NEEDS_ROOM
        e = lane.event
        if lane.due:
            end_interval(lane, exchange, maker)
        _pass_time(lane, exchange, maker, record, events, path, e, events.ts[e])
        if match_event(lane, exchange, events, e):
            hand_out(lane, exchange, maker, record, events.ts[e])
        lane.event = e + 1
        if events.kind[e] == TRADE:
            record.counts.trades += 1
            lane.last_trade = events.price[events.first[e]]
            continue
        lane.due = lane.held
        b = lane.book
        lane.book = b + 1
        if on_book(lane, exchange, maker, record, events, path, e, b):
            lane.asking = True
            return NO_PRICES
    if lane.event == len(events.kind):
        if not has_room(lane, exchange, maker, record):
            return NEEDS_ROOM
        _pass_time(lane, exchange, maker, record, events, path, lane.event, events.ts[lane.event - 1] + 1)
    return DONE


@inlined
def _pass_time(lane, exchange, maker, record, events, path, e, until_ns):  # type: ignore[no-untyped-def]
    """What is due before `until_ns`, with events before `e` taken: commands that arrive, and the maker's look at each
    second. What falls on an event's very time comes after it, as in Nautilus; of one moment the look comes first."""
    shown = events.shown[max(e - 1, 0)]
    while True:
        arrives = next_arrival(lane, exchange)
        if min(arrives, lane.check_ns) >= until_ns:
            return
        if lane.check_ns <= arrives:
            look_by_time(lane, exchange, maker, record, path, lane.check_ns)
            lane.check_ns += lane.checks_every_ns
        else:
            arrive(lane, exchange, maker, record, shown, events.first[e])
