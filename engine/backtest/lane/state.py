"""The state of the fast lane in a few named groups: the exchange, the maker, what is written down."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from market.compiled import inlined, record_of
from strategies.admission import Limit
from strategies.guard_rules import Fault, with_room
from strategies.ladder import MAX_LEVELS
from strategies.own_quoter import Entry
from strategies.trading_state import REASON_NAMES
from venues.simulation.latency import Delays

PLACE, AMEND, CANCEL = range(3)
"""What a command asks for: the numbers of `strategies.values.Kind`."""

DONE, NO_PRICES, NEEDS_ROOM = range(3)
"""Why the loop came back: the day is over; a quoter gave no prices; a table is full."""

COMMAND = np.dtype([(name, np.int64) for name in ("at_ns", "kind", "key", "side", "price", "lots")])
"""A command on its way: when it arrives; of an amendment `lots` are all that the order is to have had."""

FILL = np.dtype(
    [
        ("ts_ns", np.int64),
        ("side", np.int64),
        ("price", np.int64),
        ("lots", np.int64),
        ("beyond_depth", np.bool_),
        ("commission", np.float64),
    ],
    align=True,
)

UPDATE = np.dtype([("book", np.int32), ("own_bid", np.int32), ("own_ask", np.int32)])
"""An update that the maker saw: which book update of the day it was, and how far its own best quotes stood behind the
market's (ticks); NO_QUOTE for none, NO_LADDER where nothing might be quoted."""

NO_QUOTE, NO_LADDER = -(1 << 31), -(1 << 31) + 1

ACTION_TAKEN = np.dtype([(name, np.int64) for name in ("ts_ns", "kind", "side", "price", "size")])

LANE = np.dtype(
    [
        ("event", np.int64),  # next to be taken
        ("book", np.int64),  # book updates so far
        ("check_ns", np.int64),  # next look at staleness, sessions and money
        ("checks_every_ns", np.int64),
        ("generation", np.int64),  # of the book's levels: those of an older one are gone
        ("low", np.int64),  # lowest price whose lots are kept
        ("head", np.int64),  # oldest command on its way
        ("tail", np.int64),  # behind the newest
        ("held", np.int64),  # cancels that wait for the end of their interval
        ("due", np.int64),  # of them, those whose interval has ended
        ("holds_cancels", np.bool_),
        ("asking", np.bool_),  # a quoter that gave no prices is asked again
        ("last_trade", np.int64),
        ("halted", np.int64),  # why trading is over, 0 while it is not
        ("problem", np.int64),  # what the guard holds against the market data
        ("state", np.int64),  # of the book
        ("has_model", np.bool_),
        ("cent", np.float64),  # commissions are rounded to 1 / cent of the currency
        ("fills", np.int64),
        ("updates", np.int64),
        ("actions", np.int64),
        ("logs_actions", np.bool_),
        ("bid", np.int64),  # of the last sound book
        ("ask", np.int64),
    ],
    align=True,
)
"""Scalars of a run."""

COUNTS = np.dtype(
    [
        *((name, np.int64) for name in ("book_updates", "trades", "fills", "rejected", "too_late", "paused_side")),
        ("amend_refused", np.int64),
        *((name, np.int64) for name in ("range_checks", "out_of_range", "limit_bound", "placed_lots")),
        ("actions", np.int64, (3,)),
        ("pulled", np.int64, (len(REASON_NAMES),)),
        ("data", np.int64, (len(REASON_NAMES),)),
        ("halted", np.int64, (len(REASON_NAMES),)),
        ("model", np.int64, (len(Fault),)),
        ("refusals", np.int64, (len(Limit),)),
    ]
)
"""What is counted, under the names that the maker's and the exchange's counts have."""


class Exchange(NamedTuple):
    """The simulated exchange: queue rules, our orders there, what it shows near the touch, commands on their way."""

    rules: Any
    match: Any
    places: NDArray[Any]
    consumed: NDArray[Any]
    fees: Any
    path: Any
    delays: Delays
    commands: NDArray[Any]
    """A ring whose length is a power of two."""
    held: NDArray[np.int64]
    lots: NDArray[np.int64]
    """(2, prices) lots at each price from `lane.low` on, bids and asks."""
    generations: NDArray[np.int64]
    """(2, prices) when each was last written."""


class Maker(NamedTuple):
    """The maker: settings, orders, guards, ledger, and the scratch of a decision."""

    settings: Any
    quoter: Any
    own: Entry
    """The function of a quoter that is not ours, where `quoter` says that there is one."""
    situation: Any
    plan: Any
    orders: NDArray[Any]
    totals: Any
    touchable: NDArray[Any]
    standing: NDArray[Any]
    keys: NDArray[np.int64]
    actions: NDArray[Any]
    verdict: NDArray[np.int64]
    ledger: Any
    data_guard: Any
    lags: NDArray[Any]
    model_guard: Any
    money_guard: Any
    fill_guard: Any
    sides: NDArray[Any]
    recent: NDArray[np.int64]
    budget: Any
    opens: NDArray[np.int64]
    stops: NDArray[np.int64]


