"""What a recorded day is worth: gaps, spread, rates, depth, trades."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from market.columns import ASK_LOTS, BEST_ASK, BEST_BID, BID_LOTS, BOOK, TRADE, Columns, release_events
from market.events import BUY, SELL
from market.sessions import SessionClock
from venues.recordings.catalog import Catalog, Day
from venues.recordings.column_kernels import count_levels, new_levels

GAP_S = 5.0
_MAX_SERIES = 200_000
_AT_ONCE = 1 << 18  # events in memory beyond the columns themselves


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


class Tally(NamedTuple):
    """Counts of one day, and what stood between events weighed by its seconds."""

    updates: int
    touch_changes: int
    trades: int
    lots: int
    bought: int
    sold: int
    outside: int
    crossed: int
    one_sided: int
    covered: float
    spread_area: float
    touch_area: float
    levels_area: float
    spreads: dict[int, int]
    gaps: list[tuple[int, int]]
    mid_range: float


def measure(catalog: Catalog, day: Day) -> tuple[Quality, Series]:
    """Measure a day, by its columns."""
    told = catalog.columns(day)
    closes = SessionClock(catalog.contract(day).sessions).closes(day.start_ns, day.end_ns)
    return quality(day, _tally(told, closes, not day.depth)), _series(told, max(1, day.book_updates // _MAX_SERIES))


def _tally(c: Columns, closes: list[tuple[int, int]], whole: bool) -> Tally:
    """Count and sum, block by block; levels a side only of a `whole` book."""
    counts, sums, spreads = Counter[str](), dict.fromkeys(_SUMS, 0.0), Counter[int]()
    last, silences, mids = np.zeros((1, 2), np.int64), list[tuple[int, int]](), list[float]()
    levels, events = new_levels(), len(c.kind)
    for start in range(0, events, _AT_ONCE):
        part = slice(start, min(start + _AT_ONCE, events))
        books, shown = c.kind[part] == BOOK, c.shown[part]
        bid, ask = shown[:, BEST_BID], shown[:, BEST_ASK]
        two = (bid != 0) & (ask != 0)
        sound = two & (bid < ask)
        touch = np.concatenate([last, shown[books][:, (BEST_BID, BEST_ASK)]])
        last = touch[-1:]
        counts.update(
            updates=len(touch) - 1,
            touch_changes=int((np.diff(touch, axis=0) != 0).any(axis=1).sum()),
            crossed=int((books & two & ~sound).sum()),
            one_sided=int((books & ~two).sum()),
            **_traded(c, part, ~books, two, bid, ask),
        )
        for ticks, n in zip(*np.unique((ask - bid)[books & sound], return_counts=True), strict=True):
            spreads[int(ticks)] += int(n)
        middle = (bid + ask)[books & sound] / 2
        if len(middle):
            mids += [float(middle.min()), float(middle.max())]
        ts = c.ts[start : part.stop + 1]
        steps = np.diff(ts)
        gap = steps > GAP_S * 1e9
        held = np.flatnonzero(sound[: len(steps)] & ~gap)  # gaps and the exchange's breaks aside
        seconds = (steps / 1e9)[held]
        touch_lots = (shown[:, BID_LOTS] + shown[:, ASK_LOTS])[held]
        _add(sums, "covered", seconds)
        _add(sums, "spread_area", seconds * (ask - bid)[held])
        _add(sums, "touch_area", seconds * touch_lots / 2)
        if whole:
            deep = np.empty(len(books), np.int64)
            changes = (c.kind[part], c.clear[part], c.first[start : part.stop + 1], c.side, c.price, c.size)
            count_levels(changes, levels, deep)
            _add(sums, "levels_area", seconds * deep[held] / 2)
        silences += zip(ts[:-1][gap].tolist(), ts[1:][gap].tolist(), strict=True)
        release_events(c, start, part.stop)
    return Tally(
        **{name: counts[name] for name in _COUNTS},
        covered=sums["covered"],
        spread_area=sums["spread_area"],
        touch_area=sums["touch_area"],
        levels_area=sums["levels_area"],
        spreads=dict(sorted(spreads.items())),
        gaps=[span for span in silences if any(start <= span[0] and span[1] <= end for start, end in closes)],
        mid_range=max(mids) - min(mids) if mids else 0.0,
    )


_COUNTS = ("updates", "touch_changes", "trades", "lots", "bought", "sold", "outside", "crossed", "one_sided")
_SUMS = ("covered", "spread_area", "touch_area", "levels_area")


def _traded(
    c: Columns, part: slice, trades: NDArray[np.bool_], two: NDArray[np.bool_], bid: NDArray[np.int64],
    ask: NDArray[np.int64],
) -> dict[str, int]:  # fmt: skip
    """Counts of a block's trades."""
    rows = c.first[part][trades]
    price, lots, side = c.price[rows], c.size[rows], c.side[rows]
    return {
        "trades": len(rows),
        "lots": int(lots.sum()),
        "bought": int(lots[side == BUY].sum()),
        "sold": int(lots[side == SELL].sum()),
        "outside": int((two[trades] & ((price < bid[trades]) | (price > ask[trades]))).sum()),
    }


def _add(sums: dict[str, float], name: str, values: NDArray[np.float64]) -> None:
    """Add one after the other, in the order of time: numpy's own sum adds in pairs."""
    sums[name] = float(np.add.accumulate(np.append(sums[name], values))[-1])


def _series(c: Columns, keep: int) -> Series:
    """Every so-manyth update, and the trades."""
    series, before = Series([], [], [], []), 0
    for start in range(0, len(c.kind), _AT_ONCE):
        part = slice(start, min(start + _AT_ONCE, len(c.kind)))
        books = np.flatnonzero(c.kind[part] == BOOK)
        places = start + books[(keep - 1 - before) % keep :: keep]
        before += len(books)
        bid, ask = c.shown[places, BEST_BID], c.shown[places, BEST_ASK]
        two = (bid != 0) & (ask != 0)
        series.ts_ns += c.ts[places][two].tolist()
        series.mid += ((bid + ask)[two] / 2).tolist()
        series.spread += (ask - bid)[two].tolist()
        trades = start + np.flatnonzero(c.kind[part] == TRADE)[: _MAX_SERIES - len(series.trades)]
        rows = c.first[trades]
        told = (c.ts[trades], c.price[rows], c.size[rows], c.side[rows])
        series.trades += zip(*(column.tolist() for column in told), strict=True)
        release_events(c, start, part.stop)
    return series


def quality(day: Day, t: Tally) -> Quality:
    """What the counts come to."""
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
        mid_range_ticks=round(t.mid_range, 1),
        drops=day.drops,
        warnings=_warnings(day, t),
    )


def _warnings(day: Day, t: Tally) -> list[str]:
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
