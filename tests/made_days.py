"""Recorded days of markets that a seed makes up, with all that real ones hold: one-sided and crossed books, books sent
anew, gaps, trades at, through and away from the touch, orders by name, moments that fall together."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from market.contracts import ContractTable
from market.events import ASK, BID, BookUpdate, Event, Level, OrderUpdate, Trade
from venues.recordings.catalog import Catalog, Day
from venues.recordings.importer import import_events

MS = 10**6


class Kind(NamedTuple):
    """What is recorded of which instrument, and from when (UTC)."""

    instrument: str
    format: str
    depth: int
    start: dt.datetime
    steps_ms: tuple[float, ...]
    """Between two events, drawn from these."""
    mid: int = 10_000


_SOON = (0.0, 0.5, 1.0, 10.0, 100.0, 100.0, 500.0, 900.0)
KINDS = {
    "ctp": Kind(
        "IF2101.CFFEX", "ctp", 1, dt.datetime(2021, 1, 11, 3, 28), (500.0,) * 60 + (0.0, 1_000.0, 7_000.0, 5_400_000.0)
    ),
    "night": Kind(
        "rb2405.SHFE", "ctp", 5, dt.datetime(2024, 1, 10, 14, 58), (500.0,) * 60 + (250.0, 6_000.0, 36_030_000.0), 4_000
    ),
    "levels": Kind("BTCUSDT-PERP.BINANCE", "binance", 0, dt.datetime(2024, 7, 18, 9), (*_SOON, 5_500.0), 600_000),
    "inverse": Kind("XBTUSD.BITMEX", "", 0, dt.datetime(2024, 7, 18, 9), _SOON, 120_000),
    "orders": Kind("QR.SIM", "", 0, dt.datetime(2024, 7, 18, 9), _SOON),
    "spread": Kind("QR.SIM", "", 0, dt.datetime(2024, 7, 18, 9), _SOON, 0),
    "shown": Kind("QR.SIM", "", 3, dt.datetime(2024, 7, 18, 9), _SOON),
}


def made_day(folder: Path, kind: str, seed: int, count: int = 400) -> tuple[Catalog, Day]:
    """The day that a seed makes up of a kind, about so many events of it, in a catalog of its own."""
    of, rng = KINDS[kind], np.random.default_rng(seed)
    catalog = Catalog(folder, ContractTable())
    events = _orders(of, rng, count) if kind == "orders" else _levels(of, rng, count)
    made = import_events(catalog, events, "made", of.format, [], Counter(), lambda *_: None)
    return catalog, made.days[0]


class _Clock:
    """Arrival times of a kind, and the exchange's, which lag or lead them."""

    def __init__(self, kind: Kind, rng: np.random.Generator) -> None:
        self._now = int(kind.start.replace(tzinfo=dt.UTC).timestamp()) * 10**9
        self._steps, self._rng = [int(ms * MS) for ms in kind.steps_ms], rng

    def next(self) -> tuple[int, int]:
        self._now += int(self._rng.choice(self._steps))
        return self._now - int(self._rng.choice((0, 0, 3 * MS, 40 * MS, 900 * MS))), self._now


def _levels(kind: Kind, rng: np.random.Generator, count: int) -> Iterator[Event]:
    """Books by level; feeds of a fixed depth send what they show each time, others what changed."""
    clock, name, mid = _Clock(kind, rng), kind.instrument, kind.mid
    for n in range(count):
        event_ns, now = clock.next()
        what = rng.random()
        mid += int(rng.choice((0, 0, 0, 0, 1, -1, 4, -4, 15, -15)))
        if what < 0.3 and n:
            for _ in range(int(rng.integers(1, 4))):
                price = mid + int(rng.choice((0, 1, -1, 2, -2, 5, -5)))
                yield Trade(name, event_ns, now, price, int(rng.geometric(0.2)), int(rng.integers(0, 3)))
            continue
        whole = n == 0 or kind.depth > 0 or what > 0.9
        bids, asks = _side(rng, BID, mid, kind.depth), _side(rng, ASK, mid, kind.depth)
        if what > 0.97:
            bids = [] if rng.random() < 0.5 else bids
            asks = [] if bids and rng.random() < 0.5 else asks
        elif what > 0.94 and kind.depth == 0:
            bids = [(BID, price + 6, lots) for _, price, lots in bids]
        levels = [*bids, *asks]
        if not whole:
            gone = [(side, price, 0) for side, price, _ in (*_beyond(BID, mid), *_beyond(ASK, mid))]
            levels = [level for level in levels if rng.random() < 0.6] + [
                level for level in gone if rng.random() < 0.995
            ]
        if levels or whole:
            yield BookUpdate(name, event_ns, now, levels, snapshot=whole, depth=kind.depth)


def _side(rng: np.random.Generator, side: int, mid: int, depth: int) -> list[Level]:
    sign, first = (-1 if side == BID else 1), int(rng.integers(0, 3))
    places = depth or int(rng.integers(1, 7))
    return [(side, mid + sign * (first + i + 1), int(rng.geometric(0.15))) for i in range(places)]


def _beyond(side: int, mid: int) -> list[Level]:
    """The other side's places: what stands there is gone when the market has moved through it."""
    sign = 1 if side == BID else -1
    return [(side, mid + sign * i, 0) for i in range(20)]


def _orders(kind: Kind, rng: np.random.Generator, count: int) -> Iterator[Event]:
    """Single orders come, shrink, grow and go; some trade."""
    clock, name, mid = _Clock(kind, rng), kind.instrument, kind.mid
    live: dict[int, Level] = {}
    for n in range(count):
        event_ns, now = clock.next()
        mid += int(rng.choice((0, 0, 0, 0, 0, 1, -1)))
        through = [
            number for number, (side, price, _) in live.items() if (price - mid) * (1 if side == BID else -1) > 0
        ]
        picked = int(rng.choice(list(live))) if live else 0
        what = rng.random()
        if through:
            for place, number in enumerate(through):
                side, price, lots = live.pop(number)
                if rng.random() < 0.7:
                    yield Trade(name, event_ns, now, price, lots, 3 - side)
                yield OrderUpdate(name, event_ns, now, number, side, price, 0, last=place == len(through) - 1)
        elif what < 0.5 or len(live) < 8:
            side = BID if rng.random() < 0.5 else ASK
            price = mid + (-1 if side == BID else 1) * int(rng.integers(1, 6))
            live[n + 1] = (side, price, int(rng.geometric(0.3)))
            yield OrderUpdate(name, event_ns, now, n + 1, *live[n + 1])
        elif what < 0.98:
            side, price, lots = live.pop(picked)
            left = int(rng.choice((0, 0, max(lots - 1, 0), lots + 2)))
            if left:
                live[picked] = (side, price, left)
            if left < lots and rng.random() < 0.4:
                yield Trade(name, event_ns, now, price, lots - left, 3 - side)
            yield OrderUpdate(name, event_ns, now, picked, side, price, left)
        else:
            kept = list(live.items())[: int(rng.integers(0, 8))]
            live = dict(kept)
            yield OrderUpdate(name, event_ns, now, 0, BID, mid - 9, 0, last=not kept, reset=True)
            for place, (number, level) in enumerate(kept):
                yield OrderUpdate(name, event_ns, now, number, *level, last=place == len(kept) - 1)