class Record(NamedTuple):
    """What is written down."""

    fills: NDArray[Any]
    updates: NDArray[Any]
    actions: NDArray[Any]
    counts: Any


@inlined
def lots_at(lane, exchange, side, price):  # type: ignore[no-untyped-def]
    """Lots of others at a price, 0 beyond the prices that are kept: none of our orders may rest there."""
    i = price - lane.low
    if i < 0 or i >= exchange.lots.shape[1] or exchange.generations[side - 1, i] != lane.generation:
        return 0
    return exchange.lots[side - 1, i]


@inlined
def apply_book(lane, exchange, events, first, last, clear):  # type: ignore[no-untyped-def]
    """Keep the levels that an update's rows `first` to `last` set."""
    if clear:
        lane.generation += 1
    lots, generations, low = exchange.lots, exchange.generations, lane.low
    for r in range(first, last):
        i = events.price[r] - low
        if 0 <= i < lots.shape[1]:
            lots[events.side[r] - 1, i] = events.size[r]
            generations[events.side[r] - 1, i] = lane.generation


@inlined
def has_room(lane, exchange, maker, record):  # type: ignore[no-untyped-def]
    """Whether whatever the next event may bring fits into all tables."""
    rows = maker.totals.rows + 2 * MAX_LEVELS
    ours = rows <= len(maker.orders) and rows <= len(maker.touchable) and rows <= len(exchange.places)
    taken = exchange.match.consumed + rows <= len(exchange.consumed) and lane.held + rows <= len(exchange.held)
    sent = lane.tail - lane.head + 4 * rows <= len(exchange.commands)
    drawn = len(exchange.delays.draws) == 0 or exchange.path.drawn + rows <= len(exchange.delays.draws)
    lags = not maker.data_guard.measures_lag or maker.data_guard.lags.end < len(maker.lags)
    written = not lane.logs_actions or lane.actions + 4 * rows <= len(record.actions)
    return ours and taken and sent and drawn and lags and written and lane.fills + rows <= len(record.fills)


def make_room(exchange: Exchange, maker: Maker, record: Record, lane: Any) -> tuple[Exchange, Maker, Record]:
    """The same state, in tables that `has_room` finds long enough; draws of latency are its caller's."""
    rows = int(maker.totals["rows"]) + 2 * MAX_LEVELS
    exchange = exchange._replace(
        commands=_longer_ring(exchange.commands, 4 * rows, lane),
        places=_longer(exchange.places, rows),
        consumed=_longer(exchange.consumed, int(exchange.match["consumed"]) + rows),
        held=_longer(exchange.held, int(lane["held"]) + rows),
    )
    guard, orders = maker.data_guard, _longer(maker.orders, rows)
    maker = maker._replace(
        orders=orders,
        touchable=_longer(maker.touchable, len(orders)),
        standing=_longer(maker.standing, len(orders)),
        keys=_longer(maker.keys, len(orders)),
        actions=_longer(maker.actions, len(orders) + 2 * MAX_LEVELS),
        verdict=_longer(maker.verdict, len(orders)),
        lags=with_room(guard["lags"], maker.lags) if guard["measures_lag"] else maker.lags,
    )
    fills = _longer(record.fills, int(lane["fills"]) + rows)
    actions = _longer(record.actions, int(lane["actions"]) + 4 * rows) if lane["logs_actions"] else record.actions
    return exchange, maker, record._replace(fills=fills, actions=actions)


def _longer(table: NDArray[Any], rows: int) -> NDArray[Any]:
    """A table of `rows` or more: this one, or the same rows in one of at least twice the length."""
    if rows <= len(table):
        return table
    longer = np.zeros(max(2 * len(table), rows), table.dtype)
    longer[: len(table)] = table
    return longer


def _longer_ring(commands: NDArray[Any], more: int, lane: Any) -> NDArray[Any]:
    """A ring with room for so many more commands: this one, or a longer one with those under way at its front."""
    waiting = np.arange(int(lane["head"]), int(lane["tail"])) % len(commands)
    length = len(commands)
    while length < len(waiting) + more:
        length *= 2
    if length == len(commands):
        return commands
    ring = np.zeros(length, COMMAND)
    ring[: len(waiting)] = commands[waiting]
    lane["head"], lane["tail"] = 0, len(waiting)
    return ring


def new_record(books: int, *, logs_actions: bool) -> Record:
    """Empty tables for a day of so many book updates."""
    return Record(
        np.zeros(1024, FILL),
        np.zeros(books, UPDATE),
        np.zeros(4096 if logs_actions else 1, ACTION_TAKEN),
        record_of(COUNTS),
    )
