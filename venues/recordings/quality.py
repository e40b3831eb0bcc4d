"""What a recorded day is worth: gaps, spread, rates, depth, trades; streaming, in one pass."""

from __future__ import annotations

import datetime as dt
from collections import Counter

import msgspec

from market.level_book import LevelBook
from market.sessions import SessionClock
from venues.recordings.catalog import Catalog, Day
from venues.recordings.moments import apply, moments

GAP_S = 5.0
_MAX_SERIES = 200_000


class Gap(msgspec.Struct, frozen=True):
    """A silence longer than `GAP_S` within the day."""

    start: str
    seconds: float


class Quality(msgspec.Struct, kw_only=True):
    """Measures of one day; spreads in ticks, sizes in lots, rates per second of covered time."""

    instrument: str
    date: str
    format: str
    first: str
    last: str
    span_s: float
    covered_s: float
    depth: int
    book_updates: int
    updates_per_s: float
    touch_changes: int
    trades: int
    traded_lots: int
    buy_share: float | None
    trades_outside_spread: int
    gaps: list[Gap]
    gap_s: float
    crossed: int
    one_sided: int
    spread_ticks_mean: float | None
    spread_ticks_shares: dict[str, float]
    touch_lots_mean: float | None
    levels_mean: float | None
    mid_range_ticks: float
    drops: dict[str, int]
    warnings: list[str]


class Series(msgspec.Struct):
    """Thinned columns for plots: time ns, mid and spread in ticks, trades as (time, price, lots, side)."""

    ts_ns: list[int]
    mid: list[float]
    spread: list[float]
    trades: list[tuple[int, int, int, int]]


class _Tally:
    """Sums over one day."""

    def __init__(self) -> None:
        self.updates = self.touch_changes = self.trades = self.lots = self.bought = self.sold = 0
        self.outside = self.crossed = self.one_sided = 0
        self.covered = self.spread_area = self.touch_area = self.levels_area = 0.0
        self.spreads: Counter[int] = Counter()
        self.gaps: list[tuple[int, int]] = []
        self.low, self.high = float("inf"), float("-inf")


def measure(catalog: Catalog, day: Day) -> tuple[Quality, Series]:
    """Read a day and measure it."""
    contract = catalog.contract(day)
    sessions = SessionClock(contract.sessions).closes(day.start_ns, day.end_ns)
    book, tally, series = LevelBook(), _Tally(), Series([], [], [], [])
    keep = max(1, day.book_updates // _MAX_SERIES)
    last_ts, touch = 0, (0, 0)
    for ts, _, changes, trade, _ in moments(catalog, day):
        if last_ts:
            _hold(tally, book, touch, (last_ts, ts), sessions)
        last_ts = ts
        if trade is not None:
            _count_trade(tally, touch, trade)
            if len(series.trades) < _MAX_SERIES:
                series.trades.append((ts, *trade))
            continue
        apply(book, changes)
        touch = _count_book(tally, book, touch)
        if tally.updates % keep == 0 and touch[0] and touch[1]:
            series.ts_ns.append(ts)
            series.mid.append(sum(touch) / 2)
            series.spread.append(touch[1] - touch[0])
    return _quality(day, tally), series


def _hold(
    tally: _Tally, book: LevelBook, touch: tuple[int, int], span: tuple[int, int], sessions: list[tuple[int, int]]
) -> None:
    """Weigh the state that stood between two events by its time; gaps and the exchange's breaks aside."""
    since, until = span
    if until - since > GAP_S * 1e9:
        if any(start <= since and until <= end for start, end in sessions):
            tally.gaps.append(span)
        return
    seconds = (until - since) / 1e9
    if touch[0] and touch[1] and touch[0] < touch[1]:
        tally.covered += seconds
        tally.spread_area += seconds * (touch[1] - touch[0])
        tally.touch_area += seconds * (book.bids[touch[0]] + book.asks[touch[1]]) / 2
        tally.levels_area += seconds * (len(book.bids) + len(book.asks)) / 2


def _count_trade(tally: _Tally, touch: tuple[int, int], trade: tuple[int, int, int]) -> None:
    price, lots, side = trade
    tally.trades += 1
    tally.lots += lots
    tally.bought += lots if side == 1 else 0
    tally.sold += lots if side == 2 else 0
    tally.outside += bool(touch[0] and touch[1]) and not touch[0] <= price <= touch[1]


def _count_book(tally: _Tally, book: LevelBook, before: tuple[int, int]) -> tuple[int, int]:
    touch = (book.best_bid() or 0, book.best_ask() or 0)
    tally.updates += 1
    tally.touch_changes += touch != before
    if not (touch[0] and touch[1]):
        tally.one_sided += 1
    elif touch[0] >= touch[1]:
        tally.crossed += 1
    else:
        tally.spreads[touch[1] - touch[0]] += 1
        mid = sum(touch) / 2
        tally.low, tally.high = min(tally.low, mid), max(tally.high, mid)
    return touch


def _quality(day: Day, t: _Tally) -> Quality:
    total = sum(t.spreads.values())
    shares = {str(k): round(n / total, 4) for k, n in sorted(t.spreads.items())[:8]} if total else {}
    sided = t.bought + t.sold
    gaps = [Gap(_iso(start), round((end - start) / 1e9, 3)) for start, end in t.gaps]
    return Quality(
        instrument=day.instrument,
        date=str(day.date),
        format=day.format,
        first=_iso(day.start_ns),
        last=_iso(day.end_ns),
        span_s=round((day.end_ns - day.start_ns) / 1e9, 3),
        covered_s=round(t.covered, 3),
        depth=day.depth,
        book_updates=t.updates,
        updates_per_s=round(t.updates / t.covered, 3) if t.covered else 0.0,
        touch_changes=t.touch_changes,
        trades=t.trades,
        traded_lots=t.lots,
        buy_share=round(t.bought / sided, 4) if sided else None,
        trades_outside_spread=t.outside,
        gaps=gaps,
        gap_s=round(sum(gap.seconds for gap in gaps), 3),
        crossed=t.crossed,
        one_sided=t.one_sided,
        spread_ticks_mean=round(t.spread_area / t.covered, 4) if t.covered else None,
        spread_ticks_shares=shares,
        touch_lots_mean=round(t.touch_area / t.covered, 2) if t.covered else None,
        levels_mean=round(t.levels_area / t.covered, 1) if t.covered and not day.depth else day.depth or None,
        mid_range_ticks=round(t.high - t.low, 1) if total else 0.0,
        drops=day.drops,
        warnings=_warnings(day, t),
    )


def _warnings(day: Day, t: _Tally) -> list[str]:
    """What a user has to know before trusting a backtest on this day, however good the recording is."""
    found = list(day.notes)
    if day.depth == 1:
        found.append("level 1 only: an order away from the touch has no known queue; its fills look too good")
    if not t.trades:
        found.append("no trades: resting orders fill only when the book crosses them")
    if moved := day.drops.get("spread_over_second", 0):
        found.append(f"time stamps are whole seconds: {moved:,} rows were spread evenly within theirs")
    return found


def _iso(ts_ns: int) -> str:
    return dt.datetime.fromtimestamp(ts_ns / 1e9, dt.UTC).isoformat(timespec="milliseconds")
