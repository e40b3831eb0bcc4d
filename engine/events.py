"""`cmm events`: a recording as it was understood, event by event."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import click
import msgspec

from engine import select
from engine.commands import open_catalog
from engine.config import Config
from venues.book import LevelBook
from venues.catalog import Catalog, Day
from venues.contracts import Contract
from venues.events import ASK, BID, BUY, SELL
from venues.moments import Print, apply, moments

_LEVELS = 5
_AGGRESSORS = {BUY: "buy", SELL: "sell"}


def show_events(config: Config, instrument: str, dates: str | None, last: int | None, as_json: bool) -> None:
    """Print the events of an instrument's days, or the last so many of them, one a line."""
    catalog = open_catalog(config)
    shown: Iterator[dict[str, Any]] = (
        event for day in select.days(catalog, instrument, dates) for event in events(catalog, day)
    )
    for event in shown if last is None else iter(deque(shown, last)):
        click.echo(msgspec.json.encode(event) if as_json else _line(event))


def events(catalog: Catalog, day: Day) -> Iterator[dict[str, Any]]:
    """Yield a day's events in order of arrival, prices and sizes in the contract's own units.

    A trade has price, lots and aggressor (buy, sell or none), a book what is shown of its best five levels a
    side after the update.
    """
    contract, book = catalog.contract(day), LevelBook()
    levels = min(_LEVELS, day.depth or _LEVELS)
    for ts, ts_event, changes, trade in moments(catalog, day):
        stamp = {"ts": ts, "ts_event": ts_event}
        if trade is not None:
            yield stamp | {"kind": "trade", **_trade(contract, trade)}
            continue
        apply(book, changes)
        sides = {
            name: [[_price(contract, price), _size(contract, size)] for price, size in book.top(side, levels)]
            for name, side in (("bids", BID), ("asks", ASK))
        }
        yield stamp | {"kind": "book", **sides}


def _trade(contract: Contract, trade: Print) -> dict[str, Any]:
    return {
        "price": _price(contract, trade.price),
        "lots": trade.lots,
        "aggressor": _AGGRESSORS.get(trade.side, "none"),
    }


def _price(contract: Contract, ticks: int) -> float:
    return float(ticks * contract.terms.tick)


def _size(contract: Contract, lots: int) -> float:
    return float(lots * contract.terms.lot)


def _line(event: dict[str, Any]) -> str:
    if event["kind"] == "trade":
        return f"{event['ts']} trade {event['lots']} @ {event['price']:g} {event['aggressor']}"
    bids, asks = (" ".join(f"{price:.12g}:{size:.12g}" for price, size in event[side]) for side in ("bids", "asks"))
    return f"{event['ts']} book {bids or '–'} | {asks or '–'}"
