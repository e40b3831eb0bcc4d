"""A recording as it was understood, event by event."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Literal

import msgspec

from engine.config import Config
from engine.recordings.catalog import open_catalog, select_days
from market.contracts import Contract
from market.events import ASK, BID, BUY, NO_AGGRESSOR, SELL
from market.level_book import LevelBook
from venues.recordings.catalog import Catalog, Day
from venues.recordings.moments import apply, moments

_LEVELS = 5
type Aggressor = Literal["buy", "sell", "none"]

_AGGRESSORS: dict[int, Aggressor] = {BUY: "buy", SELL: "sell", NO_AGGRESSOR: "none"}

type Levels = list[tuple[float, float]]
"""(price, size) in the contract's own units, best first."""


class TradeShown(msgspec.Struct, frozen=True):
    """A trade; arrival and exchange time in ns, price in the contract's own units."""

    ts: int
    ts_event: int
    price: float
    lots: int
    aggressor: Aggressor
    kind: Literal["trade"] = "trade"


class BookShown(msgspec.Struct, frozen=True):
    """What is shown of the best five levels a side after an update; times in ns."""

    ts: int
    ts_event: int
    bids: Levels
    asks: Levels
    kind: Literal["book"] = "book"


def show_events(
    config: Config, instrument: str, dates: str | None = None, last: int | None = None
) -> Iterator[TradeShown | BookShown]:
    """Yield the events of an instrument's days in order of arrival, or the last so many of them."""
    catalog = open_catalog(config)
    shown = (event for day in select_days(catalog, instrument, dates) for event in events(catalog, day))
    yield from shown if last is None else deque(shown, last)


def events(catalog: Catalog, day: Day) -> Iterator[TradeShown | BookShown]:
    """Yield a day's events in order of arrival."""
    contract, book = catalog.contract(day), LevelBook()
    levels = min(_LEVELS, day.depth or _LEVELS)
    for ts, ts_event, changes, trade, _ in moments(catalog, day):
        if trade is not None:
            aggressor = _AGGRESSORS[trade.side]
            yield TradeShown(ts, ts_event, _price(contract, trade.price), trade.lots, aggressor)
            continue
        apply(book, changes)
        bids, asks = (
            [(_price(contract, price), _size(contract, size)) for price, size in book.top(side, levels)]
            for side in (BID, ASK)
        )
        yield BookShown(ts, ts_event, bids, asks)


def _price(contract: Contract, ticks: int) -> float:
    return float(ticks * contract.terms.tick)


def _size(contract: Contract, lots: int) -> float:
    return float(lots * contract.terms.lot)
